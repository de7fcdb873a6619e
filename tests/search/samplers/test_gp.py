"""The Gaussian process; what every sampler keeps is in `test_contract`."""

from __future__ import annotations

import statistics

from autogpt.search.samplers.gp import GPSampler
from autogpt.search.samplers.random import RandomSampler
from autogpt.search.trials import Report, Trial
from autogpt.testing import SamplerContract, quadratic_space


class TestGP(SamplerContract):
    def make(self, space, seed=0, direction="max"):  # type: ignore[no-untyped-def]
        return GPSampler(space, seed, direction=direction)


def best_of(kind: type[GPSampler] | type[RandomSampler], seed: int, trials: int = 14) -> float:
    """The least distance from the optimum at (1, 1, 1) in a search."""
    sampler, history = kind(quadratic_space(), seed, direction="min"), []
    for number in range(trials):
        config = sampler.ask(history)
        history.append(Trial(number, config, "finished", (Report(1.0, sum((v - 1.0) ** 2 for v in config.values())),)))
    return min(trial.score or 0.0 for trial in history)


def test_it_comes_nearer_to_the_optimum_of_a_quadratic_than_random_draws() -> None:
    found = [best_of(GPSampler, seed) for seed in range(3)]
    drawn = [best_of(RandomSampler, seed) for seed in range(3)]
    assert statistics.fmean(found) < 0.6 * statistics.fmean(drawn)
