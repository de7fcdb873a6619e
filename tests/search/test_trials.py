from __future__ import annotations

import json
import random

from autogpt.search.trials import Report, Study, Trial, ranking_value, same_config


def trial(number: int, *reports: tuple[float, float], state: str = "stopped") -> Trial:
    return Trial(number, {"lr": number}, state, tuple(Report(share, score) for share, score in reports))


def best(*trials: Trial, direction: str = "max") -> int | None:
    found = Study(trials, direction).best
    return None if found is None else found.number


def test_json_round_trip() -> None:
    original = Trial(
        3,
        {"lr": 1e-3, "tied": True, "base": None},
        "stopped",
        (Report(1 / 9, 0.5, 2.0, {"loss": 1.5}),),
        2.5,
        "place 4",
    )
    row = json.loads(json.dumps(original.to_dict()))
    assert Trial.from_dict(row) == original
    assert (row["score"], row["share"]) == (0.5, 1 / 9)
    failed = Trial(4, {}, "failed", error="out of memory")
    assert Trial.from_dict(json.loads(json.dumps(failed.to_dict()))) == failed


def test_values_order_by_rounded_score_and_then_by_loss() -> None:
    rng = random.Random(0)
    for direction, sign in (("max", 1), ("min", -1)):
        rows = [(rng.random(), rng.expovariate(0.5)) for _ in range(200)]
        step = 0.05
        ranked = sorted(rows, key=lambda row: ranking_value(*row, step, direction), reverse=direction == "max")
        assert ranked == sorted(rows, key=lambda row: (-sign * round(row[0] / step), row[1]))
        assert all(abs(ranking_value(*row, step, direction) - row[0]) <= 0.75 * step + 1e-12 for row in rows)
    assert ranking_value(0.123, 4.0, 0.0, "max") == 0.123
    assert ranking_value(0.123, float("inf"), 0.05, "max") == 0.123


def test_the_best_trial_has_the_best_value() -> None:
    lucky = Trial(0, {}, "finished", (Report(1.0, 0.62, value=0.58),))
    better = Trial(1, {}, "finished", (Report(1.0, 0.61, value=0.59),))
    assert best(lucky, better) == 1
    assert Trial.from_dict(json.loads(json.dumps(lucky.to_dict()))) == lucky
    assert (lucky.score, lucky.value, lucky.value_at(0.5)) == (0.62, 0.58, 0.58)


def test_scores_of_a_trial() -> None:
    stopped = trial(0, (1 / 9, 0.1), (1 / 3, 0.3))
    assert (stopped.score, stopped.share) == (0.3, 1 / 3)
    assert [stopped.score_at(rung) for rung in (0.05, 1 / 9, 0.2, 1 / 3, 1.0)] == [0.1, 0.1, 0.3, 0.3, None]
    early = trial(0, (1 / 9, 0.1), (0.5, 0.4), state="finished")
    assert (early.share, early.score_at(1.0)) == (1.0, 0.4)
    failed = trial(0, (1 / 9, 0.9), state="failed")
    assert (failed.score, failed.score_at(1 / 9)) == (None, None)


def test_best_of_nothing_is_none() -> None:
    assert best() is None
    assert best(trial(0, state="failed"), trial(1, (1.0, 5.0), state="failed"), trial(2)) is None


def test_best_is_the_best_score_among_those_that_came_furthest() -> None:
    first = trial(0, (1 / 9, 0.1), (1.0, 0.5), state="finished")
    second = trial(1, (1 / 9, 0.2), (1.0, 0.6), state="finished")
    assert best(first, second) == 1
    assert best(first, second, direction="min") == 0
    assert best(trial(0, (1 / 9, 0.9)), trial(1, (1 / 9, 0.2), (1 / 3, 0.3))) == 0  # ahead at 1/9, better already
    assert best(first, trial(1, (1 / 9, 0.4))) == 0  # ahead at 1/9, not yet better


def test_a_trial_that_was_behind_at_the_common_rung_never_wins() -> None:
    overfitted = trial(0, (1 / 3, 0.9), (1.0, 0.7), state="finished")
    assert best(overfitted, trial(1, (1 / 3, 0.8))) == 0
    assert best(overfitted, trial(1, (1 / 3, 0.95))) == 1


def test_equal_scores_keep_the_earlier_trial() -> None:
    assert best(trial(0, (1.0, 0.5), state="finished"), trial(1, (1.0, 0.5), state="finished")) == 0


def test_same_config_tells_true_from_one() -> None:
    assert same_config({"a": 2}, {"a": 2.0})
    assert not same_config({"a": True}, {"a": 1})
    assert not same_config({"a": 1}, {"a": 1, "b": 1})
