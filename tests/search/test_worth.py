"""When a search is not worth its time: by hand on made-up curves."""

from __future__ import annotations

import math

import pytest

from autogpt.search.trials import Report, Trial
from autogpt.search.worth import Worth, slope


def trial(number: int, scores: dict[float, float], *, full_s: float = 90.0, steps: int = 900) -> Trial:
    reports = tuple(
        Report(share, score, seconds=share * full_s, info={"step": int(share * steps)})
        for share, score in scores.items()
    )
    return Trial(number, {"x": number}, "stopped", reports, seconds=reports[-1].seconds)


def worth(noise: float = 0.05, least_steps: int = 300, workers: int = 1) -> Worth:
    return Worth(1000.0, "min", least_steps, lambda score: noise * score, workers)


def test_slope_is_what_one_more_unit_of_log_time_brings() -> None:
    reports = trial(0, {1 / 9: 3.0, 1 / 3: 3.0 - 0.2 * math.log(3)}).reports
    assert slope(reports, lambda report: report.score) == pytest.approx(-0.2)
    assert math.isnan(slope(reports[:1], lambda report: report.score))


def test_trials_that_are_too_short_to_tell_are_not_made() -> None:
    known = [trial(0, {1 / 9: 3.0}, steps=270)]
    assert "270 steps" in worth().objection(known, 10.0)
    assert worth(least_steps=270).objection(known, 10.0) == ""
    assert worth().objection([], 10.0) == ""


def test_a_trial_that_makes_all_its_steps_tells_however_few_they_are() -> None:
    reports = (Report(1.0, 3.0, seconds=9.0, info={"step": 80, "steps": 80}),)
    assert worth().objection([Trial(0, {"x": 0}, "finished", reports, seconds=9.0)], 10.0) == ""


def test_others_may_cost_the_leader_what_seeds_do_and_no_more() -> None:
    falling = {1 / 9: 3.0, 1 / 3: 3.0 - 0.2 * math.log(3), 1.0: 3.0 - 0.2 * math.log(9)}
    leader, other = trial(0, falling), trial(1, {1 / 9: 3.2})
    # other: 10 s. In 1000 s the leader gains 0.2 for each unit of log time: 200 s cost 0.2 * ln(1000 / 800) = 0.0446.
    allowed = 0.0446 / leader.reports[-1].score
    assert worth(1.01 * allowed).objection([leader, other], 190.0) == ""
    assert "200 s" in worth(0.99 * allowed).objection([leader, other], 190.0)
    assert worth(0.99 * allowed, workers=2).objection([leader, other], 190.0) == ""


def test_a_leader_that_has_stopped_learning_gives_its_time_freely() -> None:
    flat = trial(0, {1 / 9: 3.0, 1 / 3: 2.0, 1.0: 2.0})
    assert worth(0.001).objection([flat, trial(1, {1 / 9: 2.5})], 800.0) == ""


def test_with_one_score_nothing_is_known_of_the_cost() -> None:
    assert worth(0.0).objection([trial(0, {1 / 9: 3.0}), trial(1, {1 / 9: 3.1})], 500.0) == ""
