"""The parts that `bench_search.py` takes away from the search, and the page of its results."""

from __future__ import annotations

from bench_search import METHODS, AutoThenRandom, Final
from search_table import results

from autogpt.search.racing import Racing
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.space import Float, Parameter, Space
from autogpt.search.trials import Report, Trial

SPACE = Space([Parameter("lr", Float(1e-4, 1e-2, log=True), 1e-3)])


def _trial(number: int, score: float) -> Trial:
    return Trial(number, {"lr": 1e-3}, "stopped", (Report(1 / 9, score, seconds=1.0 + number),))


def test_a_final_rule_never_takes_back_a_stop() -> None:
    rule, final = Racing(), Final(Racing())
    assert final.rungs == rule.rungs
    judged = _trial(3, 2.0)
    few = [_trial(0, 1.0)]
    many = [*few, _trial(1, 3.0), _trial(2, 4.0), _trial(4, 5.0)]  # second of five is among the best third, rounded up
    asked = [one.verdict(judged.reports, few, direction="min").action for one in (rule, final)]
    assert asked == ["stop", "stop"]
    asked = [one.verdict(judged.reports, many, direction="min").action for one in (rule, final)]
    assert asked == ["go", "stop"]
    other = _trial(5, 2.0)
    assert final.verdict(other.reports, many, direction="min").action == "go"


def test_without_learning_the_portfolio_comes_first_and_then_random_draws() -> None:
    sampler = AutoThenRandom(SPACE, 7, direction="min", first=[{"lr": 2e-3}, {"lr": 3e-3}])
    drawn = RandomSampler(SPACE, 7, direction="min")
    history: list[Trial] = []
    for number in range(5):
        config = sampler.ask(history)
        expected = {1: {"lr": 2e-3}, 2: {"lr": 3e-3}}.get(number, drawn.ask(history))
        assert config == expected
        history.append(Trial(number, config, "finished", (Report(1.0, float(number)),)))


def test_every_part_of_auto_is_left_out_once() -> None:
    parts = {name.removeprefix("auto - ") for name in METHODS if name.startswith("auto - ")}
    assert parts == {"portfolio", "halving", "waiting", "sparing", "promotion", "learning"}


def test_the_page() -> None:
    regrets = {"random": (0.4, 0.2), "bayes": (0.4, 0.1), "auto": (0.1, 0.0), "rl": (0.4, 0.3)}
    rows = [
        {"corpus": corpus, "method": method, "seed": seed, "budget": 4.0, "trials": 4, "incumbent": steps}
        for corpus in ("one", "two")
        for seed in (0, 1)
        for method, (early, late) in regrets.items()
        for steps in [[[0.25, early], [0.5, late]]]
    ]
    lines = results([*rows, {**rows[0], "method": "genetic"}])
    assert "\nNot complete, and left out: genetic." in lines
    assert "| auto | 0.100 | 0.000 | 0.000 | 0.000 | 1.00 | 4 | 2 |" in lines
    assert "| rl | 0.400 | 0.300 | 0.300 | 0.300 | 4.00 | 4 | 2 |" in lines
    assert any("auto is ahead of: rl; behind: none" in line for line in lines)
    assert "| auto | 0.00 | 0.00 |" in lines  # before its first score a search has what its first trial will have
    assert "| rl | never | never |" in lines
