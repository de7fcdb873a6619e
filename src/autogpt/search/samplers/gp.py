"""Bayesian optimization with a Gaussian process: Optuna's `GPSampler`, over ranks.

Snoek et al. 2012, "Practical Bayesian Optimization of Machine Learning Algorithms"; log expected improvement of Ament
et al. 2023. A process over all parameters at once is at home in spaces without conditions; parameters that only some
configurations have are drawn at random. A proposal takes a quarter of a second, and imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from autogpt.search.samplers.bayes import BayesSampler
from autogpt.search.samplers.genetic import standings
from autogpt.search.trials import Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["GPSampler"]


class GPSampler(BayesSampler):
    """Arguments as of `BayesSampler`.

    Scores of different rungs are no values of one function. So trials are put in their order (`genetic.standings`), and
    the process models the normal score of each one's rank; failed trials share the last one.
    """

    def _model(self, seed: int) -> optuna.samplers.BaseSampler:
        import optuna

        return optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=0, deterministic_objective=False, warn_independent_sampling=False
        )

    def _taught(self, known: Sequence[Trial]) -> list[optuna.trial.FrozenTrial]:
        order = standings(known, self.direction)
        sign = 1.0 if self.direction == "min" else -1.0
        normal = NormalDist()
        taught = []
        for trial, own in zip(known, order, strict=True):
            before = sum(other < own for other in order)
            equal = sum(other == own for other in order)
            share = (before + equal / 2) / len(order)  # of the trials that are better, ties halved; never 0 or 1
            taught.append(self._frozen(trial, value=sign * normal.inv_cdf(share)))
        return taught
