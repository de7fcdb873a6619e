"""The order of the default sampler; what every sampler keeps is in `test_contract`."""

from __future__ import annotations

from autogpt.search.samplers.auto import AutoSampler
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.trials import Report, Trial
from autogpt.testing import SamplerContract, conditional_space

FIRST = ({"lr": 2e-3}, {"lr": 4e-3, "width": 64}, {"lr": 1e-3}, {"lr": 5e-3}, {"lr": 6e-3}, {"lr": 7e-3})


class TestAuto(SamplerContract):
    def make(self, space, seed=0, direction="max"):  # type: ignore[no-untyped-def]
        return AutoSampler(space, seed, direction=direction, first=FIRST)


def history(configs: list[dict[str, object]]) -> list[Trial]:
    return [Trial(number, config, "finished", (Report(1.0, number),)) for number, config in enumerate(configs)]


def test_the_default_then_the_portfolio_then_bayes() -> None:
    space = conditional_space()
    sampler = AutoSampler(space, 3, direction="max", first=FIRST, tried=3)
    asked: list[dict[str, object]] = []
    for _ in range(6):
        asked.append(sampler.ask(history(asked)))
    assert [config["lr"] for config in asked[:4]] == [1e-3, 2e-3, 4e-3, 5e-3]  # the third of them is the default
    bayes = BayesSampler(space, 3, direction="max")
    assert asked[4:] == [bayes.ask(history(asked[:4])), bayes.ask(history(asked[:5]))]


def test_what_was_tried_is_not_proposed_again() -> None:
    space = conditional_space()
    sampler = AutoSampler(space, direction="max", first=FIRST, tried=3)
    tried = history([{**space.default, "lr": 2e-3}, {**space.default, "lr": 5e-3}])
    assert sampler.ask(tried) == {**space.default, "lr": 4e-3, "width": 64}
