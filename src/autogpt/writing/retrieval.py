"""Earlier passages that matter now: BM25 over what was written, by words or pairs of Chinese characters.

Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond", with k1 = 1.5 and b = 0.75.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from autogpt.tasks.language import has_han
from autogpt.writing.units import units

__all__ = ["Passages", "terms"]

K1, B = 1.5, 0.75


def terms(text: str) -> list[str]:
    """Words of English; pairs of neighbouring characters of Chinese, since single ones say little."""
    row = units(text)
    if not has_han(text):
        return row
    pairs = [a + b for a, b in pairwise(row) if has_han(a) and has_han(b)]
    return pairs + [unit for unit in row if not has_han(unit)] or row


class Passages:
    """A growing collection that can be searched."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._counts: list[Counter[str]] = []
        self._holding: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Adds a passage; one without a word is left out."""
        counts = Counter(terms(text))
        if counts:
            self._texts.append(text)
            self._counts.append(counts)
            self._holding.update(counts.keys())

    def scores(self, query: str) -> list[float]:
        """BM25 of each passage in the order of `add`; idf is ln(1 + (N - n + 0.5) / (n + 0.5)), never negative."""
        if not self._texts:
            return []
        mean = sum(counts.total() for counts in self._counts) / len(self._counts)
        found = [0.0] * len(self._texts)
        for term in dict.fromkeys(terms(query)):
            holding = self._holding[term]
            if not holding:
                continue
            idf = math.log(1 + (len(self._texts) - holding + 0.5) / (holding + 0.5))
            for i, counts in enumerate(self._counts):
                if often := counts[term]:
                    norm = K1 * (1 - B + B * counts.total() / mean)
                    found[i] += idf * often * (K1 + 1) / (often + norm)
        return found

    def best(self, query: str, most: int, *, without: Sequence[str] = ()) -> list[str]:
        """Up to `most` passages with a positive score, best first, the earlier of equals first."""
        ranked = sorted(enumerate(self.scores(query)), key=lambda pair: (-pair[1], pair[0]))
        chosen = [self._texts[i] for i, score in ranked if score > 0 and self._texts[i] not in without]
        return chosen[:most]
