"""Rungs of tasks whose answer is written text: lead, copy, frequent answer, nearest sentence, nearest neighbour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from autogpt.evaluation.baselines_types import Baseline, input_text, is_chinese
from autogpt.evaluation.metrics import references_of
from autogpt.evaluation.similarity import TextFeatures, nearest
from autogpt.tasks.passages import split_sentences
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.types import Example, Prediction

__all__ = ["text_rungs"]


def text_rungs(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> list[Baseline]:
    """Rungs of question answering, summarisation, translation, instructions, dialogue and generation."""
    answers = [references_of(example)[0] for example in train]
    rungs = [_nearest_answer(spec, train, rows, answers)]
    if spec.kind is TaskKind.QUESTION_ANSWERING:
        rungs += _questions(spec, train, rows)
    elif spec.kind is TaskKind.SUMMARIZATION:
        size = int(median(map(len, answers)))
        leads = [_head(_document(example), size) for example in rows]
        rungs.append(_written("lead sentence", True, [_first_sentence(_document(e)) for e in rows]))
        rungs.append(_written("lead characters", True, leads, f"the first {size} characters, the median summary"))
    elif spec.kind in (TaskKind.TRANSLATION, TaskKind.INSTRUCTION):
        rungs.append(_written("copy", True, [_document(example) for example in rows]))
    if spec.kind in (TaskKind.QUESTION_ANSWERING, TaskKind.DIALOGUE, TaskKind.GENERATION):
        answer, times = min(Counter(answers).items(), key=lambda item: (-item[1], item[0]))
        note = f"{times} of {len(train)} training rows"
        rungs.append(_written("most frequent answer", True, [answer] * len(rows), note))
    return rungs


def _written(name: str, trivial: bool, texts: Sequence[str], note: str = "") -> Baseline:
    return Baseline(name, trivial, [Prediction(text, text) for text in texts], note)


def _nearest_answer(
    spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example], answers: Sequence[str]
) -> Baseline:
    passage = _passage_field(spec, train) if spec.kind is TaskKind.QUESTION_ANSWERING else None
    inputs, asked = ([_without(example, passage) for example in part] for part in (train, rows))
    features = TextFeatures.fit(inputs, asked, chinese=is_chinese(spec.input_language, inputs))
    note = f"first {features.cut_chars} characters of each text" if features.cut_chars else ""
    return _written("nearest neighbour", False, [answers[i] for i in nearest(features)], note)


def _questions(spec: TaskSpec, train: Sequence[Example], rows: Sequence[Example]) -> list[Baseline]:
    """Lead and nearest sentence of the passage; nothing when questions come without one."""
    passage = _passage_field(spec, train)
    if passage is None:
        return []
    leads, nearby = [], []
    for example in rows:
        text = example.input.get(passage, "")
        leads.append(_first_sentence(text))
        nearby.append(_most_similar(_without(example, passage), split_sentences(text)))
    return [
        _written("lead sentence", True, leads),
        _written("nearest sentence", False, nearby, "the sentence that shares most character pairs with the question"),
    ]


def _passage_field(spec: TaskSpec, train: Sequence[Example]) -> str | None:
    """The longest input field; None when there is only one, which is then the question."""
    if len(spec.input_fields) < 2:
        return None
    sizes = {field: sum(len(e.input.get(field, "")) for e in train) for field in spec.input_fields}
    return max(sizes, key=lambda field: sizes[field])


def _without(example: Example, field: str | None) -> str:
    """The input without that field: of a question with its passage, the question."""
    if field is None:
        return input_text(example)
    return "\n".join(text for name, text in example.input.items() if name != field and text)


def _most_similar(question: str, sentences: Sequence[str]) -> str:
    """The sentence with the highest share of the question's character pairs, divided by the root of its own number."""
    asked = _pairs(question)

    def overlap(sentence: str) -> float:
        pairs = _pairs(sentence)
        return len(asked & pairs) / (len(pairs) + 1) ** 0.5

    return max(sentences, key=overlap, default="")


def _pairs(text: str) -> set[str]:
    lower = text.lower()
    return {lower[i : i + 2] for i in range(len(lower) - 1)}


def _document(example: Example) -> str:
    return max(example.input.values(), key=len, default="")


def _first_sentence(text: str) -> str:
    return next(iter(split_sentences(text)), "")


def _head(text: str, size: int) -> str:
    """The first `size` characters, without a word cut at the end."""
    head = text[:size]
    if len(text) > size and head[-1:].isascii() and text[size : size + 1].strip() and " " in head:
        head = head[: head.rindex(" ")]
    return head.strip()
