"""Our spaces and trials in Optuna's terms: what its samplers, the importance and the export have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from autogpt.search.space import Choice, Config, Dimension, Float, Int, Parameter, Space
from autogpt.search.trials import Direction, Trial

if TYPE_CHECKING:
    import optuna

__all__ = [
    "coded",
    "direction_of",
    "distribution",
    "frozen",
    "intermediate_values",
    "is_point",
    "proposed",
    "quiet",
]

RUNG_UNITS = 1_000_000
"""Optuna numbers rungs with integers: shares become millionths."""


def is_point(dimension: Dimension) -> bool:
    """Whether a range is so narrow that the densities of Optuna divide by zero in it."""
    return isinstance(dimension, Float) and dimension.high - dimension.low <= 1e-9 * abs(dimension.high)


def distribution(dimension: Dimension) -> Any:
    """The Optuna distribution of `dimension`; of a choice, its positions, because Optuna takes True for 1."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if is_point(dimension):
        return CategoricalDistribution((0,))
    if isinstance(dimension, Choice):
        return CategoricalDistribution(tuple(range(len(dimension.values))))
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def coded(dimension: Dimension, value: Any) -> Any:
    """`value`, a member of `dimension`, as a member of `distribution(dimension)`."""
    if is_point(dimension):
        return 0
    return dimension.index(value) if isinstance(dimension, Choice) else value


def intermediate_values(trial: Trial, *, ranked: bool) -> dict[int, float]:
    """What `trial` reported: share of its full length in millionths → what it is ranked by, or its score."""
    return {round(report.share * RUNG_UNITS): report.value if ranked else report.score for report in trial.reports}


def direction_of(direction: Direction) -> Literal["maximize", "minimize"]:
    """Optuna's word for `direction`."""
    return "maximize" if direction == "max" else "minimize"


def frozen(
    space: Space,
    config: Mapping[str, Any],
    *,
    values: Sequence[float] | None,
    on_the_way: Mapping[int, float] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> optuna.trial.FrozenTrial:
    """A trial as Optuna has it: complete with those values, one an objective, or pruned where they are None.

    Args:
        space: the dimensions of its parameters.
        config: members of them; also of parameters that are not active, for samplers that know no conditions.
        values: of the objectives.
        on_the_way: as of `intermediate_values`.
        attributes: what a sampler has noted on the trial.
    """
    import optuna

    parameters = [space[name] for name in config]
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.PRUNED if values is None else optuna.trial.TrialState.COMPLETE,
        values=values,
        params={p.name: coded(p.dimension, config[p.name]) for p in parameters},
        distributions={p.name: distribution(p.dimension) for p in parameters},
        intermediate_values=dict(on_the_way or {}),
        system_attrs=dict(attributes or {}),
    )


def proposed(
    space: Space,
    sampler: optuna.samplers.BaseSampler,
    trials: Sequence[optuna.trial.FrozenTrial],
    directions: Sequence[Literal["maximize", "minimize"]],
) -> Config:
    """What `sampler` would try after `trials`: a configuration of `space`, its parameters asked for one by one."""
    import optuna

    with quiet():
        study = optuna.create_study(sampler=sampler, directions=list(directions))
        study.add_trials(trials)
        asked = study.ask()
        config: Config = {}
        for parameter in space.parameters:
            if parameter.is_active(config):
                config[parameter.name] = _suggested(asked, parameter)
    return config


def _suggested(asked: optuna.trial.Trial, parameter: Parameter) -> Any:
    dimension = parameter.dimension
    if isinstance(dimension, Float) and is_point(dimension):
        asked.suggest_categorical(parameter.name, (0,))
        return dimension.low
    if isinstance(dimension, Choice):
        return dimension.values[asked.suggest_categorical(parameter.name, tuple(range(len(dimension.values))))]
    if isinstance(dimension, Int):
        return asked.suggest_int(parameter.name, dimension.low, dimension.high, log=dimension.log)
    return dimension.nearest(asked.suggest_float(parameter.name, dimension.low, dimension.high, log=dimension.log))


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its line per study and its notes that a feature is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
