from __future__ import annotations

import math
import random
import statistics
from collections import Counter

import optuna
import pytest

from autogpt.errors import ConfigError
from autogpt.search.racing import Racing
from autogpt.search.stopping import Hyperband, Median, Stopper, reached, rungs_for, stopper
from autogpt.search.trials import Report, Trial

RUNGS = (1 / 9, 1 / 3, 1.0)
RULES: list[Stopper] = [
    Racing(RUNGS, min_others=2),
    Median(RUNGS, min_others=2),
    Median(RUNGS, min_others=2, against="best"),
    Hyperband(RUNGS, min_others=2),
]


def ended(number: int, *scores: float, state: str = "stopped") -> Trial:
    return Trial(number, {}, state, tuple(Report(rung, score) for rung, score in zip(RUNGS, scores, strict=False)))


def random_history(rng: random.Random, *, trials: int = 12) -> list[Trial]:
    return [
        ended(number, *(rng.random() for _ in range(rng.randrange(1, 4))), state=rng.choice(["stopped", "failed"]))
        for number in range(trials)
    ]


def reports_up_to(rng: random.Random, place: int) -> list[Report]:
    return [Report(rung, rng.random()) for rung in RUNGS[: place + 1]]


# ------------------------------------------------------------------ what all rules have in common


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_between_rungs_and_at_the_end_nobody_is_judged(rule: Stopper) -> None:
    others = [ended(number, 1.0, 1.0, 1.0, state="finished") for number in range(20)]
    for shares in ([], [0.05], [1 / 9, 0.2], [1 / 9, 1 / 3, 0.9], [1 / 9, 1 / 3, 1.0]):
        assert rule.verdict([Report(share, 0.0) for share in shares], others, direction="max").action == "go"


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_hopeless_are_stopped_and_the_best_never(rule: Stopper) -> None:
    history = [ended(number, 0.5 + number / 100, 0.6) for number in range(17)]
    for direction, worst, best in (("max", 0.0, 1.0), ("min", 1.0, 0.0)):
        assert rule.verdict([Report(1 / 9, worst)], history, direction=direction).action == "stop"
        assert rule.verdict([Report(1 / 9, best)], history, direction=direction).action == "go"


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_failed_trials_do_not_count_and_early_finishers_do(rule: Stopper) -> None:
    reports = [Report(1 / 9, 0.0), Report(1 / 3, 0.0)]
    for state, action in (("failed", "go"), ("stopped", "go"), ("finished", "stop")):
        history = [ended(number, 1.0, state=state) for number in range(17)]  # none of them came to 1/3
        assert rule.verdict(reports, history, direction="max").action == action


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_order_of_the_history_does_not_matter(rule: Stopper) -> None:
    rng = random.Random(0)
    for _ in range(50):
        history, reports = random_history(rng), reports_up_to(rng, rng.randrange(2))
        verdict = rule.verdict(reports, history, direction="max")
        assert rule.verdict(reports, rng.sample(history, len(history)), direction="max") == verdict


def test_a_rung_is_reached_once() -> None:
    shares = [0.05, 1 / 9 - 1e-9, 0.2, 0.5, 0.6, 1.0]
    found = [reached(RUNGS, [Report(share, 0.0) for share in shares[: n + 1]]) for n in range(len(shares))]
    assert found == [None, 1 / 9, None, 1 / 3, None, None]
    assert reached(RUNGS, [Report(0.5, 0.0)]) == 1 / 3  # two at once: the higher one
    assert reached(RUNGS, []) is None


# ------------------------------------------------------------------ the median rule


@pytest.mark.parametrize("against", ["average", "best"])
@pytest.mark.parametrize("direction", ["max", "min"])
def test_equals_a_naive_reading_of_the_paper(against: str, direction: str) -> None:
    """Stop where the best objective by the step is strictly worse than the median of the others' running averages."""
    rng = random.Random(1)
    sign = 1.0 if direction == "max" else -1.0
    actions = Counter()
    for _ in range(300):
        history, place = random_history(rng, trials=rng.randrange(10)), rng.randrange(2)
        reports = reports_up_to(rng, place)
        mine = max(sign * report.score for report in reports)
        others = []
        for trial in history:
            if trial.state != "failed" and len(trial.reports) > place:
                scores = [sign * report.score for report in trial.reports[: place + 1]]
                others.append(sum(scores) / len(scores) if against == "average" else max(scores))
        stops = len(others) >= 3 and mine < statistics.median(others)
        verdict = Median(RUNGS, against=against).verdict(reports, history, direction=direction)
        assert verdict.action == ("stop" if stops else "go")
        actions[verdict.action] += 1
    assert min(actions.values()) > 30


