"""Dimensions: what is drawn, what a user's text is read as, and which values are the same."""

from __future__ import annotations

import math
import random

import pytest

from autogpt.search.dimensions import Choice, Dimension, Float, Int, ends, identity, member, shown


def test_log_dimensions_spread_over_orders_of_magnitude() -> None:
    rng = random.Random(0)
    dimension = Float(1e-5, 1e-1, log=True)
    drawn = [dimension.sample(rng) for _ in range(1000)]
    share = sum(value < 1e-3 for value in drawn) / 1000
    assert abs(share - 0.5) < 0.06  # half of the exponents
    whole = [Int(1, 64, log=True).sample(rng) for _ in range(1000)]
    assert set(whole) <= set(range(1, 65))
    assert abs(sum(value <= 8 for value in whole) / 1000 - math.log(8.5 / 0.5) / math.log(64.5 / 0.5)) < 0.06


def test_proposed_floats_have_four_digits_and_exact_bounds() -> None:
    assert Float(0.0, 1.0).nearest(0.123456789) == 0.1235
    assert Float(0.123456, 1.0).nearest(0.0) == 0.123456
    assert Float(0.0, 0.987654).nearest(0.99) == 0.987654


@pytest.mark.parametrize(
    ("dimension", "value", "found"),
    [
        (Float(0.0, 1.0), "1e-3", (0.001,)),  # YAML 1.1 reads it as text
        (Float(0.0, 1.0), 1, (1.0,)),
        (Float(0.0, 1.0), True, None),
        (Float(0.0, 1.0), float("nan"), None),
        (Int(1, 8), 8.0, (8,)),
        (Int(1, 8), 2.5, None),
        (Int(1, 8), 9, None),
        (Choice((None, "a", 2)), None, (None,)),
        (Choice((None, "a", 2)), 2.0, (2,)),
        (Choice((False, 1)), True, None),
    ],
)
def test_members(dimension: Dimension, value: object, found: tuple | None) -> None:
    assert member(dimension, value) == found
    assert found is None or type(member(dimension, value)[0]) is type(found[0]) or isinstance(value, int)


def test_ends_and_text() -> None:
    assert ends(Choice((4, 2))) == (4, 2)
    assert ends(Int(2, 4)) == (2, 4)
    assert [shown(value) for value in (1e-5, 2, None, "a")] == ["1e-05", "2", "None", "a"]
    assert identity(2) == identity(2.0) != identity("2")
    assert identity(True) != identity(1)
