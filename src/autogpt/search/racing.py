"""Stopping weak trials early, and one clock for everything.

`Racing` is asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning"): a
trial is judged at each rung against whatever is known there, at once, without waiting for others; one that was stopped
is judged again as more comes to be known. Trials must run on a constant learning rate up to their rungs: rankings flip
while a rate decays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from autogpt.errors import ConfigError
from autogpt.search.trials import SLACK, Direction, Report, Trial, is_better

__all__ = ["Budget", "Racing", "Stopper", "Verdict", "reached"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trial goes on, and why, in words."""

    action: Literal["go", "stop"]
    reason: str


class Stopper(Protocol):
    """A rule that stops weak trials at `rungs`, ascending shares of a trial's full length.

    It is asked again about a stopped trial when more is known; where it says "go" then, the trial is gone on with.
    """

    @property
    def rungs(self) -> Sequence[float]: ...

    def verdict(self, reports: Sequence[Report], history: Sequence[Trial], *, direction: Direction) -> Verdict: ...


def reached(rungs: Sequence[float], reports: Sequence[Report]) -> float | None:
    """The highest rung that the newest report is the first to reach; None between rungs and at the end of the trial."""
    if not reports or reports[-1].share >= 1 - SLACK:
        return None
    before = max((report.share for report in reports[:-1]), default=0.0)
    passed = [rung for rung in rungs if before < rung - SLACK and rung - SLACK <= reports[-1].share]
    return max(passed, default=None)


@dataclass(frozen=True, slots=True)
class Racing:
    """The rule of the race.

    Attributes:
        rungs: shares of a trial's full length at which it is judged, ascending; at 1 it is through.
        keep: share of the scores of a rung that pass; 1 stops nobody.
        min_others: a rung with fewer other scores than this judges nobody.
        wait: a trial waits at the first rung until so many others have come there: the first one would else run to its
            end with nothing to compare it with.
        spare: a slow starter goes on all the same when the chance that its loss ends below the incumbent's is above
            this (see `curves.chance_to_lead`); 1 spares nobody.

    Raises ConfigError for rungs outside (0, 1] or out of order, and for `keep` and `spare` outside (0, 1].
    """

    rungs: Sequence[float] = (1 / 9, 1 / 3, 1.0)
    keep: float = 1 / 3
    min_others: int = 1
    spare: float = 1.0
    wait: int = 0

    def __post_init__(self) -> None:
        rungs = tuple(self.rungs)
        object.__setattr__(self, "rungs", rungs)
        if not rungs or sorted(set(rungs)) != list(rungs) or rungs[0] <= 0 or rungs[-1] > 1:
            raise ConfigError("search.rungs", found=repr(list(rungs)), expected="ascending shares above 0, at most 1")
        for name, share in (("keep", self.keep), ("spare", self.spare)):
            if not 0 < share <= 1:
                raise ConfigError(f"search.{name}", found=repr(share), expected="a share above 0, at most 1")

    def places(self, scores: int) -> int:
        """How many of `scores` scores pass: the share `keep`, rounded up.

        Published halving rounds down, which with a handful of trials lets only the best one through; rounding up lets
        a close second go on and changes nothing when there are many.
        """
        return max(1, math.ceil(scores * self.keep - SLACK))

    def verdict(self, reports: Sequence[Report], history: Sequence[Trial], *, direction: Direction) -> Verdict:
        """Judges the running trial after its newest report.

        Args:
            reports: of the running trial, the newest last.
            history: the ended trials. Failed ones do not count; one that finished before a rung by its own decision
                counts there with its last score.
            direction: whether more or less is better.
        """
        rung = reached(self.rungs, reports)
        if rung is None:
            return Verdict("go", "between rungs")
        score, value = reports[-1].score, reports[-1].value
        others = [there for trial in history if (there := trial.value_at(rung)) is not None]
        if rung == self.rungs[0] and len(others) < self.wait:
            return Verdict("stop", f"the best of the first {self.wait + 1} trials at {rung:.0%} goes on first")
        if len(others) < self.min_others:
            return Verdict("go", f"only {len(others)} other trials have reached {rung:.0%}, too few to judge")
        place = 1 + sum(is_better(other, value, direction) for other in others)
        allowed = self.places(len(others) + 1)
        standing = f"place {place} of {len(others) + 1} at {rung:.0%} of the trial with {score:.4g}"
        if place <= allowed:
            return Verdict("go", f"{standing}; the best {allowed} go on")
        if self.spare < 1 and (chance := self._chance(reports, history, direction)) > self.spare:
            return Verdict("go", f"{standing}, but by its loss it has a chance of {chance:.0%} to end in the lead")
        return Verdict("stop", f"{standing}; only the best {allowed} go on")

    def _chance(self, reports: Sequence[Report], history: Sequence[Trial], direction: Direction) -> float:
        from autogpt.search.curves import chance_to_lead  # takes NumPy, which a search without losses does not need

        return chance_to_lead(reports, history, direction=direction)


@dataclass(frozen=True, slots=True)
class Budget:
    """Wall-clock seconds that are running out from the moment of creation.

    Attributes:
        seconds: the whole budget.
        clock: seconds from any origin; the default never jumps when the machine's time is set.
        spent: seconds that earlier processes of the same run have used already (resume).
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    spent: float = 0.0
    _start: float = field(init=False, repr=False, compare=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_start", self.clock())

    def elapsed(self) -> float:
        """Seconds used, those before a resume included."""
        return self.spent + max(0.0, self.clock() - self._start)

    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.seconds - self.elapsed())

    def fraction(self) -> float:
        """Share of the budget that is used, 0 to 1."""
        return 1.0 if self.seconds <= 0 else min(1.0, self.elapsed() / self.seconds)

    def part(self, share: float) -> Budget:
        """A budget that runs on the same clock from the same start and ends when `share` of this one is used."""
        return Budget(self.seconds * share, self.clock, self.elapsed())
