"""Bayesian search: a multivariate tree-structured Parzen estimator (TPE), Optuna's, behind our own small protocol.

Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization"; Falkner et al. 2018 (multivariate). Each proposal
rebuilds a study in memory from the history, so nothing but the history has to be kept; that costs milliseconds for the
tens of trials we run. Parameters that exist together are modelled together (Optuna's `group=True`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autogpt.search.samplers import rng_for
from autogpt.search.samplers.optuna_study import direction_of, frozen, intermediate_values, proposed, quiet
from autogpt.search.space import Config, Space
from autogpt.search.trials import Direction, Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["BayesSampler"]


class BayesSampler:
    """TPE: the default, then `startup` random draws, then proposals where good trials are dense and bad ones are not.

    Args:
        space: what may be proposed.
        seed: of the draws and the proposals.
        direction: whether scores shall be large or small.
        startup: random draws after the default, the same ones that `RandomSampler` makes.

    A stopped trial ranks behind all finished ones, then by how far it came, then by its score there, so scores of
    different rungs are never compared. A failed trial ranks last. A trial outside the space, or whose set of parameters
    differs (the space was narrowed), is left out of the model.
    """

    def __init__(self, space: Space, seed: int = 0, *, direction: Direction, startup: int = 4) -> None:
        self.space, self.seed, self.direction, self.startup = space, seed, direction, startup

    def ask(self, history: Sequence[Trial]) -> Config:
        """The next configuration. Imports Optuna when the first modelled proposal is made."""
        if not history:
            return self.space.default
        known = [trial for trial in sorted(history, key=_number) if self.space.contains(trial.config)]
        if len(history) <= self.startup or not any(trial.value is not None for trial in known):
            return self.space.sample(rng_for(self.seed, len(history)))
        with quiet():
            model = self._model(rng_for(self.seed, len(history)).getrandbits(32))
        return proposed(self.space, model, self._taught(known), [direction_of(self.direction)])

    def _model(self, seed: int) -> optuna.samplers.BaseSampler:
        import optuna

        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True, group=True)

    def _taught(self, known: Sequence[Trial]) -> list[optuna.trial.FrozenTrial]:
        """The trials in Optuna's terms."""
        return [
            self._frozen(
                trial,
                value=trial.value if trial.state == "finished" else None,
                # TPE puts a pruned trial without any intermediate value behind all others: what a failed one deserves.
                on_the_way={} if trial.state == "failed" else intermediate_values(trial, ranked=True),
            )
            for trial in known
        ]

    def _frozen(
        self, trial: Trial, *, value: float | None, on_the_way: dict[int, float] | None = None
    ) -> optuna.trial.FrozenTrial:
        """The trial as complete with that value, or as pruned when there is none."""
        values = None if value is None else [value]
        return frozen(self.space, self.space.validate(trial.config), values=values, on_the_way=on_the_way)


def _number(trial: Trial) -> int:
    return trial.number
