"""Genetic search: regularised evolution. Children of recent good trials, crossed and mutated by the type of each value.

Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search": the population is a queue, a parent
wins a tournament among those alive, and what dies is the oldest, not the worst, so a lucky score does not breed for
ever. Crossover is Syswerda's (1989) uniform one. The population is read off the history at each ask: nothing is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeAlias

from autogpt.errors import ConfigError
from autogpt.search.samplers import rng_for
from autogpt.search.space import Choice, Config, Dimension, Float, Int, Parameter, Space
from autogpt.search.trials import SLACK, Direction, Study, Trial, same_config

__all__ = ["GeneticSampler", "Standing", "from_unit", "members", "standings", "to_unit"]

Standing: TypeAlias = tuple[int, int, float]
"""Sorts trials, best first; trials that nothing tells apart have the same one."""

CROSSOVER = 0.5
"""Share of the children that have two parents."""

FIRST_STEP, LAST_STEP = 0.25, 0.05
"""Standard deviation of a numeric mutation, in ranges of the parameter: of the first child and in the long run."""

HALVING = 20
"""Children after which the step has come half of the way down: a search of minutes has some dozens of trials."""

TRIES = 20
"""Children bred for one proposal before a repetition is given up on and a random draw is taken."""


class GeneticSampler:
    """Regularised evolution: the default, then `startup` random draws, then children of the population.

    Args:
        space: what may be proposed.
        seed: of the draws, the tournaments, crossover and mutation.
        direction: whether scores shall be large or small.
        startup: random draws after the default, the same ones that `RandomSampler` makes.
        population: how many of the newest trials are alive; older ones have died, however good.
        tournament: how many are drawn from the population, with replacement, for the best of them to be a parent.

    A child takes each value from one of its parents; then one of its values, and each other one with probability 1/n,
    is mutated: numbers by a Gaussian step in their own scale (logarithmic or linear), reflected at the bounds, whose
    width shrinks with the number of children; choices between numbers to a neighbour in their order; others to any
    other value. A parameter that neither parent has is given its default or a draw, even odds. Trials compare by
    `standings`; one outside the space is not in the population. A child that was tried already is bred again.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        direction: Direction,
        startup: int = 4,
        population: int = 20,
        tournament: int = 10,
    ) -> None:
        self.space, self.seed, self.direction = space, seed, direction
        self.startup, self.population, self.tournament = startup, population, tournament

    def ask(self, history: Sequence[Trial]) -> Config:
        """The next configuration; a random draw while nothing alive has a score."""
        if not history:
            return self.space.default
        rng = rng_for(self.seed, len(history))
        alive = members(self.space, history)[-self.population :]
        if len(history) <= self.startup or not any(_has_score(trial) for trial in alive):
            return self.space.sample(rng)
        ranks = standings(alive, self.direction)
        step = step_after(len(history) - self.startup - 1)
        for _ in range(TRIES):
            chosen = [alive[self._winner(ranks, rng)].config for _ in range(2 if rng.random() < CROSSOVER else 1)]
            child = mutated(self.space, crossed(self.space, chosen, rng), step, rng)
            if not any(same_config(child, trial.config) for trial in history):
                return child
        return self.space.sample(rng)

    def _winner(self, ranks: Sequence[Standing], rng: Random) -> int:
        """Place of the best of a tournament; of equals the youngest, so that a plateau is wandered over."""
        drawn = rng.choices(range(len(ranks)), k=self.tournament)
        return min(drawn, key=lambda place: (ranks[place], -place))


def members(space: Space, history: Sequence[Trial]) -> list[Trial]:
    """The trials whose configuration lies in the space, its values in the types of their dimensions, oldest first."""
    known: list[Trial] = []
    for trial in sorted(history, key=lambda trial: trial.number):
        try:
            known.append(replace(trial, config=space.validate(trial.config)))
        except ConfigError:  # it was tried before the space was narrowed
            continue
    return known


def standings(trials: Sequence[Trial], direction: Direction) -> list[Standing]:
    """What each trial sorts by, best first, as `Study.best` judges: the further it came, the more its score counts.

    Trials that came further stand before those that were cut off earlier, equally far ones by their scores, failed ones
    last and all alike. One exception, and it is the Study's: a trial that was cut off earlier stands before all of
    these when the Study would prefer it to the best of those that came furthest.
    """
    scored = [trial for trial in trials if _has_score(trial)]
    furthest = max((trial.share for trial in scored), default=0.0)
    leader = Study(tuple(trial for trial in scored if trial.share >= furthest - SLACK), direction).best
    return [_standing(trial, leader, direction) for trial in trials]


