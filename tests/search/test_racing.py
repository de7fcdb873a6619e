from __future__ import annotations

import pytest

from autogpt.errors import ConfigError
from autogpt.search.racing import Budget, Racing
from autogpt.search.trials import Report, Trial

RUNGS = (1 / 9, 1 / 3, 1.0)


def ended(number: int, *scores: float, state: str = "stopped") -> Trial:
    return Trial(number, {}, state, tuple(Report(rung, score) for rung, score in zip(RUNGS, scores, strict=False)))


def action(racing: Racing, score: float, others: list[float], direction: str = "max") -> str:
    history = [ended(number, other) for number, other in enumerate(others)]
    return racing.verdict([Report(1 / 9, score)], history, direction=direction).action


def test_the_first_is_judged_against_nobody() -> None:
    assert action(Racing(RUNGS), 0.0, []) == "go"
    assert action(Racing(RUNGS), 0.0, [1.0]) == "stop"
    assert action(Racing(RUNGS, min_others=2), 0.0, [1.0]) == "go"
    assert action(Racing(RUNGS, min_others=2), 0.0, [1.0, 1.0]) == "stop"


def test_a_trial_waits_at_the_first_rung_alone_for_others_to_compare_with() -> None:
    racing = Racing(RUNGS, wait=2)
    assert [action(racing, 3.0, others) for others in ([], [1.0], [1.0, 2.0])] == ["stop", "stop", "go"]
    assert action(racing, 1.0, [3.0, 2.0]) == "stop"
    verdict = racing.verdict([Report(1 / 9, 3.0)], [ended(0, 1.0)], direction="max")
    assert verdict.reason == "the best of the first 3 trials at 11% goes on first"
    further = [Report(1 / 9, 3.0), Report(1 / 3, 3.0)]
    assert racing.verdict(further, [], direction="max").action == "go"


def test_values_decide_and_not_scores() -> None:
    history = [Trial(0, {}, "stopped", (Report(1 / 9, 0.5, value=0.2),))]
    assert Racing(RUNGS).verdict([Report(1 / 9, 0.4, value=0.3)], history, direction="max").action == "go"
    assert Racing(RUNGS).verdict([Report(1 / 9, 0.6, value=0.1)], history, direction="max").action == "stop"


def test_the_best_third_rounded_up_goes_on() -> None:
    racing = Racing(RUNGS, keep=1 / 3)
    assert [racing.places(n) for n in (1, 2, 3, 4, 6, 7, 9, 10)] == [1, 1, 1, 2, 2, 3, 3, 4]
    scores = [0.1, 0.2, 0.3, 0.4, 0.5]  # with the running one six: two go on
    assert action(racing, 0.45, scores) == "go"
    assert action(racing, 0.35, scores) == "stop"
    assert action(racing, 0.15, scores, direction="min") == "go"
    assert action(racing, 0.25, scores, direction="min") == "stop"


def test_a_tie_with_the_last_place_goes_on() -> None:
    assert action(Racing(RUNGS), 1.0, [1.0, 1.0, 1.0]) == "go"


def test_keep_one_stops_nobody() -> None:
    assert action(Racing(RUNGS, keep=1.0), -9.0, [1.0] * 20) == "go"


def test_equals_a_naive_ranking() -> None:
    import random

    rng = random.Random(0)
    for _ in range(300):
        keep = rng.choice([0.2, 1 / 3, 0.5, 0.9])
        others = [rng.random() for _ in range(rng.randrange(2, 15))]
        mine = rng.random()
        ranking = sorted([*others, mine], reverse=True)
        passed = [score for place, score in enumerate(ranking) if place < keep * len(ranking) - 1e-9]
        assert (action(Racing(RUNGS, keep=keep), mine, others) == "go") == (mine in passed)


def test_scores_are_compared_at_the_same_rung_only() -> None:
    history = [ended(0, 0.1, 0.9), ended(1, 0.2, 0.8), ended(2, 0.3)]
    racing = Racing(RUNGS)
    assert racing.verdict([Report(1 / 9, 0.4)], history, direction="max").action == "go"
    assert racing.verdict([Report(1 / 9, 0.4), Report(1 / 3, 0.5)], history, direction="max").action == "stop"


