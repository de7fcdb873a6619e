"""Whether more search pays: what it takes from the winner's training, against what it could tell.

A search and the training of its winner share one budget. What the seconds are worth to the winner says its own learning
curve; they are lost where another trial uses them. `Worth` ends a search that could not tell a better configuration
from one that begins faster, or that has cost as much as chance may do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autogpt.search.trials import Direction, Report, Study, Trial

__all__ = ["Worth", "slope", "steps_that_tell"]


@dataclass(frozen=True, slots=True)
class Worth:
    """What a search may cost.

    Attributes:
        free_s: seconds that the search and the training of its winner have together.
        direction: whether large or small scores are better.
        least_steps: optimizer steps of a trial of full length with which another one is compared; trials that stay
            below tell nothing.
        noise: score → the difference that seeds alone may make to it.
        workers: trials that run at a time.
    """

    free_s: float
    direction: Direction
    least_steps: int
    noise: Callable[[float], float]
    workers: int = 1

    def objection(self, trials: Sequence[Trial], needed_s: float) -> str:
        """Why a job of `needed_s` seconds that is not the leader's should not be started; empty where it should."""
        leader = Study(tuple(trials), self.direction).best
        if leader is None:
            return ""
        last = leader.reports[-1]
        steps = float(last.info.get("step", math.inf)) / max(last.share, 1e-9)
        if steps < steps_that_tell(last, self.least_steps):
            return (
                f"a trial here has {steps:.0f} steps, and who will be better in the end shows after {self.least_steps}:"
                " the time is better spent on training"
            )
        others_s = (sum(trial.seconds for trial in trials) - leader.seconds + needed_s) / self.workers
        pace = abs(slope(leader.reports, _score))
        if not 0 < others_s < self.free_s or math.isnan(pace):
            return ""
        cost = -pace * math.log1p(-others_s / self.free_s)
        if cost <= self.noise(last.score):
            return ""
        return (
            f"by trial {leader.number}'s curve, {others_s:.0f} s for other trials cost the winner {cost:.2g}, more than"
            f" seeds alone make of {last.score:.4g}"
        )


def steps_that_tell(report: Report, least_steps: int) -> float:
    """Steps after which a trial is compared with others: `least_steps`, or all it may make (`steps` of its report)."""
    return min(least_steps, float(report.info.get("steps", math.inf)))


def slope(reports: Sequence[Report], measure: Callable[[Report], float]) -> float:
    """How much `measure` last moved while the logarithm of training time grew by one; NaN where it was seen once."""
    if len(reports) < 2:
        return math.nan
    before, last = reports[-2:]
    return (measure(last) - measure(before)) / math.log(last.share / before.share)


def _score(report: Report) -> float:
    return report.score
