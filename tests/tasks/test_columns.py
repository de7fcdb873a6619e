"""Statistics of columns against hand counts."""

from __future__ import annotations

from typing import Any

import pytest

from autogpt.tasks.columns import Column, containment, length_ratio, percentile, profile


def column(values: list[Any], name: str = "x") -> Column:
    return profile([name], [{name: value} for value in values])[0]


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (["a", None, 3], "text"),
        ([["a"], []], "strings"),
        (['["a"]', '["b", "c"]'], "strings"),
        ([[{"type": "A", "text": "x", "start": 0, "end": 1}], []], "entities"),
        ([{"A": ["x"]}, {"B": []}], "entities"),
        ([[{"role": "user", "content": "x"}]], "turns"),
        ([{"a": 1}], "structure"),
        ([[]], "structure"),
        ([None, ""], "empty"),
    ],
)
def test_shape(values: list[Any], shape: str) -> None:
    assert column(values).shape == shape


def test_labels_look_like_labels() -> None:
    assert column(["a", "b"] * 50).label_strength == 4
    assert column([f"c{n % 77}" for n in range(1000)]).label_strength == 3.5
    assert column([1, 2, 3, 1, 2, 3, 1, 2, 3]).label_strength > 0
    assert column([f"text number {n}" for n in range(100)]).label_strength < -5
    assert column(["same"] * 9).label_strength == 0
    assert column(["long " * 20, "text " * 20] * 20).label_strength < 0


def test_counts_of_lists_and_cells() -> None:
    assert column([["a", "b"], ["a"]]).counts == {"a": 2, "b": 1}
    assert column(["a;b", "a", "b;a", "b"], "tags").counts == {"a": 3, "b": 3}
    assert column(["a;b", "a", "b;a", "b"], "remark").separator == ""


def test_rates() -> None:
    inside, outside = column(["the red hen", "a dog"]), column(["red", "cat"])
    assert containment([inside], outside) == 0.5
    assert length_ratio([column(["abcd", "ab"])], column(["ab", "ab"])) == 0.75
    assert column(["who?", "谁？", "no"]).question_share == pytest.approx(2 / 3)
    assert column(["1", "2", "x", "4"]).numeric_share == 0.75


def test_letters_for_question_and_answer() -> None:
    both = profile(["Q", "A"], [{"Q": "who", "A": "me"}])
    assert both[1].roles
    assert not profile(["A"], [{"A": "me"}])[0].roles


def test_percentile() -> None:
    assert percentile([]) == 0
    assert percentile([7]) == 7
    assert percentile(list(range(1, 1001))) == 1000
    assert percentile([123] * 10) == 130