def test_failed_trials_do_not_count_and_early_finishers_do() -> None:
    failed = [ended(number, 1.0, state="failed") for number in range(5)]
    assert Racing(RUNGS).verdict([Report(1 / 9, 0.0)], failed, direction="max").action == "go"
    early = [ended(number, 1.0, state="finished") for number in range(2)]  # ended before 1/3 by their own decision
    reports = [Report(1 / 9, 2.0), Report(1 / 3, 0.5)]
    assert Racing(RUNGS).verdict(reports, early, direction="max").action == "stop"


def test_between_rungs_and_at_the_end_nobody_is_judged() -> None:
    others = [ended(number, 1.0, 1.0, 1.0, state="finished") for number in range(4)]
    racing = Racing(RUNGS)
    for shares in ([0.05], [1 / 9, 0.2], [1 / 9, 1 / 3, 0.9], [1 / 9, 1 / 3, 1.0]):
        reports = [Report(share, 0.0) for share in shares]
        assert racing.verdict(reports, others, direction="max").action == "go"
    assert racing.verdict([Report(0.2, 0.0)], others, direction="max").action == "stop"  # passed 1/9 unseen


def test_a_slow_starter_with_a_chance_to_lead_is_spared() -> None:
    def curve(number: int, *losses: float) -> Trial:
        reports = tuple(Report(rung, -loss, info={"loss": loss}) for rung, loss in zip(RUNGS, losses, strict=False))
        return Trial(number, {}, "finished" if len(losses) == 3 else "stopped", reports)

    history = [curve(0, 2.0, 1.9, 1.85), curve(1, 2.1, 2.0, 1.95), curve(2, 2.2, 2.1)]
    steep = curve(3, 3.0, 2.2).reports  # behind at a third, and falling five times as fast
    flat = curve(3, 2.3, 2.2).reports
    spared = Racing(RUNGS, spare=0.2).verdict(steep, history, direction="max")
    assert spared.action == "go"
    assert "but by its loss it has a chance of" in spared.reason
    assert Racing(RUNGS, spare=0.2).verdict(flat, history, direction="max").action == "stop"
    assert Racing(RUNGS).verdict(steep, history, direction="max").action == "stop"


def test_the_reason_says_where_the_trial_stood() -> None:
    history = [ended(number, score) for number, score in enumerate((0.5, 0.6, 0.7))]
    verdict = Racing(RUNGS).verdict([Report(1 / 9, 0.4)], history, direction="max")
    assert verdict.reason == "place 4 of 4 at 11% of the trial with 0.4; only the best 2 go on"


@pytest.mark.parametrize("rungs", [(), (0.0, 1.0), (0.5, 0.2), (0.5, 0.5), (0.5, 1.5)])
def test_wrong_rungs(rungs: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"search\.rungs"):
        Racing(rungs)


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["keep", "spare"])
def test_wrong_shares(name: str, share: float) -> None:
    with pytest.raises(ConfigError, match=rf"search\.{name}"):
        Racing(RUNGS, **{name: share})


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_budget_counts_from_its_creation() -> None:
    clock = Clock()
    budget = Budget(60.0, clock)
    clock.now += 15
    assert (budget.elapsed(), budget.remaining(), budget.fraction()) == (15.0, 45.0, 0.25)
    clock.now += 100
    assert (budget.remaining(), budget.fraction()) == (0.0, 1.0)


def test_a_resumed_budget_goes_on_where_it_was() -> None:
    clock = Clock()
    budget = Budget(60.0, clock, spent=40.0)
    clock.now += 5
    assert (budget.elapsed(), budget.remaining()) == (45.0, 15.0)


def test_a_part_ends_when_its_share_of_the_whole_is_used() -> None:
    clock = Clock()
    whole = Budget(100.0, clock)
    clock.now += 20
    search = whole.part(0.5)
    assert search.remaining() == 30.0
    clock.now += 30
    assert (search.remaining(), whole.remaining()) == (0.0, 50.0)


def test_a_clock_that_goes_back_gives_no_time_away() -> None:
    clock = Clock()
    budget = Budget(60.0, clock, spent=10.0)
    clock.now -= 500
    assert budget.elapsed() == 10.0
