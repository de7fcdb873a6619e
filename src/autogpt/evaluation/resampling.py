"""Bootstrap intervals and paired randomisation tests on additive statistics, in chunks of bounded memory.

References: Efron & Tibshirani 1993 (percentile bootstrap); Noreen 1989 and Riezler & Maxwell 2005 (approximate
randomisation). Rows are taken as independent; rows of one document or conversation are not, which these do not model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from autogpt.evaluation.metrics import Array

__all__ = ["bootstrap_values", "percentile_interval", "randomization_p_value"]

_CHUNK_BYTES = 48 * 2**20
_SPARSE_WIDTH = 64

Value = Callable[[Array], Array]


def bootstrap_values(value: Value, *tables: Array, resamples: int, seed: int) -> list[Array]:
    """The metric of each resample, for every table; the same rows are drawn for all of them.

    Args:
        value: `Metric.value`.
        tables: statistics [n, k], one table a model.
        resamples: how many times n rows are drawn with replacement.

    Returns: one array [resamples] for each table.
    """
    n = len(tables[0])
    rng = np.random.default_rng(seed)
    found: list[list[Array]] = [[] for _ in tables]
    sources = [_multipliable(table) for table in tables]
    for size in _chunks(resamples, n, sum(table.shape[1] for table in tables)):
        drawn = rng.integers(0, n, size=(size, n), dtype=np.int32)
        drawn += (np.arange(size, dtype=np.int32) * n)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        for values, source in zip(found, sources, strict=True):
            values.append(value(weights @ source))
    return [np.concatenate(values) for values in found]


def percentile_interval(values: Array, share: float = 0.95) -> tuple[float, float]:
    """The central interval that holds `share` of the values."""
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def randomization_p_value(value: Value, a: Array, b: Array, *, resamples: int, seed: int) -> float:
    """Two-sided p-value of the difference between two models on the same rows.

    Under the null hypothesis the two answers to a row are exchangeable: each resample swaps every row with probability
    one half. p = (1 + resamples at least as far from 0 as observed) / (1 + resamples), which is never 0.
    """
    total_a, total_b = a.sum(0), b.sum(0)
    observed = abs(float(value(total_a) - value(total_b)))
    if not observed:
        return 1.0
    differing = np.flatnonzero((a != b).any(1))  # swapping equal rows changes nothing
    gap = _multipliable((b - a)[differing])
    rng = np.random.default_rng(seed)
    beyond = 0
    for size in _chunks(resamples, len(differing), 3 * a.shape[1]):
        bits = np.frombuffer(rng.bytes(size * -(-len(differing) // 8)), dtype=np.uint8).reshape(size, -1)
        swapped = np.unpackbits(bits, axis=1, count=len(differing)).astype(np.float64)
        moved = swapped @ gap
        differences = value(total_a + moved) - value(total_b - moved)
        # Equal differences must count in spite of rounding.
        beyond += int((np.abs(differences) >= observed * (1 - 1e-9) - 1e-15).sum())
    return (1 + beyond) / (1 + resamples)


def _multipliable(table: Array) -> Any:
    """The table itself, or a sparse matrix when it is wide (one column a label) and mostly zero."""
    if table.shape[1] <= _SPARSE_WIDTH:
        return np.ascontiguousarray(table)
    from scipy.sparse import csr_array  # type: ignore[import-untyped]

    return csr_array(table)


def _chunks(resamples: int, n: int, width: int) -> Iterator[int]:
    """Sizes of chunks whose arrays (indices, weights and sums) stay within the memory limit."""
    most = max(1, _CHUNK_BYTES // (8 * (2 * n + 2 * width)))
    while resamples > 0:
        yield min(most, resamples)
        resamples -= most
