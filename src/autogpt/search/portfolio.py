"""Configurations that did well elsewhere, in the order in which they are worth trying after the default.

Made by `benchmarks/bench_search.py --portfolio` from learning curves of small GPTs on four corpora
(`benchmarks/results/search.md`): each next one is what lowers the regret of the best known most, averaged over the
corpora (greedy coverage). Widths and depths are left out: what is best after ten seconds is too small for minutes. It
says nothing about fine-tuning of a base.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autogpt.search.space import Choice, Config, Dimension, Space
from autogpt.search.trials import same_config

__all__ = ["PORTFOLIO", "portfolio_of"]

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


def portfolio_of(space: Space, known: tuple[Mapping[str, Any], ...] = PORTFOLIO) -> list[Config]:
    """The known configurations as members of `space`: its default with their values, each the nearest that it allows.

    Without the default itself and what becomes the same. Empty where `space` begins with a base.
    """
    default, found = space.default, [space.default]
    if "lr" not in default:
        return []
    for entry in known:
        config = dict(default)
        for name in default.keys() & entry.keys():
            config[name] = _nearest(space[name].dimension, entry[name], default[name])
        if not any(same_config(config, other) for other in found):
            found.append(space.validate(config))
    return found[1:]


def _nearest(dimension: Dimension, value: Any, default: Any) -> Any:
    """The member of `dimension` nearest to `value`; the default where nothing can be near."""
    if not isinstance(dimension, Choice):
        return dimension.nearest(value)
    if dimension.index(value) is None and dimension.is_ordered and isinstance(value, int | float):
        return min(dimension.values, key=lambda member: abs(member - value))
    return default if dimension.index(value) is None else value
