"""Rules that stop weak trials, apart from `Racing`: the median rule, and halving in several brackets (Hyperband).

All are a `Stopper`: they keep no memory, so the same reports and history give the same verdict in any process, they say
"go" between rungs and at the end of a trial, and failed trials do not count.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autogpt.errors import ConfigError
from autogpt.registry import did_you_mean
from autogpt.search.racing import Racing, Stopper, Verdict, reached
from autogpt.search.trials import SLACK, Direction, Report, Trial, is_better

__all__ = ["Hyperband", "Median", "Stopper", "reached", "rungs_for", "stopper"]

_LEAST_RUNG_S = 3.0
"""Scoring takes about a second, and a model that trained for less tells little."""


_WAIT = 2
"""The best of three at the first rung goes on: after a seventh of four trials' time a search is where it is after six
tenths with the first one going on at once, and it ends the same (benchmarks/results/search.md)."""


def rungs_for(full_s: float) -> tuple[float, ...]:
    """The rungs of trials that train for so many seconds: a ninth and a third, later where a ninth is next to nothing.

    Ninths did best on the table of learning curves (benchmarks/results/search.md).
    """
    return (1 / 9, 1 / 3, 1.0) if full_s / 9 >= _LEAST_RUNG_S else (0.25, 0.5, 1.0)


def stopper(name: str, rungs: Sequence[float], keep: float, spare: float) -> Stopper:
    """The rule of that name: halving, hyperband, median, or none.

    Args:
        keep, spare: of `Racing`; `hyperband` takes `keep`, the others neither.

    Raises ConfigError for another name, and for what the rule itself refuses.
    """
    match name:
        case "halving":
            return Racing(rungs, keep, spare=spare, wait=_WAIT)
        case "hyperband":
            return Hyperband(rungs, keep)
        case "median":
            return Median(rungs)
        case "none":
            return Racing((1.0,))
    known = ["halving", "hyperband", "median", "none"]
    raise ConfigError("search.stopping", found=repr(name), expected=", ".join(known), todo=did_you_mean(name, known))


@dataclass(frozen=True, slots=True)
class Median:
    """The median stopping rule: a trial is stopped whose best value so far is worse than the others' median.

    Golovin et al. 2017, "Google Vizier: A Service for Black-Box Optimization", section 3.2.1. It stops at most about
    half of the trials at a rung, fewer than halving does, and assumes nothing about the shape of curves.

    Attributes:
        rungs: shares of a trial's full length at which it is judged, ascending; at 1 it is through.
        min_others: a rung that fewer others have reached judges nobody. Three have a median that is one of them.
        against: what each other trial is represented by. "average": the mean of its values up to the rung, as
            published, which is lenient where curves are steep and reports few, because it holds the early values too;
            "best": its best value up to the rung, as the running trial is.

    The paper counts completed trials alone. Here each trial that reached the rung counts, stopped later or not: a
    search of minutes completes few, and those are the good ones. Raises ConfigError for rungs outside (0, 1] or out of
    order and for `min_others` below 1.
    """

    rungs: Sequence[float] = (1 / 9, 1 / 3, 1.0)
    min_others: int = 3
    against: Literal["average", "best"] = "average"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rungs", Racing(self.rungs).rungs)
        if self.min_others < 1:
            raise ConfigError("search.min_others", found=repr(self.min_others), expected="at least 1")

    def verdict(self, reports: Sequence[Report], history: Sequence[Trial], *, direction: Direction) -> Verdict:
        """Judges the running trial after its newest report; arguments as of `Racing.verdict`."""
        rung = reached(self.rungs, reports)
        if rung is None:
            return Verdict("go", "between rungs")
        there = [trial for trial in history if trial.report_at(rung) is not None]
        others = [self._standing(_up_to(trial, rung), direction) for trial in there]
        if len(others) < self.min_others:
            return Verdict("go", f"only {len(others)} other trials have reached {rung:.0%}, too few to judge")
        median = statistics.median(others)
        best = _best([report.value for report in reports], direction)
        standing = f"{best:.4g} at {rung:.0%} of the trial against a median of {median:.4g} of {len(others)} others"
        if is_better(median, best, direction):
            return Verdict("stop", f"worse: {standing}")
        return Verdict("go", f"not worse: {standing}")

    def _standing(self, values: Sequence[float], direction: Direction) -> float:
        return _best(values, direction) if self.against == "best" else statistics.fmean(values)


@dataclass(frozen=True, slots=True)
class Hyperband:
    """Hyperband: halving in brackets that begin to judge at different rungs, in case early scores mislead.

    Li et al. 2018, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", algorithm 1, with the
    asynchronous halving of `Racing` inside the brackets, as Li et al. 2020 propose. Bracket 0 judges at every rung,
    each next one leaves out the lowest rung of the one before, the last judges nobody. Brackets get trials in the
    paper's proportions (the more, the earlier they stop), but in turns rather than one bracket after the other, so that
    a search that ends at any moment has tried all of them.

    Attributes:
        rungs: shares of a trial's full length at which it is judged, ascending; at 1 it is through.
        keep: share of the scores of a rung that pass, 1/eta of the paper; below 1. The proportions are the paper's
            where each rung is `keep` times the next, the last one of which is 1.
        min_others: a rung with fewer other scores of the same bracket judges nobody.

    Raises ConfigError as `Racing` does, and for a `keep` of 1.
    """

    rungs: Sequence[float] = (1 / 9, 1 / 3, 1.0)
    keep: float = 1 / 3
    min_others: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "rungs", Racing(self.rungs, self.keep).rungs)
        if self.keep >= 1:
            raise ConfigError("search.keep", found=repr(self.keep), expected="a share above 0, below 1")

    @property
    def brackets(self) -> tuple[tuple[float, ...], ...]:
        """The rungs of each bracket below the end of the trial, those of the last none."""
        below = tuple(rung for rung in self.rungs if rung < 1 - SLACK)
        return tuple(below[first:] for first in range(len(below) + 1))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many trials each bracket gets in a round: the paper's n = ceil((s_max + 1) / (s + 1) * eta^s)."""
        most = len(self.brackets)
        return tuple(
            math.ceil(most / (most - first) * self.keep ** -(most - first - 1) - SLACK) for first in range(most)
        )

    def bracket_of(self, number: int) -> int:
        """The bracket, counted from 0, that the trial `number` is in: always the same one.

        Within a round of `sum(sizes)` trials the next goes to the bracket that is furthest behind its share.
        """
        sizes = self.sizes
        given = [0] * len(sizes)
        bracket = 0
        for place in range(number % sum(sizes) + 1):
            behind = [size * (place + 1) / sum(sizes) - count for size, count in zip(sizes, given, strict=True)]
            bracket = max(range(len(sizes)), key=lambda one: (behind[one], -one))
            given[bracket] += 1
        return bracket

    def verdict(
        self,
        reports: Sequence[Report],
        history: Sequence[Trial],
        *,
        direction: Direction,
        number: int | None = None,
    ) -> Verdict:
        """Judges the running trial after its newest report, against the trials of its bracket.

        Args:
            reports: of the running trial, the newest last.
            history: the other trials.
            direction: whether more or less is better.
            number: of the running trial; without it the lowest one that the history lacks, which is right when the
                history holds every other trial that was started.
        """
        if number is None:
            number = _lowest_missing(history)
        bracket = self.bracket_of(number)
        rungs = self.brackets[bracket]
        if not rungs:
            return Verdict("go", f"bracket {bracket + 1} of {len(self.brackets)} stops nobody")
        rivals = [trial for trial in history if trial.number != number and self.bracket_of(trial.number) == bracket]
        verdict = Racing(rungs, self.keep, self.min_others).verdict(reports, rivals, direction=direction)
        return Verdict(verdict.action, f"bracket {bracket + 1} of {len(self.brackets)}: {verdict.reason}")


def _lowest_missing(history: Sequence[Trial]) -> int:
    taken = {trial.number for trial in history}
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _best(values: Sequence[float], direction: Direction) -> float:
    return max(values) if direction == "max" else min(values)


def _up_to(trial: Trial, rung: float) -> list[float]:
    """The values of a trial up to the first report at or after `rung`, all when it finished earlier."""
    values = []
    for report in trial.reports:
        values.append(report.value)
        if report.share >= rung - SLACK:
            break
    return values
