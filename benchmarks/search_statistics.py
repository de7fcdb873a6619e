"""Statistics of the search benchmarks: Friedman's test with Nemenyi's difference, exact intervals, time to reach.

Demšar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets": methods are ranked within each block (a
task, or a task and a seed), Friedman's test asks whether the average ranks differ at all, and Nemenyi's critical
difference how far apart two of them must be. Both take blocks as independent. Seeds of one task are not independent
tasks: with them as blocks, what is found holds for these tasks alone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, friedmanchisquare, rankdata, studentized_range

__all__ = ["Comparison", "Steps", "compare", "critical_difference", "exact_interval", "mean_at", "time_to_reach"]

LEVEL = 0.05

Steps = Sequence[tuple[float, float]]
"""(share of the budget, regret of the incumbent from then on), ascending."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Methods compared over blocks.

    Attributes:
        ranks: method → average rank, 1 is the best, ties share their mean; best first.
        blocks: how many there are.
        statistic: Friedman's chi-squared, corrected for ties; not a number where every block is tied throughout.
        p_value: of it, by the chi-squared distribution with one degree of freedom less than there are methods.
        critical: Nemenyi's critical difference of two average ranks at the 5 % level.
    """

    ranks: Mapping[str, float]
    blocks: int
    statistic: float
    p_value: float
    critical: float

    @property
    def apart(self) -> list[tuple[str, str]]:
        """Pairs whose average ranks differ by more than the critical difference, the better one first."""
        return [(a, b) for a in self.ranks for b in self.ranks if self.ranks[a] + self.critical < self.ranks[b]]

    def ahead_and_behind(self, name: str) -> str:
        """Of which methods `name` is significantly ahead, and behind which, in words."""
        ahead = ", ".join(worse for better, worse in self.apart if better == name) or "none"
        behind = ", ".join(better for better, worse in self.apart if worse == name) or "none"
        return f"{name} is ahead of: {ahead}; behind: {behind}"

    def __str__(self) -> str:
        return (
            f"Friedman's test over {self.blocks} blocks: chi-squared {self.statistic:.1f}, p {self.p_value:.2g};"
            f" Nemenyi's critical difference at the 5 % level {self.critical:.2f}"
        )


def compare(values: Mapping[str, Sequence[float]]) -> Comparison:
    """Ranks methods within each block, less is better.

    Args:
        values: method → one value a block, blocks in the same order for all.

    Raises ValueError for fewer than three methods (Friedman's test needs them) or unequal numbers of blocks.
    """
    names = list(values)
    if len(names) < 3 or len({len(column) for column in values.values()}) != 1:
        raise ValueError(f"three methods or more with the same blocks are compared, not {names}")
    table_BM = np.array([values[name] for name in names], dtype=float).T
    mean_M = rankdata(table_BM, axis=1).mean(axis=0)
    tied = bool((table_BM == table_BM[:, :1]).all())  # SciPy divides by zero there
    statistic, p_value = (math.nan, 1.0) if tied else friedmanchisquare(*table_BM.T)
    ranks = dict(sorted(zip(names, map(float, mean_M), strict=True), key=lambda pair: pair[1]))
    critical = critical_difference(len(names), len(table_BM))
    return Comparison(ranks, len(table_BM), float(statistic), float(p_value), critical)


def critical_difference(methods: int, blocks: int, level: float = LEVEL) -> float:
    """Nemenyi's: q sqrt(k (k + 1) / (6 N)), with q of the studentized range over sqrt(2)."""
    q = float(studentized_range.ppf(1 - level, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


def exact_interval(hits: int, of: int, share: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a probability, from so many hits in independent draws."""
    interval = binomtest(hits, of).proportion_ci(share, method="exact")
    return float(interval.low), float(interval.high)


def mean_at(searches: Sequence[Steps], share: float) -> float:
    """The mean regret at that share of the budget; before its first score a search has that of its first trial."""
    return math.fsum(_regret(steps, share) for steps in searches) / len(searches)


def time_to_reach(searches: Sequence[Steps], level: float) -> tuple[float, float]:
    """The shares of the budget at which the mean regret of the searches first is at or below `level`, and from which
    on it stays there. Infinite where it never is: a search may also exchange its best trial for one that is worse."""
    moments = sorted({0.0, *(share for steps in searches for share, _ in steps)})
    reached = [mean_at(searches, moment) <= level + 1e-12 for moment in moments]
    first = next((moment for moment, there in zip(moments, reached, strict=True) if there), math.inf)
    lost = max((place for place, there in enumerate(reached) if not there), default=-1)
    return first, moments[lost + 1] if lost + 1 < len(moments) else math.inf


def _regret(steps: Steps, share: float) -> float:
    place = bisect_right([when for when, _ in steps], share + 1e-9)
    return steps[max(0, place - 1)][1]