@pytest.mark.parametrize("direction", ["max", "min"])
def test_equals_optunas_pruner_on_curves_that_only_improve(direction: str) -> None:
    """Optuna takes the others' value at the step itself, which is their best so far when curves only improve."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rng = random.Random(2)
    actions = Counter()
    for _ in range(60):
        rows = [sorted((rng.random() for _ in RUNGS), reverse=direction == "min") for _ in range(rng.randrange(9))]
        history = [ended(number, *row, state="finished") for number, row in enumerate(rows)]
        reports = reports_up_to(rng, rng.randrange(2))
        study = optuna.create_study(direction=f"{direction}imize")
        for row in rows:
            study.add_trial(
                optuna.trial.create_trial(value=row[-1], intermediate_values=dict(enumerate(row)), params={})
            )
        pruner = optuna.pruners.MedianPruner(n_startup_trials=0, n_min_trials=3)
        mine = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            intermediate_values={step: report.score for step, report in enumerate(reports)},
        )
        verdict = Median(RUNGS, min_others=3, against="best").verdict(reports, history, direction=direction)
        assert (verdict.action == "stop") == pruner.prune(study, mine)
        actions[verdict.action] += 1
    assert min(actions.values()) > 5


def test_a_trial_is_represented_by_its_best_score_so_far() -> None:
    history = [ended(number, 0.5, 0.5) for number in range(3)]
    assert Median(RUNGS).verdict([Report(1 / 9, 0.6), Report(1 / 3, 0.1)], history, direction="max").action == "go"
    assert Median(RUNGS).verdict([Report(1 / 9, 0.4), Report(1 / 3, 0.1)], history, direction="max").action == "stop"


def test_a_tie_with_the_median_goes_on() -> None:
    history = [ended(number, score) for number, score in enumerate((0.1, 0.5, 0.9))]
    assert Median(RUNGS).verdict([Report(1 / 9, 0.5)], history, direction="max").action == "go"


def test_reports_between_rungs_enter_the_running_average() -> None:
    early = Trial(0, {}, "stopped", (Report(0.05, 0.0), Report(0.2, 0.6), Report(0.3, 1.0)))
    rule = Median(RUNGS, min_others=1)
    assert rule.verdict([Report(1 / 9, 0.31)], [early], direction="max").action == "go"  # mean of 0.0 and 0.6
    assert rule.verdict([Report(1 / 9, 0.29)], [early], direction="max").action == "stop"


def test_trials_are_ranked_by_their_values() -> None:
    history = [Trial(number, {}, "stopped", (Report(1 / 9, 0.0, value=0.3),)) for number in range(3)]
    assert Median(RUNGS).verdict([Report(1 / 9, 0.0, value=0.2)], history, direction="max").action == "stop"
    assert Median(RUNGS).verdict([Report(1 / 9, 0.0, value=0.4)], history, direction="max").action == "go"


def test_the_reason_names_both_sides() -> None:
    history = [ended(number, score) for number, score in enumerate((0.5, 0.6, 0.7))]
    verdict = Median(RUNGS).verdict([Report(1 / 9, 0.4)], history, direction="max")
    assert verdict.reason == "worse: 0.4 at 11% of the trial against a median of 0.6 of 3 others"


# ------------------------------------------------------------------ Hyperband


def test_brackets_and_their_sizes_are_those_of_the_paper() -> None:
    """Table 1 of Li et al. 2018: at most 81 units a trial, eta 3."""
    rule = Hyperband((1 / 81, 1 / 27, 1 / 9, 1 / 3, 1.0))
    assert rule.sizes == (81, 34, 15, 8, 5)
    assert [1.0 if not rungs else rungs[0] for rungs in rule.brackets] == [1 / 81, 1 / 27, 1 / 9, 1 / 3, 1.0]
    assert Hyperband(RUNGS).sizes == (9, 5, 3)
    assert Hyperband(RUNGS[:2]).sizes == (9, 5, 3)  # the end of the trial need not be named
    assert Hyperband((0.25, 0.5, 1.0), keep=0.5).sizes == (4, 3, 3)


@pytest.mark.parametrize("rule", [Hyperband(RUNGS), Hyperband((1 / 81, 1 / 27, 1 / 9, 1 / 3, 1.0))], ids=repr)
def test_brackets_get_trials_in_proportion_at_any_moment(rule: Hyperband) -> None:
    sizes, each = rule.sizes, sum(rule.sizes)
    brackets = [rule.bracket_of(number) for number in range(2 * each)]
    assert Counter(brackets[:each]) == Counter(brackets[each:]) == dict(enumerate(sizes))
    for count in range(1, each):
        for bracket, size in enumerate(sizes):
            assert abs(brackets[:count].count(bracket) - size * count / each) < 1.5


@pytest.mark.parametrize("direction", ["max", "min"])
def test_equals_halving_by_hand_within_each_bracket(direction: str) -> None:
    rng = random.Random(3)
    actions = Counter()
    for _ in range(300):
        rule = Hyperband(RUNGS, keep=rng.choice([1 / 3, 0.5]), min_others=2)
        history, place = random_history(rng, trials=rng.randrange(25)), rng.randrange(2)
        reports, number = reports_up_to(rng, place), len(history)
        bracket = rule.bracket_of(number)
        rivals = [
            trial.reports[place].score
            for trial in history
            if rule.bracket_of(trial.number) == bracket and trial.state != "failed" and len(trial.reports) > place
        ]
        ranking = sorted([*rivals, reports[-1].score], reverse=direction == "max")
        passes = ranking.index(reports[-1].score) < math.ceil(len(ranking) * rule.keep - 1e-9)
        stops = place >= bracket and len(rivals) >= 2 and not passes
        verdict = rule.verdict(reports, history, direction=direction)
        assert verdict.action == ("stop" if stops else "go")
        actions[verdict.action] += 1
    assert min(actions.values()) > 30


def test_the_last_bracket_runs_everything_to_the_end() -> None:
    rule = Hyperband(RUNGS)
    number = next(number for number in range(17) if rule.bracket_of(number) == 2)
    history = [ended(other, 1.0, 1.0) for other in range(40) if other != number]
    for place in (0, 1):
        verdict = rule.verdict(reports_up_to(random.Random(0), place), history, direction="max", number=number)
        assert verdict.action == "go"
        assert verdict.reason == "bracket 3 of 3 stops nobody"


def test_the_number_of_a_trial_that_is_gone_on_with_is_the_one_that_its_history_lacks() -> None:
    rule, rng = Hyperband(RUNGS, min_others=2), random.Random(4)
    history = random_history(rng, trials=20)
    for number in range(20):
        others = [trial for trial in history if trial.number != number]
        reports = reports_up_to(rng, rng.randrange(2))
        told = rule.verdict(reports, others, direction="max", number=number)
        assert rule.verdict(reports, others, direction="max") == told
        assert rule.verdict(reports, history, direction="max", number=number) == told  # never its own rival


# ------------------------------------------------------------------ wrong settings


@pytest.mark.parametrize("rungs", [(), (0.0, 1.0), (0.5, 0.2), (0.5, 0.5), (0.5, 1.5)])
@pytest.mark.parametrize("rule", [Median, Hyperband])
def test_wrong_rungs(rule: type, rungs: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"search\.rungs"):
        rule(rungs)


def test_wrong_numbers() -> None:
    with pytest.raises(ConfigError, match=r"search\.min_others"):
        Median(RUNGS, min_others=0)
    for keep in (0.0, 1.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=r"search\.keep"):
            Hyperband(RUNGS, keep=keep)


def test_rules_by_name() -> None:
    assert stopper("halving", RUNGS, 0.5, 0.2) == Racing(RUNGS, 0.5, spare=0.2, wait=2)
    assert stopper("hyperband", RUNGS, 0.5, 0.2) == Hyperband(RUNGS, 0.5)
    assert stopper("median", RUNGS, 0.5, 0.2) == Median(RUNGS)
    nobody = stopper("none", RUNGS, 0.5, 0.2)
    assert all(
        nobody.verdict([Report(rung, 0.0)], [ended(0, 1.0, 1.0, 1.0)], direction="max").action == "go" for rung in RUNGS
    )
    with pytest.raises(ConfigError, match="did you mean 'median'"):
        stopper("medium", RUNGS, 0.5, 0.2)


def test_rungs_begin_later_where_a_trial_is_short() -> None:
    assert rungs_for(60.0) == (1 / 9, 1 / 3, 1.0)
    assert rungs_for(27.0) == (1 / 9, 1 / 3, 1.0)
    assert rungs_for(26.0) == (0.25, 0.5, 1.0)
