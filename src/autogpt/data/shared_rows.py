"""Whether two data sets hold the same rows, in whatever files: the share of one's texts that the other has too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autogpt.data import readers

__all__ = ["share_known"]


def share_known(files: Sequence[Path], others: Sequence[Path]) -> float:
    """The share of the rows of `files`, from 0 to 1, whose longest text a row of `others` has as its longest too.

    Case and spaces do not count, nor do columns, so that an answer is compared only where it is longer than what it
    answers. Texts that differ by a word are different texts. All rows are read into memory.

    Raises:
        DataError: a file cannot be read.
    """
    seen = set(_texts(others))
    texts = list(_texts(files))
    return sum(text in seen for text in texts) / max(1, len(texts))


def _texts(files: Sequence[Path]) -> Iterator[str]:
    for path in files:
        for row in readers.read(path).rows:
            yield " ".join(max(_strings(row), key=len, default="").casefold().split())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
