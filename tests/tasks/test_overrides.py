"""Overrides are read as typed, and refused with the nearest name. More of them in test_understand."""

from __future__ import annotations

import pytest

from autogpt.errors import TaskError
from autogpt.tasks.columns import profile
from autogpt.tasks.overrides import read_overrides
from autogpt.tasks.spec import TaskKind

COLUMNS = profile(["text", "label"], [{"text": "a", "label": 1}])


def test_nothing_fixed() -> None:
    fixed = read_overrides({}, COLUMNS)
    assert (fixed.kind, fixed.input_fields, fixed.output_field, dict(fixed.plain)) == (None, None, None, {})


@pytest.mark.parametrize("name", ["question_answering", "Question-Answering", TaskKind.QUESTION_ANSWERING])
def test_kind_in_any_spelling(name: str) -> None:
    assert read_overrides({"kind": name}, COLUMNS).kind is TaskKind.QUESTION_ANSWERING


def test_labels_from_yaml_values() -> None:
    assert read_overrides({"labels": [1, True, "x"]}, COLUMNS).plain["labels"] == ("1", "true", "x")
    with pytest.raises(TaskError, match="a list of names"):
        read_overrides({"labels": 3}, COLUMNS)


def test_messages_name_the_option() -> None:
    with pytest.raises(TaskError, match=r"task\.layout") as caught:
        read_overrides({"layout": "tabel"}, COLUMNS)
    assert "did you mean 'table'" in str(caught.value)
