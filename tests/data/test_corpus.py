"""What is learnt of a row that accepts several answers."""

from __future__ import annotations

from autogpt.data.corpus import Corpus
from autogpt.data.splits import Dataset, SealedSplit
from autogpt.data.tokenizers import train_tokenizer
from autogpt.tasks.spec import TaskKind, TaskSpec
from autogpt.types import Example


def _corpus(kind: TaskKind, metric: str, rows: tuple[Example, ...], labels: list[str] | None = None) -> Corpus:
    spec = TaskSpec(
        description="",
        kind=kind,
        input_fields=["question"],
        output_field="answer",
        labels=labels or [],
        metric=metric,
        direction="max",
    )
    return Corpus(spec, Dataset(rows, rows[:1], SealedSplit(rows[:1]), (), {}))


def test_each_accepted_answer_is_learnt_once() -> None:
    rows = (
        Example("1", {"question": "a?"}, "x", ("x", "x and y", "x")),
        Example("2", {"question": "b?"}, "z", ("z",)),
        Example("3", {"question": "c?"}, "w"),
    )
    corpus = _corpus(TaskKind.QUESTION_ANSWERING, "token_f1", rows)
    answers = [(example.id, example.target) for example in corpus.examples]
    assert answers == [("1", "x"), ("1", "x and y"), ("2", "z"), ("3", "w")]
    tokenizer = train_tokenizer(["x and y z w"], 300)
    encoded = corpus.encoded(tokenizer, 64, 0.0)
    assert [row.id for row in encoded] == ["1", "1", "2", "3"]
    told = [tokenizer.decode(row.ids[row.answer_mask()], skip_special_tokens=True) for row in encoded]
    assert told == ["x", "x and y", "z", "w"]


def test_a_label_is_learnt_as_it_is() -> None:
    rows = (Example("1", {"question": "a"}, "yes", ("yes", "no")), Example("2", {"question": "b"}, "no", ("no",)))
    corpus = _corpus(TaskKind.CLASSIFICATION, "accuracy", rows, ["yes", "no"])
    assert [example.target for example in corpus.examples] == ["yes", "no"]
