"""The records of a search: what a trial reported, how it ended, and which trial is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Direction", "Report", "State", "Study", "Trial", "is_better", "same_config"]

Direction: TypeAlias = Literal["max", "min"]
State: TypeAlias = Literal["finished", "stopped", "failed"]

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


@dataclass(frozen=True, slots=True)
class Report:
    """What a trial says on its way.

    Attributes:
        share: how much of the trial's full length is behind it, 0 to 1; a rung when it is one of the race's shares.
        score: the task's metric on validation data.
        seconds: wall-clock from the start of the trial to this report. `optimize` fills it in; an objective need not.
        info: anything else worth keeping, plain JSON.
    """

    share: float
    score: float
    seconds: float = 0.0
    info: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"share": self.share, "score": self.score, "seconds": self.seconds, "info": dict(self.info)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Report:
        return cls(float(row["share"]), float(row["score"]), float(row["seconds"]), dict(row.get("info") or {}))


@dataclass(frozen=True, slots=True)
class Trial:
    """One tried configuration.

    Attributes:
        number: 0, 1, 2, … in the order in which trials were started.
        config: the active parameters.
        state: `finished` (ran to its own end), `stopped` (by the race or the end of the budget; it carries its last
            score) or `failed` (it has no usable model, whatever it reported before).
        reports: in the order in which they came.
        seconds: wall-clock of the whole trial.
        reason: why it was stopped, in words.
        error: why it failed, in words.
    """

    number: int
    config: Mapping[str, Any]
    state: State
    reports: tuple[Report, ...] = ()
    seconds: float = 0.0
    reason: str = ""
    error: str = ""

    @property
    def score(self) -> float | None:
        """The last score; None when the trial failed or said nothing."""
        return self.reports[-1].score if self.reports and self.state != "failed" else None

    @property
    def share(self) -> float:
        """How far it came: 1 when it finished (a trial may end early by its own decision), else its last share."""
        if self.state == "finished":
            return 1.0
        return self.reports[-1].share if self.reports else 0.0

    def score_at(self, rung: float) -> float | None:
        """The first score at or after `rung`, the last one when it finished earlier, None when it never got there."""
        if self.state == "failed":
            return None
        for report in self.reports:
            if report.share >= rung - SLACK:
                return report.score
        return self.score if self.state == "finished" else None

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

        Scores of different shares are not the same measurement, so the leader is the best score among the trials that
        came furthest. A trial that was cut off earlier takes its place only when it was ahead of the leader at the last
        rung that both saw *and* its score is already better than the leader's last one: more training is not what made
        the difference. Equal scores: the earlier trial.
        """
        scored = [trial for trial in self.trials if trial.score is not None and math.isfinite(trial.score)]
        if not scored:
            return None
        furthest = max(trial.share for trial in scored)
        leader = self._top([trial for trial in scored if trial.share >= furthest - SLACK])
        ahead = [trial for trial in scored if trial.share < furthest - SLACK and self._ahead(trial, leader)]
        return self._top(ahead) if ahead else leader

    def _top(self, trials: Sequence[Trial]) -> Trial:
        sign = -1.0 if self.direction == "max" else 1.0
        return min(trials, key=lambda trial: (sign * (trial.score or 0.0), trial.number))

    def _ahead(self, trial: Trial, leader: Trial) -> bool:
        there = leader.score_at(trial.share)
        return (
            trial.score is not None
            and leader.score is not None
            and there is not None
            and is_better(trial.score, there, self.direction)
            and is_better(trial.score, leader.score, self.direction)
        )
