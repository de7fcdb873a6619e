"""The records of a search: what a trial reported, how it ended, and which trial is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Direction", "Report", "State", "Study", "Trial", "is_better", "ranking_value", "same_config"]

Direction: TypeAlias = Literal["max", "min"]
State: TypeAlias = Literal["running", "finished", "stopped", "failed"]

SLACK = 1e-6
"""Shares closer than this are the same rung: 1/3 may have been computed in two ways."""


def is_better(score: float, other: float, direction: Direction) -> bool:
    """Whether `score` is strictly better than `other`."""
    return score > other if direction == "max" else score < other


def same_config(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations ask for the same trial; True and 1 differ, 2 and 2.0 do not."""
    return one.keys() == other.keys() and all(
        isinstance(value, bool) == isinstance(other[name], bool) and value == other[name] for name, value in one.items()
    )


def ranking_value(score: float, loss: float, resolution: float, direction: Direction) -> float:
    """What a trial is ranked by: its score in steps of `resolution`, and among equal steps its loss.

    A score that counts hits on a hundred rows cannot tell apart two models a hit or two apart, or two that have not
    begun to hit at all; their loss on the same rows can. The value orders first by the rounded score, then by the loss
    (less is better), and is never more than three quarters of a step away from the score. A resolution of 0 leaves the
    score as it is.
    """
    if resolution <= 0 or not math.isfinite(score) or not math.isfinite(loss):
        return score
    sign = 1.0 if direction == "max" else -1.0
    return resolution * (round(score / resolution) + sign * (0.25 - 0.5 * max(0.0, loss) / (1.0 + max(0.0, loss))))


@dataclass(frozen=True, slots=True)
class Report:
    """What a trial says on its way.

    Attributes:
        share: how much of the trial's full length is behind it, 0 to 1; a rung when it is one of the race's shares.
        score: the task's metric on validation data.
        seconds: wall-clock of the trial up to this report. `optimize` fills it in; an objective need not.
        info: anything else worth keeping, plain JSON.
        value: what trials are ranked by; the score where it is not given. See `ranking_value`.
        at: seconds of the search's clock when it came. `optimize` fills it in.
    """

    share: float
    score: float
    seconds: float = 0.0
    info: Mapping[str, Any] = field(default_factory=dict)
    value: float = math.nan
    at: float = 0.0

    def __post_init__(self) -> None:
        if math.isnan(self.value):
            object.__setattr__(self, "value", self.score)

    def to_dict(self) -> dict[str, Any]:
        row = {
            "share": self.share,
            "score": self.score,
            "seconds": self.seconds,
            "at": self.at,
            "info": dict(self.info),
        }
        return row if self.value == self.score else {**row, "value": self.value}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Report:
        score, info = float(row["score"]), dict(row.get("info") or {})
        value, at = float(row.get("value", score)), float(row.get("at") or 0.0)
        return cls(float(row["share"]), score, float(row["seconds"]), info, value, at)


@dataclass(frozen=True, slots=True)
class Trial:
    """One tried configuration.

    Attributes:
        number: 0, 1, 2, … in the order in which trials were started.
        config: the active parameters.
        state: `running`, `finished` (ran to its own end), `stopped` (by the race or the end of the budget; it carries
            its last score, and may be gone on with) or `failed` (it has no usable model, whatever it reported before).
        reports: in the order in which they came.
        seconds: wall-clock of the whole trial.
        reason: why it was stopped, in words.
        error: why it failed, in words.
        lost: how often the process that ran it was lost.
    """

    number: int
    config: Mapping[str, Any]
    state: State
    reports: tuple[Report, ...] = ()
    seconds: float = 0.0
    reason: str = ""
    error: str = ""
    lost: int = 0

    @property
    def score(self) -> float | None:
        """The last score; None when the trial failed or said nothing."""
        return self.reports[-1].score if self.reports and self.state != "failed" else None

    @property
    def value(self) -> float | None:
        """What it is ranked by, where it has a score."""
        return None if self.score is None else self.reports[-1].value

    @property
    def share(self) -> float:
        """How far it came: 1 when it finished (a trial may end early by its own decision), else its last share."""
        if self.state == "finished":
            return 1.0
        return self.reports[-1].share if self.reports else 0.0

    def report_at(self, rung: float) -> Report | None:
        """The first report at or after `rung`, the last one when it finished earlier, None when it never got there."""
        if self.state == "failed" or not self.reports:
            return None
        there = (report for report in self.reports if report.share >= rung - SLACK)
        return next(there, self.reports[-1] if self.state == "finished" else None)

    def score_at(self, rung: float) -> float | None:
        """The score of `report_at`."""
        found = self.report_at(rung)
        return None if found is None else found.score

    def value_at(self, rung: float) -> float | None:
        """The value of `report_at`."""
        found = self.report_at(rung)
        return None if found is None else found.value

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; `score` and `share` are in it for readers and ignored by `from_dict`."""
        return {
            "number": self.number,
            "config": dict(self.config),
            "state": self.state,
            "score": self.score,
            "share": self.share,
            "reports": [report.to_dict() for report in self.reports],
            "seconds": self.seconds,
            "reason": self.reason,
            "error": self.error,
            "lost": self.lost,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Trial:
        return cls(
            number=int(row["number"]),
            config=dict(row["config"]),
            state=row["state"],
            reports=tuple(Report.from_dict(report) for report in row.get("reports") or ()),
            seconds=float(row.get("seconds") or 0.0),
            reason=row.get("reason") or "",
            error=row.get("error") or "",
            lost=int(row.get("lost") or 0),
        )


@dataclass(frozen=True, slots=True)
class Study:
    """All trials of a search, and its verdict.

    Attributes:
        kept: the trial that is gone on with although another scored better; None for the best one.
    """

    trials: tuple[Trial, ...]
    direction: Direction
    ended: str = ""
    kept: Trial | None = None

    @property
    def chosen(self) -> Trial | None:
        """The trial to go on with: the best, unless another one is kept."""
        return self.kept or self.best

    @property
    def best(self) -> Trial | None:
        """The best trial, None when every trial failed.

        Values of different shares are not the same measurement, so the leader is the best value among the trials that
        came furthest. A trial that was cut off earlier takes its place only when it was ahead of the leader at the last
        rung that both saw *and* its value is already better than the leader's last one: more training is not what made
        the difference. Equal values: the earlier trial.
        """
        scored = [trial for trial in self.trials if trial.value is not None and math.isfinite(trial.value)]
        if not scored:
            return None
        furthest = max(trial.share for trial in scored)
        leader = self._top([trial for trial in scored if trial.share >= furthest - SLACK])
        ahead = [trial for trial in scored if trial.share < furthest - SLACK and self._ahead(trial, leader)]
        return self._top(ahead) if ahead else leader

    def _top(self, trials: Sequence[Trial]) -> Trial:
        sign = -1.0 if self.direction == "max" else 1.0
        return min(trials, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    def _ahead(self, trial: Trial, leader: Trial) -> bool:
        there = leader.value_at(trial.share)
        return (
            trial.value is not None
            and leader.value is not None
            and there is not None
            and is_better(trial.value, there, self.direction)
            and is_better(trial.value, leader.value, self.direction)
        )
