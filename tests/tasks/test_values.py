"""Raw values: what is read, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogpt.tasks.values import is_numeric, label_of, labels_of, parsed, separator_of, spans_of, text_of, turns_of


@pytest.mark.parametrize(
    ("value", "label"),
    [(" a ", "a"), (3, "3"), (True, "true"), (1.0, "1.0"), ("007", "007"), ("", None), (None, None), ([], None)],
)
def test_label(value: Any, label: str | None) -> None:
    assert label_of(value) == label


@pytest.mark.parametrize(
    ("value", "separator", "labels"),
    [
        (["a", "b", "a"], "", ("a", "b")),
        ('["a", 2]', "", ("a", "2")),
        ("a; b;", ";", ("a", "b")),
        ("a; b", "", ("a; b",)),
        ([], "", ()),
        ("", ";", ()),
        (None, ";", None),
        ([["a"]], "", None),
    ],
)
def test_labels(value: Any, separator: str, labels: tuple[str, ...] | None) -> None:
    assert labels_of(value, separator) == labels


def test_separator_needs_parts_that_come_back() -> None:
    assert separator_of(["a;b", "b", "a;c", "c;b"]) == ";"
    assert separator_of(["One, and two.", "Three, then four."]) == ""
    assert separator_of(["a", "b", "a"]) == ""


def test_parsed_leaves_what_is_no_json() -> None:
    assert parsed("[1, 2]") == [1, 2]
    assert parsed("[not json]") == "[not json]"
    assert parsed("12") == "12"


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        ([{"type": "A", "text": "x", "start": 0, "end": 1}], (("A", "x"),)),
        ([{"label": "A", "start": 0, "end": 2}], (("A", "  "),)),
        ('[{"entity": "A", "word": "x"}]', (("A", "x"),)),
        ([[0, 2, "A"]], (("A", "  "),)),
        ({"A": ["x", "y"]}, (("A", "x"), ("A", "y"))),
        ([], ()),
        ({"A": 1}, None),
        ([{"role": "user", "content": "x"}], None),
        ("text", None),
    ],
)
def test_spans(value: Any, spans: Any) -> None:
    assert spans_of(value) == spans


def test_turns_of_both_shapes() -> None:
    assert turns_of([{"role": "user", "content": "hi"}]) == (("user", "hi"),)
    assert turns_of([{"from": "gpt", "value": "yo"}]) == (("gpt", "yo"),)
    assert turns_of([{"role": "assistant", "content": None}]) == (("assistant", ""),)
    assert turns_of(["hi"]) is None
    assert turns_of([]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        (3, "3"),
        (["x", "y"], "x"),
        ([{"role": "user", "content": "hi"}], "hi"),
        ({"k": 1}, '{"k":1}'),
    ],
)
def test_text(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("text", ["12", "-3.5", "1,200", "3/4", "25%", "$12", " 7 "])
def test_numeric(text: str) -> None:
    assert is_numeric(text)


@pytest.mark.parametrize("text", ["", "twelve", "12 apples", "3-4", "."])
def test_not_numeric(text: str) -> None:
    assert not is_numeric(text)


json_like = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(json_like)
def test_anything_can_be_looked_at(value: Any) -> None:
    assert isinstance(text_of(value), str)
    label_of(value), labels_of(value, ";"), spans_of(value), turns_of(value)
