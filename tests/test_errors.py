"""The exception tree: its drawing is true, its messages are one line that says what to do."""

from __future__ import annotations

import re

import pytest

from autogpt import errors


def test_the_drawing_shows_every_error_with_its_exit_code() -> None:
    drawn = dict(re.findall(r"(\w+)\s+exit (\d+)", errors.__doc__ or ""))
    nested = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert set(nested) | {"AutoGPTError"} == set(errors.__all__)
    assert {name: int(code) for name, code in drawn.items()} == {
        name: getattr(errors, name).exit_code for name in drawn
    }


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_in_the_tree(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.AutoGPTError)


@pytest.mark.parametrize("name", ["DataError", "TaskError", "ConfigError", "ModelError", "BudgetError", "AccessError"])
def test_bad_input_ends_with_2(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.BadInput)
    assert getattr(errors, name).exit_code == 2


def test_a_message_is_one_line_with_its_parts_in_order() -> None:
    error = errors.DataError("a.csv:3 has no label", found="''", expected="one of\n a, b", todo="mend the row")
    assert str(error) == "a.csv:3 has no label; found ''; expected one of a, b; mend the row"
    assert (error.what, error.found, error.todo) == ("a.csv:3 has no label", "''", "mend the row")
    assert str(errors.TaskError("nothing named")) == "nothing named"
