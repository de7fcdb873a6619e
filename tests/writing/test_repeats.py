"""Repeats, against a slow count over all pairs."""

from __future__ import annotations

import random

import pytest

from autogpt.writing.repeats import Repeats, distinct_n, longest_repeat, loops, rep_n
from autogpt.writing.units import units


@pytest.mark.parametrize("seed", range(5))
def test_counting_while_growing_equals_counting_at_the_end(seed: int) -> None:
    draw = random.Random(seed)
    parts = ["".join(draw.choices("甲乙丙", k=draw.randint(1, 30))) + "。" for _ in range(30)]
    growing = Repeats(4)
    for part in parts:
        expected = growing.share_with(part)
        growing.add(part)
        assert growing.share == pytest.approx(expected)
    assert growing.share == pytest.approx(rep_n(units("".join(parts)), 4))


def test_a_text_that_repeats_itself_is_seen_before_it_is_added() -> None:
    counted = Repeats(3)
    assert counted.would_repeat("一二三一二三") == (1, 4)
    counted.add("四五六")
    assert counted.would_repeat("四五六") == (1, 3)
    assert counted.total == 1


@pytest.mark.parametrize("seed", range(5))
def test_longest_repeat_is_that_of_a_slow_search(seed: int) -> None:
    row = random.Random(seed).choices("abc", k=60)
    slow = max(
        (b for a in range(60) for b in range(60 - a) if any(row[i : i + b] == row[a : a + b] for i in range(a))),
        default=0,
    )
    found = longest_repeat(row)
    assert len(found) == slow
    starts = [i for i in range(60) if row[i : i + slow] == found]
    assert len(starts) >= 2


def test_figures_of_short_texts() -> None:
    assert rep_n(["a"], 4) == distinct_n(["a"], 4) == 0.0
    assert longest_repeat(["a", "b"]) == []
    assert distinct_n(["a", "a"], 1) == 0.5


@pytest.mark.parametrize(
    ("text", "is_loop"),
    [
        ("好好好好好好", True),
        ("好好好", False),
        ("他走了他走了他走了", True),
        ("ha no ha no ha no", True),
        ("a b a b c", False),
    ],
)
def test_loops(text: str, is_loop: bool) -> None:
    assert loops(units(text)) is is_loop
