"""The default sampler: its share of mutations, and what happens when all neighbours of the best trial were tried."""

from __future__ import annotations

from autogpt.search.samplers.auto import AutoSampler
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.space import Choice, Float, Parameter, Space
from autogpt.search.trials import Report, Trial

SPACE = Space(tuple(Parameter(name, Float(0.0, 1.0), 0.5) for name in "abcd"))


def _history(count: int) -> list[Trial]:
    """Trial 3 is the best by far."""
    configs = [SPACE.default, *({**SPACE.default, "a": i / 64} for i in range(1, count))]
    return [Trial(i, config, "finished", (Report(1.0, float(i == 3)),)) for i, config in enumerate(configs)]


def test_shares_of_the_mixture() -> None:
    history = _history(8)
    seeds, changed = 100, []
    for seed in range(seeds):
        sampler = AutoSampler(SPACE, seed, direction="max", local=1.0, uniform=0.0)
        proposal = sampler.ask(history)
        changed.append(sum(proposal[name] != history[3].config[name] for name in "abcd"))
    assert min(changed) >= 1
    assert sum(changed) / seeds < 2.6  # one for sure, each other one with probability 1/4: 1.75 on average
    local = AutoSampler(SPACE, 0, direction="max", local=0.0, uniform=0.0)
    assert local.ask(history) == BayesSampler(SPACE, 0, direction="max").ask(history)


def test_the_default_and_random_draws_come_first() -> None:
    for count in range(5):
        theirs = BayesSampler(SPACE, 7, direction="min").ask(_history(count))
        assert AutoSampler(SPACE, 7, direction="min", local=1.0).ask(_history(count)) == theirs


def test_without_an_untried_neighbour_it_draws() -> None:
    space = Space((Parameter("x", Choice((1, 2)), 1),))
    history = [Trial(i, {"x": 1 + i % 2}, "finished", (Report(1.0, 0.0),)) for i in range(6)]
    assert AutoSampler(space, direction="max", local=1.0).ask(history)["x"] in (1, 2)
