"""Answers to text and back: round trips, and junk that must not break anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogpt.errors import TaskError
from autogpt.tasks.answers import decode_answer, encode_answer
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Entity, Example


def spec(kind: TaskKind, labels: list[str] | None = None, language: str = "en") -> TaskSpec:
    metric = METRICS_OF_KIND[kind][0]
    return TaskSpec(
        description="test",
        kind=kind,
        input_fields=["text"],
        output_field="answer",
        labels=labels or [],
        input_language=language,
        output_language=language,
        metric=metric,
        direction=METRIC_DIRECTION[metric],
    )


def row(text: str = "") -> Example:
    return Example("t:1", {"text": text})


label = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).map(str.strip).filter(bool)
label_sets = st.lists(label, min_size=1, max_size=6, unique=True)


@given(label_sets, st.data(), st.sampled_from(["zh", "en"]))
def test_labels_come_back(labels: list[str], data: st.DataObject, language: str) -> None:
    task = spec(TaskKind.MULTI_LABEL, labels, language)
    chosen = tuple(data.draw(st.lists(st.sampled_from(labels), unique=True)))
    decoded = decode_answer(task, encode_answer(task, chosen), row())
    assert isinstance(decoded, tuple)
    assert set(decoded) == set(chosen)
    assert list(decoded) == sorted(decoded, key=lambda item: labels.index(str(item)))


@given(label_sets, st.data())
def test_a_label_comes_back(labels: list[str], data: st.DataObject) -> None:
    task = spec(TaskKind.CLASSIFICATION, labels)
    chosen = data.draw(st.sampled_from(labels))
    assert decode_answer(task, encode_answer(task, chosen), row()) == chosen


@given(st.text())
def test_text_comes_back(text: str) -> None:
    task = spec(TaskKind.SUMMARIZATION)
    assert decode_answer(task, encode_answer(task, text), row()) == text.strip()


@given(st.text(alphabet="ab 好\n\\:-", max_size=30), st.data())
def test_entities_come_back(text: str, data: st.DataObject) -> None:
    task = spec(TaskKind.EXTRACTION, ["PER", "LOC", "a b"])
    spans = data.draw(
        st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5), st.sampled_from(task.labels)), max_size=5)
    )
    entities = {
        Entity(kind, text[start : start + size], start, start + len(text[start : start + size]))
        for start, size, kind in spans
        if text[start : start + size].strip()
    }
    decoded: Any = decode_answer(task, encode_answer(task, tuple(entities)), row(text))
    assert sorted((e.type, e.text) for e in decoded) == sorted((e.type, e.text) for e in entities)
    assert all(text[e.start : e.end] == e.text for e in decoded)
    assert len(set(decoded)) == len(decoded)


@given(st.lists(st.sampled_from(["PER", "LOC"]), min_size=1, max_size=6))
def test_entities_without_repeats_come_back_in_place(kinds: list[str]) -> None:
    names = [f"name{number}" for number in range(len(kinds))]
    text = " and ".join(names)
    entities = tuple(
        Entity(kind, name, text.index(name), text.index(name) + len(name))
        for kind, name in zip(kinds, names, strict=True)
    )
    task = spec(TaskKind.EXTRACTION, ["PER", "LOC"])
    assert decode_answer(task, encode_answer(task, entities[::-1]), row(text)) == entities


@given(st.sampled_from(list(TaskKind)), st.text(max_size=60), st.text(max_size=20))
def test_junk_never_raises(kind: TaskKind, junk: str, source: str) -> None:
    decoded: Any = decode_answer(spec(kind, ["PER", "b, c"]), junk, row(source))
    assert isinstance(decoded, tuple if kind in (TaskKind.MULTI_LABEL, TaskKind.EXTRACTION) else str)


def test_compact_text() -> None:
    entities = (Entity("LOC", "Oslo", 11, 15), Entity("PER", "Ada", 0, 3))
    task = spec(TaskKind.EXTRACTION, ["PER", "LOC"])
    assert encode_answer(task, entities) == "PER: Ada\nLOC: Oslo"
    assert encode_answer(task, ()) == "-"
    tags = spec(TaskKind.MULTI_LABEL, ["price", "taste"])
    assert encode_answer(tags, ("taste", "price")) == "price, taste"
    assert encode_answer(spec(TaskKind.MULTI_LABEL, ["价格", "味道"], "zh"), ("味道", "价格")) == "价格、味道"
    assert encode_answer(spec(TaskKind.MULTI_LABEL, ["a, b", "c"]), ("c", "a, b")) == "a, b\nc"
    assert encode_answer(spec(TaskKind.MULTI_LABEL, ["-", "c"]), ()) == "--"


def test_the_same_name_twice_is_found_twice() -> None:
    task = spec(TaskKind.EXTRACTION, ["PER"])
    decoded = decode_answer(task, "PER: Ann\nPER: Ann\nPER: Ann", row("Annabel met Ann"))
    assert decoded == (Entity("PER", "Ann", 0, 3), Entity("PER", "Ann", 12, 15))


def test_junk_around_entities_is_dropped() -> None:
    task = spec(TaskKind.EXTRACTION, ["PER", "LOC"])
    written = "Sure! Here:\n- per： Ada \nORG: Oslo\nLOC: Rome\nLOC Oslo\nLOC: Oslo"
    assert decode_answer(task, written, row("Ada in Oslo")) == (
        Entity("PER", "Ada", 0, 3),
        Entity("LOC", "Oslo", 7, 11),
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sports news", "sports news"),
        (" SPORTS NEWS\n", "sports news"),
        ("sports_news", "sports news"),
        ("sports newsroom", "sports news"),
        ("trav", "travel"),
        ("travle", "travel"),
        ("", "money"),
        ("zzz", "money"),
    ],
)
def test_nearest_label(written: str, meant: str) -> None:
    task = spec(TaskKind.CLASSIFICATION, ["money", "sports news", "travel"])
    assert decode_answer(task, written, row()) == meant


def test_labels_in_loose_writing() -> None:
    task = spec(TaskKind.MULTI_LABEL, ["price", "taste", "service"])
    assert decode_answer(task, "Service; TASTE，nonsense", row()) == ("taste", "service")
    assert decode_answer(task, " - ", row()) == ()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (TaskKind.CLASSIFICATION, ("a",)),
        (TaskKind.MULTI_LABEL, "a"),
        (TaskKind.EXTRACTION, "a"),
        (TaskKind.EXTRACTION, ("a",)),
        (TaskKind.MULTI_LABEL, (Entity("a", "b", 0, 1),)),
    ],
)
def test_wrong_type_of_answer(kind: TaskKind, target: Any) -> None:
    with pytest.raises(TaskError, match="not one of a"):
        encode_answer(spec(kind, ["a"]), target)
