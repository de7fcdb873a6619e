"""The default: Bayesian search that also looks right beside the best trial, and now and then anywhere.

With a few dozen trials a density model spends many of them on learning what is bad. A mutation of the best one keeps
most of what made it good: White et al. 2021 ("BANANAS") found most of the gain of their search in such mutations.
Uniform draws keep a wrong model from being believed for ever. What each part gives: benchmarks/results/samplers.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from autogpt.search.samplers import rng_for
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.genetic import members, mutated, step_after
from autogpt.search.space import Config, Space
from autogpt.search.trials import Direction, Study, Trial, same_config

__all__ = ["AutoSampler"]

TRIES = 20
"""Mutations of the best trial before it is given up on: all of its neighbours may have been tried."""


class AutoSampler:
    """TPE with local mutation: first what `bayes` begins with, then a mixture of three kinds of proposals.

    Args:
        space, seed, direction: as of every sampler.
        local: share of the proposals that mutate the best trial so far, as `genetic` does.
        uniform: share of the proposals that are drawn from the whole space. The rest are `bayes`'s.
    """

    def __init__(
        self, space: Space, seed: int = 0, *, direction: Direction, local: float = 0.2, uniform: float = 0.1
    ) -> None:
        self.space, self.seed, self.direction, self.local, self.uniform = space, seed, direction, local, uniform
        self._bayes = BayesSampler(space, seed, direction=direction)

    def ask(self, history: Sequence[Trial]) -> Config:
        """The next configuration."""
        best = Study(tuple(members(self.space, history)), self.direction).best
        if len(history) <= self._bayes.startup or best is None:
            return self._bayes.ask(history)
        rng = rng_for(self.seed, len(history))
        kind = rng.random()
        if kind >= self.local + self.uniform:
            return self._bayes.ask(history)
        if kind < self.local:
            step = step_after(len(history) - self._bayes.startup - 1)
            for _ in range(TRIES):
                child = mutated(self.space, best.config, step, rng)
                if not any(same_config(child, trial.config) for trial in history):
                    return child
        return self.space.sample(rng)
