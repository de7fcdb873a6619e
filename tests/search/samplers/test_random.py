from __future__ import annotations

import random

from autogpt.search.samplers.random import RandomSampler
from autogpt.search.space import Space
from autogpt.search.trials import Direction, Report, Trial
from autogpt.testing import SamplerContract, quadratic_space


class TestRandomSampler(SamplerContract):
    def make(self, space: Space, seed: int = 0, direction: Direction = "max") -> RandomSampler:
        return RandomSampler(space, seed, direction=direction)


def test_draws_are_uniform() -> None:
    space = quadratic_space()
    history = [Trial(0, space.default, "finished", (Report(1.0, 0.0),))]
    drawn = [RandomSampler(space, seed, direction="max").ask(history)["x"] for seed in range(400)]
    assert abs(sum(drawn) / 400) < 0.5  # standard error 0.14
    assert all(sum(low <= x < low + 2.5 for x in drawn) > 60 for low in (-5, -2.5, 0, 2.5))  # expected 100 in each


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    space = quadratic_space()
    history = [Trial(0, space.default, "finished", (Report(1.0, 0.0),))]
    random.seed(1)
    before = random.getstate()
    first = RandomSampler(space, direction="max").ask(history)
    assert random.getstate() == before
    random.seed(2)
    assert RandomSampler(space, direction="max").ask(history) == first
