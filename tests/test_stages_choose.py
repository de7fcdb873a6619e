"""What a search's winner must show before the default configuration gives way to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autogpt.evaluation.gain import Gain, gain_of, loss_gain_of
from autogpt.evaluation.metrics import get_metric
from autogpt.search.racing import Budget
from autogpt.search.study import Report, Study, Trial
from autogpt.stages_choose import choose, gains_over_default, is_improvement
from autogpt.store.artifacts import RunFolder

DEFAULT, OTHER = {"lr": 1}, {"lr": 2}
ROWS = 100
LOSS = {0: 1.0, 1: 1.0, 2: 0.5, 3: 1.0, 4: 1.0}
"""Trial → its mean loss; the third is far better by it than the others."""


def _trial(number: int, config: dict[str, int], scores: dict[float, float]) -> Trial:
    reports = tuple(Report(share, score) for share, score in scores.items())
    return Trial(number, config, "finished" if 1.0 in scores else "stopped", reports)


def _judged(tmp_path: Path, *trials: Trial, prefer: str = "score") -> tuple[Study, Any, list[str]]:
    run: Any = SimpleNamespace(folder=RunFolder(tmp_path), reasons={}, emit=lambda kind, message: told.append(message))
    run.budget = Budget(100.0, lambda: 0.0)
    space = SimpleNamespace(default=DEFAULT)
    bench: Any = SimpleNamespace(score=get_metric("accuracy"), label_losses=True, space=space)
    told: list[str] = []
    rng = np.random.default_rng(0)
    for trial in trials:
        for report in trial.reports:
            file = run.folder.rows(trial.number, report.share)
            file.parent.mkdir(exist_ok=True)
            hits = np.arange(ROWS) < report.score * ROWS
            rows = np.stack([hits, np.ones(ROWS)], axis=1).astype(float)
            losses = np.stack([LOSS[trial.number] + 0.1 * rng.random(ROWS), np.ones(ROWS)], axis=1)
            np.savez(file, rows=rows, losses=losses)
    run.config = SimpleNamespace(search=SimpleNamespace(prefer=prefer))
    return choose(run, bench, Study(trials, "max")), run, told


def test_a_clear_winner_is_gone_on_with(tmp_path: Path) -> None:
    study, run, told = _judged(tmp_path, _trial(0, DEFAULT, {1.0: 0.5}), _trial(1, OTHER, {1.0: 0.9}))
    assert study.chosen is study.trials[1]
    assert "better than the default configuration (accuracy: Δ=+0.4" in run.reasons["winner"]
    assert not told


def _falling(number: int, config: dict[str, int], losses: tuple[float, float], scores: tuple[float, float]) -> Trial:
    """Scored after 5 and after 10 seconds."""
    reports = [
        Report(share, score, 10 * share, {"loss": loss, "step": round(300 * share)})
        for share, score, loss in zip((0.5, 1.0), scores, losses, strict=True)
    ]
    return Trial(number, config, "finished", tuple(reports), 10.0)


@pytest.mark.parametrize(("before", "kept"), [(1.2, 1), (1.0, 0)])
def test_a_winner_that_falls_behind_by_the_end_is_not_gone_on_with(before: float, kept: int, tmp_path: Path) -> None:
    """Ten times the time is to come. The default goes on from 1.2, by 0.2 each time it doubles; the other from 0.9."""
    default = _falling(0, DEFAULT, (1.4, 1.2), (0.2, 0.3))
    study, run, _ = _judged(tmp_path, default, _falling(1, OTHER, (before, 0.9), (0.7, 0.9)))
    assert study.best is study.trials[1]
    assert study.chosen is study.trials[kept]
    assert ("the default would be ahead by the end" in run.reasons["winner"]) == (kept == 0)


def test_a_winner_after_few_steps_is_not_gone_on_with(tmp_path: Path) -> None:
    short = Trial(1, OTHER, "finished", (Report(1.0, 0.9, 10.0, {"loss": 0.5, "step": 299}),))
    study, run, _ = _judged(tmp_path, _falling(0, DEFAULT, (1.0, 0.9), (0.4, 0.5)), short)
    assert study.chosen is study.trials[0]
    assert "is better after 299 steps, which tells who begins faster" in run.reasons["winner"]


def test_seeds_may_do_less_where_little_moves(tmp_path: Path) -> None:
    """The same difference is a gain where both have come to rest, and may be luck while they climb."""
    claimed = []
    for rise in (0.4, 0.02):
        pair = [
            _falling(number, config, (1.0, 1.0), (score - rise, score))
            for number, config, score in ((0, DEFAULT, 0.6), (1, OTHER, 0.72))
        ]
        study, _, _ = _judged(tmp_path, *pair)
        claimed.append(study.chosen is study.trials[1])
    assert claimed == [False, True]


def test_a_winner_by_luck_is_not(tmp_path: Path) -> None:
    study, run, told = _judged(tmp_path, _trial(0, DEFAULT, {1.0: 0.5}), _trial(1, OTHER, {1.0: 0.51}))
    assert study.best is study.trials[1]
    assert study.chosen is study.trials[0]
    assert "without a significant gain" in run.reasons["winner"]
    assert len(told) == 1


def test_a_winner_by_loss_is_gone_on_with_where_hits_cannot_tell(tmp_path: Path) -> None:
    study, run, told = _judged(tmp_path, _trial(0, DEFAULT, {1.0: 0.1}), _trial(2, OTHER, {1.0: 0.11}))
    assert study.chosen is study.trials[1]
    assert "better than the default configuration (accuracy: Δ=+0.01" in run.reasons["winner"]
    assert "loss: Δ=+0.5" in run.reasons["winner"]
    assert not told


def test_a_better_loss_does_not_make_up_for_fewer_hits(tmp_path: Path) -> None:
    default = _trial(0, DEFAULT, {1.0: 0.5})
    best = Trial(2, OTHER, "finished", (Report(1.0, 0.45, value=0.6),))
    study, _, _ = _judged(tmp_path, default, best)
    assert study.best is best
    assert study.chosen is default


def test_they_are_compared_where_both_have_been(tmp_path: Path) -> None:
    default = _trial(0, DEFAULT, {1 / 3: 0.9})
    study, _, _ = _judged(tmp_path, default, _trial(1, OTHER, {1 / 3: 0.9, 1.0: 0.95}))
    assert study.chosen is default


@pytest.mark.parametrize(
    "trials",
    [
        [_trial(0, DEFAULT, {1.0: 0.9}), _trial(1, OTHER, {1.0: 0.5})],
        [_trial(0, OTHER, {1.0: 0.9})],
        [Trial(0, DEFAULT, "failed"), _trial(1, OTHER, {1.0: 0.9})],
        [_trial(0, DEFAULT, {1 / 3: 0.2}), _trial(1, OTHER, {1.0: 0.9})],
    ],
    ids=["the default is best", "there is no default", "it failed", "they never met"],
)
def test_where_nothing_can_be_compared_the_best_is_chosen(tmp_path: Path, trials: list[Trial]) -> None:
    study, run, _ = _judged(tmp_path, *trials)
    assert study.chosen is study.best
    assert "winner" not in run.reasons


def test_gains_are_those_of_the_last_share_that_both_have() -> None:
    trials = (_trial(0, DEFAULT, {1 / 3: 0.2, 1.0: 0.5}), _trial(1, OTHER, {1 / 3: 0.9, 1.0: 0.95}))
    stopped = (_trial(2, {"lr": 3}, {1 / 3: 0.1}), _trial(3, {"lr": 4}, {1 / 3: 0.1, 1.0: 0.2}))
    rng = np.random.default_rng(1)
    tables = {
        (number, share): (np.stack([rng.random(40) < 0.5, np.ones(40)], axis=1).astype(float), rng.random((40, 2)))
        for number in (0, 1)
        for share in (1 / 3, 1.0)
    }

    def rows_at(number: int, share: float) -> Any:
        return tables.get((number, share))

    study = Study((*trials, *stopped), "max")
    found = gains_over_default(study, DEFAULT, get_metric("accuracy"), rows_at, labels=True)
    ours, theirs = tables[1, 1.0], tables[0, 1.0]
    assert found == {  # three came that far, so two could have been better
        "accuracy": gain_of(get_metric("accuracy"), ours[0], theirs[0], trials=2),
        "loss": loss_gain_of(ours[1], theirs[1], labels=True, trials=2),
    }
    del tables[0, 1.0]
    found = gains_over_default(study, DEFAULT, get_metric("accuracy"), rows_at, labels=True)
    assert found["accuracy"] == gain_of(get_metric("accuracy"), tables[1, 1 / 3][0], tables[0, 1 / 3][0], trials=3)
    assert gains_over_default(study, {"lr": 9}, get_metric("accuracy"), rows_at, labels=True) == {}


def test_an_improvement_is_by_the_metric_or_by_the_loss_alone_where_the_metric_is_no_worse() -> None:
    real, level, worse = (Gain(difference, p, 0.1, 40, 1) for difference, p in ((0.2, 0.01), (0.0, 1.0), (-0.2, 0.01)))
    assert is_improvement({"accuracy": real})
    assert is_improvement({"accuracy": real, "loss": worse})
    assert is_improvement({"accuracy": level, "loss": real})
    assert not is_improvement({"accuracy": worse, "loss": real})
    assert not is_improvement({"accuracy": level, "loss": level})


def _sized(trial: Trial, parameters: int, row_ms: float) -> Trial:
    info = {"parameters": parameters, "row_ms": row_ms}
    return replace(trial, reports=tuple(replace(report, info=info) for report in trial.reports))


@pytest.mark.parametrize(("prefer", "number"), [("score", 1), ("small", 3), ("fast", 4)])
def test_a_cheaper_trial_that_is_as_good_is_preferred(tmp_path: Path, prefer: str, number: int) -> None:
    trials = [
        _sized(_trial(0, DEFAULT, {1.0: 0.5}), 10, 1.0),
        _sized(_trial(1, OTHER, {1.0: 0.9}), 40, 4.0),
        _sized(_trial(3, OTHER, {1.0: 0.88}), 20, 3.0),
        _sized(_trial(4, OTHER, {1.0: 0.87}), 30, 2.0),
    ]
    study, run, _ = _judged(tmp_path, *trials, prefer=prefer)
    assert study.chosen is not None
    assert study.chosen.number == number
    assert ("preferred" in run.reasons) == (prefer != "score")


def test_nothing_cheaper_is_as_good(tmp_path: Path) -> None:
    trials = [_sized(_trial(0, DEFAULT, {1.0: 0.5}), 10, 1.0), _sized(_trial(1, OTHER, {1.0: 0.9}), 40, 4.0)]
    study, run, _ = _judged(tmp_path, *trials, prefer="small")
    assert study.chosen is trials[1]
    assert run.reasons["preferred"] == "no trial is cheaper than trial 1 without being significantly worse"
