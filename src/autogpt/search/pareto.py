"""What a better score costs in size and time: the trials that no other one beats in everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autogpt.search.trials import SLACK, Direction, Trial

__all__ = ["TradeOff", "pareto_front", "trade_offs"]


@dataclass(frozen=True, slots=True)
class TradeOff:
    """A trial as a user chooses between trials.

    Attributes:
        number: of the trial.
        score: the task's metric at the end of the trial.
        parameters: of its model.
        row_ms: milliseconds to answer one validation row, in batches, as measured when it was scored.
    """

    number: int
    score: float
    parameters: int
    row_ms: float


def trade_offs(trials: Sequence[Trial]) -> list[TradeOff]:
    """Score, size and time of the trials that came furthest, by number.

    Scores on the way are not what a model is chosen by, so trials that were stopped earlier are left out, as are failed
    ones and those that report no `parameters` and `row_ms`.
    """
    scored = [trial for trial in trials if trial.score is not None]
    furthest = max((trial.share for trial in scored), default=0.0)
    found = []
    for trial in scored:
        info = trial.reports[-1].info
        if trial.share >= furthest - SLACK and "parameters" in info and "row_ms" in info:
            score = trial.reports[-1].score
            found.append(TradeOff(trial.number, score, int(info["parameters"]), float(info["row_ms"])))
    return found


def pareto_front(known: Sequence[TradeOff], direction: Direction) -> list[TradeOff]:
    """Those that no other one dominates: is as good in score, size and time and better in one. The best score first."""
    sign = -1.0 if direction == "max" else 1.0

    def costs(one: TradeOff) -> tuple[float, float, float]:
        return (sign * one.score, one.parameters, one.row_ms)

    def dominated(one: TradeOff) -> bool:
        mine = costs(one)
        return any(
            costs(other) != mine and all(a <= b for a, b in zip(costs(other), mine, strict=True)) for other in known
        )

    return sorted((one for one in known if not dominated(one)), key=costs)
