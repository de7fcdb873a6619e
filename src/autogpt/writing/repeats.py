"""How much a text repeats itself: n-grams seen before, counted while it grows, and the usual figures at its end.

An n-gram here is n `units` in a row (characters of Chinese, words of English), over the whole book without regard to
sentences. The share of repeats is 1 - distinct / all, the `rep-n` of Welleck et al. (2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autogpt.writing.units import units

__all__ = ["Repeats", "distinct_n", "longest_repeat", "loops", "rep_n"]

N = 8


class Repeats:
    """The n-grams of a growing text.

    Attributes:
        total: n-grams so far, repeats included.
        distinct: different ones.
    """

    def __init__(self, n: int = N) -> None:
        self._n = n
        self._seen: dict[tuple[str, ...], int] = {}
        self._tail: list[str] = []
        self.total = 0

    @property
    def distinct(self) -> int:
        return len(self._seen)

    @property
    def share(self) -> float:
        """Share of the n-grams that are repeats, 0..1; 0 for a text shorter than n."""
        return 1.0 - self.distinct / self.total if self.total else 0.0

    def _grams(self, text: str) -> list[tuple[str, ...]]:
        row = self._tail + units(text)
        return [tuple(row[i : i + self._n]) for i in range(len(row) - self._n + 1)]

    def would_repeat(self, text: str) -> tuple[int, int]:
        """(repeats, n-grams) that `text` would add, its repeats of itself among them."""
        fresh: set[tuple[str, ...]] = set()
        count = 0
        grams = self._grams(text)
        for gram in grams:
            count += gram in self._seen or gram in fresh
            fresh.add(gram)
        return count, len(grams)

    def share_with(self, text: str) -> float:
        """`share` as it would be after `text`."""
        count, added = self.would_repeat(text)
        total = self.total + added
        return (self.total - self.distinct + count) / total if total else 0.0

    def add(self, text: str) -> None:
        """`text` is now part of the book."""
        for gram in self._grams(text):
            self._seen[gram] = self._seen.get(gram, 0) + 1
            self.total += 1
        self._tail = (self._tail + units(text))[-(self._n - 1) :]


def rep_n(row: Sequence[str], n: int) -> float:
    """Share of the n-grams of `row` that occurred before in it, 0..1."""
    grams = [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def distinct_n(row: Sequence[str], n: int) -> float:
    """Different n-grams over all n-grams (Li et al. 2016), 0..1."""
    return 1.0 - rep_n(row, n) if len(row) >= n else 0.0


def longest_repeat(row: Sequence[str]) -> list[str]:
    """The longest run of units that occurs twice (the two may overlap); empty where nothing does.

    By bisection over its length, since a run that repeats has repeating runs of every shorter length.
    """

    def repeated(size: int) -> int | None:
        seen: set[tuple[str, ...]] = set()
        for i in range(len(row) - size + 1):
            gram = tuple(row[i : i + size])
            if gram in seen:
                return i
            seen.add(gram)
        return None

    low, high, at = 0, len(row), 0
    while low < high:
        middle = (low + high + 1) // 2
        found = repeated(middle)
        if found is None:
            high = middle - 1
        else:
            low, at = middle, found
    return list(row[at : at + low])


def loops(row: Iterable[str], times: int = 3) -> bool:
    """Whether a run of units is said `times` times in a row: two units or more, or one unit twice as often."""
    listed = list(row)
    for size in range(1, len(listed) // times + 1):
        needed = times * 2 if size == 1 else times
        if any(_said_again(listed, at, size, needed) for at in range(len(listed) - size * needed + 1)):
            return True
    return False


def _said_again(row: Sequence[str], at: int, size: int, times: int) -> bool:
    """Whether the `size` units at `at` stand there `times` times in a row."""
    piece = row[at : at + size]
    return all(row[at + k * size : at + (k + 1) * size] == piece for k in range(1, times))