def _standing(trial: Trial, leader: Trial | None, direction: Direction) -> Standing:
    if leader is None or not _has_score(trial):
        return (2, 0, 0.0)
    score = (-1.0 if direction == "max" else 1.0) * (trial.value or 0.0)
    if trial.share < leader.share - SLACK and Study((leader, trial), direction).best is trial:
        return (0, 0, score)
    return (1, -round(trial.share / SLACK), score)


def _has_score(trial: Trial) -> bool:
    return trial.value is not None and math.isfinite(trial.value)


def step_after(children: int) -> float:
    """The step after so many children, from `FIRST_STEP` exponentially down to `LAST_STEP`."""
    return LAST_STEP + (FIRST_STEP - LAST_STEP) * math.exp2(-children / HALVING)


def crossed(space: Space, parents: Sequence[Mapping[str, Any]], rng: Random) -> Config:
    """A configuration whose values come from the parents, each from any that has it (uniform crossover)."""
    child: Config = {}
    for parameter in space.parameters:
        if parameter.is_active(child):
            offered = [parent[parameter.name] for parent in parents if parameter.name in parent]
            child[parameter.name] = rng.choice(offered) if offered else _arrival(parameter, rng)
    return child


def mutated(space: Space, config: Mapping[str, Any], step: float, rng: Random) -> Config:
    """`config` with at least one value changed, where there is one that can be; parameters come and go with it."""
    names = [name for name in config if _is_free(space[name].dimension)]
    if not names:
        return dict(config)
    sure = rng.choice(names)
    changing = {name for name in names if name == sure or rng.random() < 1 / len(names)}
    child: Config = {}
    for parameter in space.parameters:
        if not parameter.is_active(child):
            continue
        name = parameter.name
        if name not in config:
            child[name] = _arrival(parameter, rng)
        else:
            child[name] = _changed(parameter.dimension, config[name], step, rng) if name in changing else config[name]
    return child


def _arrival(parameter: Parameter, rng: Random) -> Any:
    """The value of a parameter that no parent has."""
    return parameter.default if rng.random() < 0.5 else parameter.dimension.sample(rng)


def _is_free(dimension: Dimension) -> bool:
    return len(dimension.values) > 1 if isinstance(dimension, Choice) else dimension.low < dimension.high


def _changed(dimension: Dimension, value: Any, step: float, rng: Random) -> Any:
    """A value near `value`, another one wherever four digits can tell."""
    if isinstance(dimension, Choice):
        if not dimension.is_ordered:
            place = dimension.index(value)
            return rng.choice([other for at, other in enumerate(dimension.values) if at != place])
        ranked = sorted(dimension.values)
        place = ranked.index(value)
        return rng.choice(ranked[max(0, place - 1) : place] + ranked[place + 1 : place + 2])
    moved = from_unit(dimension, _reflected(to_unit(dimension, value) + rng.gauss(0.0, step)))
    if moved != value or isinstance(dimension, Float):
        return moved
    return rng.choice([near for near in (value - 1, value + 1) if dimension.low <= near <= dimension.high])


def _reflected(unit: float) -> float:
    """A number of any size folded into [0, 1], as by mirrors at both ends: clipping would pile proposals up there."""
    unit %= 2.0
    return 2.0 - unit if unit > 1.0 else unit


def to_unit(dimension: Float | Int, value: float) -> float:
    """Where `value` lies between the bounds in the dimension's own scale, 0 to 1; 0.5 when the bounds are the same."""
    low, high = _ends(dimension)
    place = math.log(value) if dimension.log else value
    return (place - low) / (high - low) if high > low else 0.5


def from_unit(dimension: Float | Int, unit: float) -> Any:
    """The member at `unit` of the way from the low to the high end, 0 to 1."""
    low, high = _ends(dimension)
    place = low + unit * (high - low)
    return dimension.nearest(math.exp(place) if dimension.log else place)


def _ends(dimension: Float | Int) -> tuple[float, float]:
    """The bounds in the dimension's own scale; whole numbers have half a step more on both sides."""
    half = 0.5 if isinstance(dimension, Int) else 0.0
    low, high = dimension.low - half, dimension.high + half
    return (math.log(low), math.log(high)) if dimension.log else (low, high)
