"""The default sampler: what did well elsewhere first, then Bayesian optimization from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autogpt.search.portfolio import PORTFOLIO, portfolio_of
from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.space import Config, Space
from autogpt.search.trials import Direction, Trial, same_config

__all__ = ["AutoSampler"]


class AutoSampler:
    """The default, then a portfolio, then `BayesSampler`, for which the portfolio stands in for random draws.

    Args:
        first: configurations to try after the default, made to fit the space by `portfolio_of`.
        tried: most of them. More than a few would leave no time for what this task itself says.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        direction: Direction,
        first: Sequence[Mapping[str, Any]] = PORTFOLIO,
        tried: int = 4,
    ) -> None:
        self.space, self.seed, self.direction = space, seed, direction
        self._first = portfolio_of(space, tuple(first))[:tried]
        self._then = BayesSampler(space, seed, direction=direction)

    def ask(self, history: Sequence[Trial]) -> Config:
        if history and len(history) <= len(self._first):
            untried = [one for one in self._first if not any(same_config(one, trial.config) for trial in history)]
            if untried:
                return dict(untried[0])
        return self._then.ask(history)
