"""From examples to predictions, for every kind of task: the one path used by search, evaluation, files and serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autogpt.data.batching import encode_all
from autogpt.generation.engine import Engine
from autogpt.generation.grammar import Grammar, span_of
from autogpt.generation.sampling import Sampling
from autogpt.tasks.answers import decode_answer
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.tasks.templates import passage_read, render
from autogpt.types import Example, Prediction

__all__ = ["grammar_of", "likelihoods", "predict"]


def likelihoods(engine: Engine, spec: TaskSpec, examples: Sequence[Example]) -> list[tuple[float, int]]:
    """(nats, UTF-8 bytes) of each example's reference answer."""
    rendered = [render(spec, example, answer=True) for example in examples]
    rows = encode_all(engine.tokenizer, rendered, max_tokens=2**30, ids=[example.id for example in examples])
    return [(nats, row.utf8_bytes) for nats, row in zip(engine.nats(rows), rows, strict=True)]


def grammar_of(spec: TaskSpec, example: Example) -> Grammar | None:
    """What the answer to `example` must look like, where the task says so: a span of what is read."""
    return span_of(passage_read(spec, example)) if spec.answer_is_span else None


def _classify(engine: Engine, spec: TaskSpec, examples: Sequence[Example]) -> list[Prediction]:
    probabilities = engine.choice_probabilities([render(spec, e, answer=False) for e in examples], spec.labels)
    result = []
    for row in probabilities.tolist():
        scores = dict(zip(spec.labels, row, strict=True))
        best = max(scores, key=lambda label: scores[label])
        result.append(Prediction(best, best, scores))
    return result


def _prefer(engine: Engine, spec: TaskSpec, examples: Sequence[Example]) -> list[Prediction]:
    """Which of two answers the model finds more probable, per byte so that the longer one is not at a disadvantage."""
    chosen = likelihoods(engine, spec, examples)
    swapped = [replace(e, target=e.rejected, references=(e.rejected or "",)) for e in examples]
    rejected = likelihoods(engine, spec, swapped)
    result = []
    for example, (nats, size), (other_nats, other_size) in zip(examples, chosen, rejected, strict=True):
        scores = {"chosen": -nats / max(size, 1), "rejected": -other_nats / max(other_size, 1)}
        better = example.target if scores["chosen"] >= scores["rejected"] else example.rejected
        text = str(better)
        result.append(Prediction(text, text, scores, nats, size))
    return result


def predict(
    engine: Engine,
    spec: TaskSpec,
    examples: Sequence[Example],
    sampling: Sampling | None = None,
    *,
    with_likelihood: bool = True,
    with_text: bool = True,
) -> list[Prediction]:
    """A prediction for each example, in order.

    Args:
        sampling: how text is written; the default is greedy.
        with_likelihood: measure the reference answers where the task's metrics need it and the rows have answers.
        with_text: write text even where the deciding metric is a likelihood.
    """
    sampling = sampling or Sampling()
    has_answers = all(example.target is not None for example in examples)
    if spec.kind is TaskKind.CLASSIFICATION:
        return _classify(engine, spec, examples)
    if spec.kind is TaskKind.PREFERENCE and has_answers and all(e.rejected is not None for e in examples):
        return _prefer(engine, spec, examples)
    if with_text:
        prompts = [render(spec, example, answer=False) for example in examples]
        texts = engine.complete(prompts, sampling, [grammar_of(spec, example) for example in examples])
    else:
        texts = [""] * len(examples)
    predictions = [
        Prediction(decode_answer(spec, text, example), text.strip())
        for text, example in zip(texts, examples, strict=True)
    ]
    if with_likelihood and has_answers and spec.needs_likelihood:
        measured = likelihoods(engine, spec, examples)
        predictions = [
            replace(prediction, nats=nats, utf8_bytes=size)
            for prediction, (nats, size) in zip(predictions, measured, strict=True)
        ]
    if spec.kind is TaskKind.MULTI_LABEL:
        first = engine.choice_probabilities([render(spec, e, answer=False) for e in examples], spec.labels)
        predictions = [
            replace(p, scores=dict(zip(spec.labels, row, strict=True)))
            for p, row in zip(predictions, first.tolist(), strict=True)
        ]
    return predictions
