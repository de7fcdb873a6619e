"""Ranks, tests and intervals against the worked example of Demšar 2006 and closed forms."""

from __future__ import annotations

import math

import pytest
from search_statistics import compare, critical_difference, exact_interval, mean_at, time_to_reach

AUC = {
    "C4.5": (0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957),
    "C4.5+m": (0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978),
    "C4.5+cf": (0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.9751, 0.946),
    "C4.5+m+cf": (0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970),
}
"""Table 6 of Demšar 2006, 14 data sets; the one digit more is what its ranks say of a tie that is none."""


def test_the_worked_example_of_the_paper() -> None:
    found = compare({name: [-value for value in values] for name, values in AUC.items()})
    assert found.ranks == pytest.approx(
        {"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}, abs=0.0005
    )
    assert list(found.ranks) == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    # The paper has 9.28 without a correction for ties: three pairs and one row of four.
    ties = 1 - (3 * (2**3 - 2) + (4**3 - 4)) / (14 * 4 * (4**2 - 1))
    assert found.statistic * ties == pytest.approx(9.28, abs=0.005)
    assert found.p_value < 0.05
    assert found.critical == pytest.approx(1.25, abs=0.005)
    assert found.apart == []  # 3.143 - 1.964 is less, as the paper says


@pytest.mark.parametrize(
    ("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (8, 3.031), (10, 3.164)]
)
def test_critical_values_are_those_of_the_papers_table(methods: int, q: float) -> None:
    blocks = 7
    expected = q * math.sqrt(methods * (methods + 1) / (6 * blocks))
    assert critical_difference(methods, blocks) == pytest.approx(expected, rel=5e-4)
    assert critical_difference(4, 14, level=0.1) == pytest.approx(1.12, abs=0.005)


def test_a_method_that_always_wins_is_ahead() -> None:
    found = compare({"a": [1.0] * 12, "b": [2.0] * 12, "c": [3.0] * 12})
    assert found.statistic == pytest.approx(24.0)  # 12·12/(3·4)·(1 + 4 + 9 − 3·16/4)
    assert found.apart == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.ahead_and_behind("b") == "b is ahead of: c; behind: a"


def test_where_all_are_level_nothing_is_found() -> None:
    found = compare({name: [1.0, 2.0] for name in "abc"})
    assert set(found.ranks.values()) == {2.0}
    assert found.p_value == 1
    assert not found.apart


@pytest.mark.parametrize("values", [{"a": [1.0], "b": [2.0]}, {"a": [1.0], "b": [2.0], "c": [1.0, 2.0]}])
def test_what_cannot_be_compared_is_refused(values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="three methods or more"):
        compare(values)


def test_exact_intervals() -> None:
    low, high = exact_interval(0, 100)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 100))
    low, high = exact_interval(5, 100)
    below = sum(math.comb(100, k) * low**k * (1 - low) ** (100 - k) for k in range(5))
    upto = sum(math.comb(100, k) * high**k * (1 - high) ** (100 - k) for k in range(6))
    assert 1 - below == pytest.approx(0.025, abs=1e-9)
    assert upto == pytest.approx(0.025, abs=1e-9)


def test_time_to_reach() -> None:
    searches = [[(0.1, 1.0), (0.5, 0.2)], [(0.2, 0.6), (0.3, 0.0), (0.8, 0.4)]]
    assert mean_at(searches, 0.0) == pytest.approx(0.8)  # that of the first trials
    assert mean_at(searches, 0.3) == pytest.approx(0.5)
    assert mean_at(searches, 1.0) == pytest.approx(0.3)
    assert time_to_reach(searches, 0.5) == (0.3, 0.3)
    assert time_to_reach(searches, 0.1) == (0.5, math.inf)  # there for a while, and lost
    assert time_to_reach(searches, 0.3) == (0.5, 0.5)
    assert time_to_reach(searches, 0.05) == (math.inf, math.inf)
    assert time_to_reach(searches, 0.9) == (0.0, 0.0)
