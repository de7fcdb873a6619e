"""Our spaces and trials in Optuna's terms: what the Bayesian sampler, the importance and the export have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from autogpt.search.space import Choice, Dimension, Float, Int
from autogpt.search.trials import Direction, Trial

__all__ = ["coded", "direction_of", "distribution", "intermediate_values", "is_point", "quiet"]

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
