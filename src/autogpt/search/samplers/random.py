"""Uniform random search: the default first, then independent draws. Hard to beat with few trials, and the yardstick."""

from __future__ import annotations

from collections.abc import Sequence

from autogpt.search.samplers import rng_for
from autogpt.search.space import Config, Space
from autogpt.search.trials import Direction, Trial

__all__ = ["RandomSampler"]


class RandomSampler:
    """Bergstra & Bengio 2012, "Random Search for Hyper-Parameter Optimization". `direction` plays no part."""

    def __init__(self, space: Space, seed: int = 0, *, direction: Direction) -> None:
        self.space, self.seed, self.direction = space, seed, direction

    def ask(self, history: Sequence[Trial]) -> Config:
        """The space's default for an empty history, else a draw that depends on the seed and the number of trials."""
        return self.space.default if not history else self.space.sample(rng_for(self.seed, len(history)))
