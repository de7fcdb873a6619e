"""A byte n-gram model with interpolated, modified Kneser-Ney smoothing: the baseline of likelihood tasks.

Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling". Counting and scoring are
sorting and searching of 64-bit hashes of contexts with numpy, so a megabyte takes a second, not minutes. The model
predicts one of 257 symbols: a byte, or the end of an answer. It knows nothing of UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autogpt.types import Segment

__all__ = ["Coded", "NGram", "code"]

END = 256
_START = 257
_SYMBOLS = 257  # what can be predicted: the bytes and END; START only fills contexts
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coded:
    """A rendered example as symbols [T] and a mask [T] of those that are counted and scored (the answer's)."""

    symbols: NDArray[np.uint16]
    is_answer: NDArray[np.bool_]
    utf8_bytes: int


def code(segments: Sequence[Segment]) -> Coded:
    """Segments → symbols: UTF-8 bytes, and the end symbol after each answer segment, which is scored as a model's is.

    `utf8_bytes` counts the answers' bytes without end symbols, as it does for models.
    """
    symbols: list[NDArray[np.uint16]] = []
    masks: list[NDArray[np.bool_]] = []
    size = 0
    for segment in segments:
        data = segment.text.encode("utf-8")
        part = np.frombuffer(data, dtype=np.uint8).astype(np.uint16)
        if segment.is_answer:
            part = np.append(part, np.uint16(END))
            size += len(data)
        symbols.append(part)
        masks.append(np.full(len(part), segment.is_answer))
    if not symbols:
        return Coded(np.zeros(0, np.uint16), np.zeros(0, np.bool_), 0)
    return Coded(np.concatenate(symbols), np.concatenate(masks), size)


@dataclass(frozen=True, slots=True)
class _Level:
    """Counts of one context length: sorted n-gram hashes with discounted counts, sorted contexts with their totals."""

    grams: Hashes
    discounted: Floats
    contexts: Hashes
    totals: Floats
    discounts: Floats


class NGram:
    """An n-gram model fitted on the answers of `rows`, each read after what stands before it in its row.

    Args:
        rows: training rows; no context crosses from one to the next.
        order: symbols of an n-gram, the predicted one among them; 1 ignores the context.
    """

    def __init__(self, rows: Sequence[Coded], *, order: int) -> None:
        self.order = order
        self._symbol_hash, self._context_hash = _random_tables()
        symbols, scored, _ = self._joined(rows)
        places = np.flatnonzero(scored)
        levels: list[_Level] = []
        hashes = self._hashes(symbols)
        for length in range(order - 1, -1, -1):
            contexts, grams = hashes[length]
            keys, first, counts = np.unique(grams[places], return_index=True, return_counts=True)
            # One place of each distinct n-gram goes on, so that lower orders count distinct histories (Kneser-Ney).
            places = places[first]
            levels.append(_level(keys, counts, contexts[places]))
        self._levels = levels[::-1]

    def nats(self, rows: Sequence[Coded]) -> Floats:
        """Negative log-likelihood in nats of each row's scored symbols, [rows]."""
        if not rows:
            return np.zeros(0)
        symbols, scored, row_ids = self._joined(rows)
        places = np.flatnonzero(scored)
        losses = -np.log(self._probabilities(symbols, places))
        return np.asarray(np.bincount(row_ids[places], weights=losses, minlength=len(rows)), dtype=np.float64)

    def next_probabilities(self, text: bytes) -> Floats:
        """The distribution [257] after `text` at the start of a row; the last entry is the end symbol."""
        head = np.frombuffer(text, dtype=np.uint8).astype(np.uint16)
        rows = [
            Coded(np.append(head, np.uint16(symbol)), np.append(np.zeros(len(head), np.bool_), True), 0)
            for symbol in range(_SYMBOLS)
        ]
        return np.asarray(np.exp(-self.nats(rows)))

    def _probabilities(self, symbols: NDArray[np.uint16], places: NDArray[np.int64]) -> Floats:
        hashes = self._hashes(symbols)
        probability = np.full(len(places), 1 / _SYMBOLS)
        for level, (contexts, grams) in zip(self._levels, hashes, strict=True):
            row, known = _find(level.contexts, contexts[places])
            column, seen = _find(level.grams, grams[places])
            own = np.where(seen, level.discounted[column], 0.0)
            mixed = (own + level.discounts[row] * probability) / level.totals[row]
            probability = np.where(known, mixed, probability)
        return probability

    def _joined(self, rows: Sequence[Coded]) -> tuple[NDArray[np.uint16], NDArray[np.bool_], NDArray[np.int64]]:
        """All rows one after another, each behind order − 1 start symbols: symbols, scored mask, row numbers."""
        pad = self.order - 1
        sizes = np.array([len(row.symbols) + pad for row in rows], dtype=np.int64)
        symbols = np.full(sizes.sum(), _START, dtype=np.uint16)
        scored = np.zeros(sizes.sum(), dtype=np.bool_)
        end = 0
        for row, size in zip(rows, sizes.tolist(), strict=True):
            end += size
            symbols[end - len(row.symbols) : end] = row.symbols
            scored[end - len(row.symbols) : end] = row.is_answer
        return symbols, scored, np.repeat(np.arange(len(rows)), sizes)

    def _hashes(self, symbols: NDArray[np.uint16]) -> list[tuple[Hashes, Hashes]]:
        """For each context length 0..order−1: the hash of the context before each place, and of context + symbol."""
        result = []
        context = np.zeros(len(symbols), dtype=np.uint64)
        power = np.uint64(1)
        for length in range(self.order):
            if length:
                before = np.roll(symbols, length)
                before[:length] = _START
                context = context + self._context_hash[before] * power
            mixed = (context ^ (context >> np.uint64(29))) * _MULTIPLIER
            mixed ^= mixed >> np.uint64(32)
            result.append((mixed, mixed * _MULTIPLIER + self._symbol_hash[symbols]))
            power = np.uint64(int(power) * int(_MULTIPLIER) % 2**64)
        return result


def _random_tables() -> tuple[Hashes, Hashes]:
    rng = np.random.default_rng(20240229)
    tables = rng.integers(1, 2**64, size=(2, _START + 1), dtype=np.uint64)
    return tables[0] | np.uint64(1), tables[1] | np.uint64(1)


def _level(keys: Hashes, counts: NDArray[np.int64], gram_contexts: Hashes) -> _Level:
    """One order's table from its distinct n-grams (sorted hashes), their counts and the hashes of their contexts."""
    cut = _discounts(counts)[np.minimum(counts, 3)]
    contexts, row = np.unique(gram_contexts, return_inverse=True)
    totals = np.bincount(row, weights=counts).astype(np.float64)
    return _Level(keys, counts - cut, contexts, totals, np.bincount(row, weights=cut).astype(np.float64))


def _discounts(counts: NDArray[np.int64]) -> Floats:
    """What is taken from counts 0, 1, 2 and 3 or more (Chen & Goodman 1999, equation 17), kept within (0, count)."""
    n = np.bincount(np.minimum(counts, 5), minlength=5).astype(np.float64)
    y = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
    raw = [c - (c + 1) * y * n[c + 1] / n[c] if n[c] and n[c + 1] else 0.5 for c in (1, 2, 3)]
    return np.array([0.0, *(min(max(value, 0.05), c - 0.05) for c, value in zip((1, 2, 3), raw, strict=True))])


def _find(keys: Hashes, wanted: Hashes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places of `wanted` in sorted `keys`, and whether they are really there."""
    if not len(keys):
        raise ValueError("the n-gram model has no training text")
    order = np.argsort(wanted)  # looking up in order keeps the processor's cache warm: several times faster
    place = np.empty(len(wanted), dtype=np.int64)
    place[order] = np.searchsorted(keys, wanted[order])
    place = np.minimum(place, len(keys) - 1)
    return place, keys[place] == wanted
