"""Configurations that did well elsewhere, in the order in which they are worth trying after the default.

Made by `benchmarks/bench_search.py --portfolio` from learning curves of small GPTs on four corpora
(`benchmarks/results/search.md`): each next one is what lowers the regret of the best known most, averaged over the
corpora (greedy coverage). Widths and depths are left out: what is best after ten seconds is too small for minutes. It
says nothing about fine-tuning of a base.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autogpt.search.space import Choice, Config, Parameter, Space
from autogpt.search.trials import same_config

__all__ = ["PORTFOLIO", "fitted", "portfolio_of"]

_NAMES = ("block", "late_keys", "vocabulary", "tokens_per_step", "lr", "weight_decay", "dropout")
PORTFOLIO: tuple[Mapping[str, Any], ...] = tuple(
    dict(zip(_NAMES, values, strict=True))
    for values in (
        ("relu2", False, 8192, 512, 1.668e-3, 0.26, 0.1),
        ("relu2", False, 4096, 2048, 1.979e-3, 0.01723, 0.0),
        ("relu2", True, 8192, 1024, 1.746e-3, 0.5329, 0.2),
        ("llama", True, 4096, 1024, 2.233e-3, 0.1796, 0.2),
        ("llama", True, 8192, 1024, 2.139e-3, 0.03962, 0.2),
    )
)


def portfolio_of(space: Space, known: Sequence[Mapping[str, Any]] = PORTFOLIO) -> list[Config]:
    """The known configurations as members of `space`, as `fitted` makes them.

    Without the default itself, what becomes the same, and what speaks of training from scratch (`lr`) while its start,
    the default's where it names none, is a base.
    """
    found = [space.default]
    for entry in known:
        config = fitted(space, entry)
        if ("lr" in config or "lr" not in entry) and not any(same_config(config, other) for other in found):
            found.append(config)
    return found[1:]


def fitted(space: Space, values: Mapping[str, Any]) -> Config:
    """The configuration of `space` with these values: what it allows stays as it is, other numbers become the nearest.

    The default stands where nothing is near, and for parameters that `values` lacks; names that the space does not know
    are left out.
    """
    config: Config = {}
    for parameter in space.parameters:
        if parameter.is_active(config):
            said = parameter.name in values
            config[parameter.name] = _nearest(parameter, values[parameter.name]) if said else parameter.default
    return space.validate(config)


def _nearest(parameter: Parameter, value: Any) -> Any:
    dimension = parameter.dimension
    if dimension.parse(value) is not None:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return parameter.default
    if not isinstance(dimension, Choice):
        return dimension.nearest(value)
    return min(dimension.values, key=lambda member: abs(member - value)) if dimension.is_ordered else parameter.default
