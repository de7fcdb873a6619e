"""Splits: nothing straddles them, every row is accounted for, and the test split stays sealed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autogpt.config import DataConfig
from autogpt.data.keys import normalise
from autogpt.data.layouts import columns_of, recognise
from autogpt.data.readers import Table
from autogpt.data.splits import Dataset, SealedSplit, prepare
from autogpt.errors import AutoGPTError, DataError
from autogpt.tasks.spec import METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Drop, Example


def table(rows: Sequence[Mapping[str, Any]], name: str = "a.jsonl", drops: tuple[Drop, ...] = ()) -> Table:
    ids = tuple(f"{name}:{n}" for n in range(1, len(rows) + 1))
    columns = columns_of(rows)
    return Table(tuple(rows), ids, columns, recognise(rows, columns), "jsonl", "utf-8", drops, Path(name))


def spec(kind: str, inputs: list[str], output: str, **more: Any) -> TaskSpec:
    metric = METRICS_OF_KIND[TaskKind(kind)][0]
    return TaskSpec(
        description="d",
        kind=TaskKind(kind),
        input_fields=inputs,
        output_field=output,
        metric=metric,
        direction="max",
        **more,
    )


LABEL = spec("classification", ["text"], "label")
SUMMARY = spec("summarization", ["document"], "summary")
QA = spec("question_answering", ["context", "question"], "answers")
CHAT = spec("dialogue", ["messages"], "messages", layout="messages")
NOVEL = spec("generation", ["title"], "text")
CONFIG = DataConfig()


def labelled(counts: Mapping[str, int]) -> list[dict[str, str]]:
    return [{"text": f"{label} text {n}", "label": label} for label, count in counts.items() for n in range(count)]


def split(
    task: TaskSpec, rows: Sequence[Mapping[str, Any]], **options: Any
) -> tuple[Dataset, list[tuple[Example, ...]]]:
    test = options.pop("test", None)
    data = prepare(task, table(rows), test and table(test, "b.jsonl"), DataConfig(**options), 0)
    return data, [data.train, data.valid, data.sealed.open()]


def test_every_label_is_in_every_split_that_it_can_fill() -> None:
    rows = labelled({"big": 150, "mid": 30, "small": 3, "two": 2})
    random.Random(0).shuffle(rows)
    data, (train, valid, test) = split(LABEL, rows, valid_min_rows=0)
    assert {e.target for e in train} == {e.target for e in valid} == {"big", "mid", "small", "two"}
    assert {e.target for e in test} == {"big", "mid", "small"}
    assert len(train) + len(valid) + len(test) == 185
    assert abs(len(test) - 0.15 * 185) <= 3
    assert abs(len(valid) - 0.1 * len([*train, *valid])) <= 3
    assert data.summary["rows"] == {"train": len(train), "valid": len(valid), "test": len(test)}
    assert data.summary["labels"]["train"] == dict(Counter(e.target for e in train).most_common())
    assert [e.id for e in train] == sorted((e.id for e in train), key=lambda name: int(name.partition(":")[2]))


def test_same_seed_same_splits() -> None:
    rows = labelled({"a": 60, "b": 60})
    first, again, other = (prepare(LABEL, table(rows), None, CONFIG, seed) for seed in (1, 1, 2))
    assert first.train == again.train
    assert first.sealed.open() == again.sealed.open()
    assert first.train != other.train


def test_duplicates_conflicts_and_rare_labels() -> None:
    rows = labelled({"a": 15, "b": 15})
    rows += [{"text": "A  text\u30000".lower(), "label": "a"}]  # the same as "a text 0" once normalised
    rows += [{"text": "b text 1", "label": "a"}, {"text": "b text 1", "label": "b"}]  # b wins two to one
    rows += [{"text": "lonely", "label": "once"}]
    data, splits = split(LABEL, rows)
    assert data.summary["drops"] == {"duplicate": 2, "conflicting label": 1, "label occurs once": 1}
    assert data.summary["labels_once"] == ["once"]
    assert sum(map(len, splits)) == 30
    assert {drop.id for drop in data.drops} == {"a.jsonl:31", "a.jsonl:32", "a.jsonl:33", "a.jsonl:34"}


def test_given_test_file_stays_as_it_is_and_cleans_the_training_rows() -> None:
    rows = labelled({"a": 30, "b": 30})
    given_test = [{"text": "a  text 3", "label": "a"}, {"text": "new", "label": "b"}, {"text": "new", "label": "b"}]
    data, (train, valid, test) = split(LABEL, rows, test=[*given_test, {"text": "x", "label": ""}])
    assert [e.id for e in test] == ["b.jsonl:1", "b.jsonl:2", "b.jsonl:3"]
    assert data.summary["drops"] == {"no answer": 1, "input also in test": 1}
    assert not {normalise(e.input["text"]) for e in [*train, *valid]} & {normalise(e.input["text"]) for e in test}
    assert data.summary["test"] == "file"


def test_ids_stay_unique_when_both_files_have_one_name() -> None:
    rows = labelled({"a": 20, "b": 20})
    data = prepare(LABEL, table(rows), table([{"text": "new", "label": "a"}]), CONFIG, 0)
    assert data.sealed.open()[0].id == "test/a.jsonl:1"


def test_contexts_conversations_and_texts_stay_together() -> None:
    rows: list[dict[str, Any]] = [
        {"context": f"context {n % 25}", "question": f"q{n}", "answers": ["a"]} for n in range(100)
    ]
    data, splits = split(QA, rows)
    assert_apart([{e.input["context"] for e in part} for part in splits])
    assert data.summary["groups"] == "same context"
    one_book = [{**row, "context": "all the same"} for row in rows]
    assert split(QA, one_book)[0].summary["groups"] == "same input"

    def turns(*contents: str) -> list[dict[str, str]]:
        return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]

    chats = [{"messages": turns(f"hello {n}", "hi", f"next {m}", f"answer {m}")} for n in range(20) for m in range(3)]
    chats += [{"messages": turns(f"hello {n}", "hi")} for n in range(20)]
    _, splits = split(CHAT, chats)
    assert_apart([{e.messages[0].content for e in part} for part in splits])

    novel = [{"title": "one book", "text": f"passage {n // 2}"} for n in range(100)]
    data, splits = split(NOVEL, novel)
    assert sum(map(len, splits)) == 50
    assert min(map(len, splits)) > 0


def assert_apart(parts: Sequence[set[str]]) -> None:
    assert all(parts)
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]


@pytest.mark.parametrize(("rows", "expected"), [(100, 17), (600, 100), (4000, 340)])
def test_small_data_gives_more_of_itself_to_validation(rows: int, expected: int) -> None:
    """A fifth of what is not test at most, a hundred rows if possible, else the usual tenth."""
    _, (_, valid, _) = split(LABEL, labelled({"a": rows // 2, "b": rows - rows // 2}))
    assert abs(len(valid) - expected) <= 2


def test_limits() -> None:
    rows = labelled({"a": 400, "b": 200})
    data, (train, valid, test) = split(LABEL, rows, max_rows=100, valid_min_rows=0, valid_max_rows=20, test_max_rows=50)
    assert (len(train), len(valid), len(test)) == (90, 10, 50)
    assert data.summary["drops"] == {"over data.max_rows": 450}
    assert Counter(e.target for e in [*train, *valid])["a"] in range(64, 70)
    many = [{"text": f"{n}-{m}", "label": str(n)} for n in range(300) for m in range(2)]
    data, (train, valid, test) = split(LABEL, many, valid_max_rows=20, test_max_rows=20)
    assert len(valid) <= 20 >= len(test)


def test_sealed_split_opens_once() -> None:
    sealed = SealedSplit([Example("a:1", {"text": "secret"})])
    assert (len(sealed), sealed.opened) == (1, False)
    assert "secret" not in repr(sealed)
    assert sealed.open()[0].id == "a:1"
    assert sealed.opened
    with pytest.raises(AutoGPTError, match="opened twice"):
        sealed.open()


ERRORS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]] | None, str]] = {
    "too few rows": (
        labelled({"a": 9, "b": 9}) + [{"text": "", "label": "a"}] * 3,
        None,
        r"found 18 \(left out: 3 × empty input\)",
    ),
    "one class": (labelled({"a": 50}), None, "one class only; found 'a'"),
    "all duplicates": ([{"text": "t", "label": "a"}] * 50, None, "too few rows are left to train on; found 0 "),
    "every label once": (
        [{"text": f"t{n}", "label": f"l{n}"} for n in range(50)],
        None,
        "found 0 .*50 × label occurs once",
    ),
    "no common label": (labelled({"a": 20, "b": 20}), [{"text": "x", "label": "正面"}], "no label of the test file"),
    "empty test": (
        labelled({"a": 20, "b": 20}),
        [{"text": "x", "label": ""}],
        r"b\.jsonl has no usable row; found no answer",
    ),
    "test is train": (labelled({"a": 20, "b": 20}), labelled({"a": 20, "b": 20}), "40 × input also in test"),
}


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_data_that_cannot_be_split(case: str) -> None:
    rows, test, says = ERRORS[case]
    with pytest.raises(DataError, match=says):
        split(LABEL, rows, test=test)


def test_one_group_cannot_be_split() -> None:
    rows = [{"document": "same", "summary": f"s{n}"} for n in range(40)]
    with pytest.raises(DataError, match="40 rows that all have the same input"):
        split(SUMMARY, rows)


def test_warnings() -> None:
    rows = labelled({"Sports": 30, "sports ": 30, "sport-s": 30})
    data, _ = split(LABEL, rows, test=[{"text": "x", "label": "Sports"}, {"text": "y", "label": "new"}])
    assert "1 labels of the test rows never occur in training: new" in data.summary["warnings"]
    assert any("spelling only: Sports, sport-s, sports" in text for text in data.summary["warnings"])
    data, _ = split(LABEL, labelled({"a": 200, "b": 4}))
    assert any("have the label 'a'" in text for text in data.summary["warnings"])
    copies = [{"text": f"label {n % 2}", "label": f"label {n % 2}"} for n in range(4)]
    copies += [{"text": f"x{n}", "label": f"label {n % 2}"} for n in range(40)]
    assert not split(LABEL, copies)[0].summary["warnings"]


def test_lengths_are_summarised() -> None:
    rows = [{"document": "d" * (n + 1), "summary": f"{n:03}"} for n in range(100)]
    data, _ = split(SUMMARY, rows)
    assert data.summary["output_chars"] == {"p50": 3, "p90": 3, "p99": 3, "max": 3}
    assert 85 <= data.summary["input_chars"]["p90"] <= 95


words = st.sampled_from(["a", "b", "ａ", " c ", "c", "d\u3000e", "d e", "f", "①", "1"])


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(words, words, words), min_size=60, max_size=120),
    seed=st.integers(0, 9),
    with_test=st.booleans(),
)
def test_splits_never_share_a_text(rows: list[tuple[str, str, str]], seed: int, with_test: bool) -> None:
    data = [{"document": f"{a}{b}", "summary": c} for a, b, c in rows]
    extra = table(data[:5], "b.jsonl") if with_test else None
    texts = {normalise(row["document"]) for row in (data[5:] if with_test else data)}
    assume(len(texts) >= 22)
    made = prepare(SUMMARY, table(data), extra, CONFIG, seed)
    test = made.sealed.open()
    assert_apart([{normalise(e.input["document"]) for e in part} for part in (made.train, made.valid, test)])
    kept = [e.id for part in (made.train, made.valid, test) for e in part]
    assert sorted(kept + [drop.id for drop in made.drops]) == sorted(
        [f"a.jsonl:{n}" for n in range(1, len(data) + 1)] + ([f"b.jsonl:{n}" for n in range(1, 6)] if with_test else [])
    )
