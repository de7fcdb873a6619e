"""Search for trade-offs: NSGA-II, Optuna's, over the score, the size of the model and the time of an answer.

Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II". Those survive that no other one beats
in every objective, and of equals those in sparse parts of the front; children are crossed and mutated. Survivors are
chosen anew after every trial, not every generation (Durillo et al. 2009, "On the Effect of the Steady-State Selection
Scheme in Multi-Objective Genetic Algorithms"): in some tens of trials there are few generations. Numbers are crossed by
blending (BLX-α, Eshelman & Schaffer 1993): a small population that only swaps them holds too few values. As in `bayes`,
each proposal rebuilds a study in memory from the history: nothing else is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autogpt.search.samplers import rng_for
from autogpt.search.samplers.genetic import members
from autogpt.search.samplers.optuna_study import frozen, proposed, quiet
from autogpt.search.space import Config, Space
from autogpt.search.trials import SLACK, Direction, Trial, same_config

if TYPE_CHECKING:
    import optuna

__all__ = ["NSGA2Sampler", "objectives"]

COSTS = ("parameters", "row_ms")
"""What reports say of a model beside its score: its parameters, and milliseconds to answer one row."""

TRIES = 5
"""Children bred for one proposal before a repetition is given up on; the search replaces it by a random draw."""


class NSGA2Sampler:
    """NSGA-II: the default, then random draws up to one population, then children of the surviving trials.

    Args:
        space: what may be proposed.
        seed: of the draws, the choice of parents, crossover and mutation.
        direction: whether scores shall be large or small; parameters and milliseconds shall always be few.
        population: how many trials survive to be parents, and how many are known before the first child is bred.

    Survivors are chosen from all trials by `objectives`; failed ones and those outside the space are none. A parameter
    that a parent does not have counts as its default there, so what a child inherits is always complete. The sampler
    only proposes: which trial is gone on with is decided by the score and `search.prefer`.
    """

    def __init__(self, space: Space, seed: int = 0, *, direction: Direction, population: int = 8) -> None:
        self.space, self.seed, self.direction, self.population = space, seed, direction, population

    def ask(self, history: Sequence[Trial]) -> Config:
        """The next configuration. Imports Optuna when the first child is bred."""
        if not history:
            return self.space.default
        rng = rng_for(self.seed, len(history))
        known = objectives(members(self.space, history), self.direction)
        if len(history) < self.population or len(known) < self.population:
            return self.space.sample(rng)
        taught = self._taught(known)
        child: Config = {}
        for _ in range(TRIES):
            child = proposed(self.space, self._model(rng.getrandbits(32)), taught, ["minimize"] * len(known[0][1]))
            if not any(same_config(child, trial.config) for trial in history):
                break
        return child

    def _model(self, seed: int) -> optuna.samplers.NSGAIISampler:
        import optuna

        with quiet():
            blend = optuna.samplers.nsgaii.BLXAlphaCrossover()
            return optuna.samplers.NSGAIISampler(population_size=self.population, crossover=blend, seed=seed)

    def _taught(self, known: Sequence[tuple[Trial, tuple[float, ...]]]) -> list[optuna.trial.FrozenTrial]:
        """The trials in Optuna's terms: of one finished generation, so that all of them may be parents."""
        import optuna

        first = {optuna.samplers.NSGAIISampler._get_generation_key(): 0}
        default = {parameter.name: parameter.default for parameter in self.space.parameters}
        return [
            frozen(self.space, {**default, **trial.config}, values=values, attributes=first) for trial, values in known
        ]


def objectives(trials: Sequence[Trial], direction: Direction) -> list[tuple[Trial, tuple[float, ...]]]:
    """The trials that can be compared, in the order given, each with its costs: the less of each, the better.

    The first cost is the trial's place: how many trials came further, or as far with a better value. Scores of
    different shares are no values of one function, so a trial that was stopped has a worse place than every one that
    came further and can never dominate it, however good it looked and however small it is; it is dominated itself
    unless it is smaller or faster. Then the parameters, and milliseconds a row, as last reported. Trials that do not
    report both are left out as long as another one does; where none does, the place is all.

    Trials without a finite value (failed ones, or without a report) are left out.
    """
    scored = [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    weighed = [trial for trial in scored if all(cost in trial.reports[-1].info for cost in COSTS)]
    chosen = weighed or scored
    sign = -1.0 if direction == "max" else 1.0
    standings = [(-round(trial.share / SLACK), sign * (trial.value or 0.0)) for trial in chosen]
    found = []
    for trial, own in zip(chosen, standings, strict=True):
        place = float(sum(other < own for other in standings))
        costs = tuple(float(trial.reports[-1].info[cost]) for cost in COSTS) if weighed else ()
        found.append((trial, (place, *costs)))
    return found
