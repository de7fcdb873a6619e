"""Reading less of a long passage: the sentences nearest to the question, in the passage's own order.

A model trained in minutes reads a short text much better than a long one, and rows a quarter as long are seen four
times as often. Nearness is the classical one: shared units, each weighted by how rare it is among the sentences of this
passage (Spärck Jones 1972), tempered by the sentence's length. Nothing is learnt, so training, evaluation and serving
cut the same passage alike.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from autogpt.tasks.language import has_han

__all__ = ["nearest_sentences", "passage_length", "split_sentences"]

_CHINESE_END = re.compile(r"[^。！？!?\n]*[。！？!?]+[”’」』\"')）]*|[^。！？!?\n]+")
_ENGLISH_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])|\n+")
_WORD = re.compile(r"\w+")
_STEM = 5
_SHORT_SENTENCE = 8
"""Units below which a shorter sentence is no longer favoured."""
_LENGTHS = (96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_WORTHWHILE = 0.6
"""A selection must be shorter than this share of the usual passage to be worth what it misses."""


def split_sentences(text: str) -> list[str]:
    """Sentences in order, stripped, none empty: by 。！？!? and line ends in Chinese, by `. ` before a capital else."""
    pieces = _CHINESE_END.findall(text) if has_han(text) else _ENGLISH_END.split(text)
    return [piece.strip() for piece in pieces if piece.strip()]


def _units(text: str) -> set[str]:
    """What two sentences may share: characters and their pairs in Chinese, words and their beginnings else."""
    if has_han(text):
        characters = [character for character in text.lower() if character.isalnum()]
        return {*characters, *map("".join, pairwise(characters))}
    words = _WORD.findall(text.lower())
    return {*words, *(word[:_STEM] for word in words if len(word) > _STEM)}


@lru_cache(maxsize=4096)  # prompt and grammar of a row, in every trial, ask for the same
def nearest_sentences(question: str, passage: str, most_chars: int) -> str:
    """The sentences of `passage` nearest to `question`, joined in their order: about `most_chars` characters at most.

    The nearest sentence is always there, whole, even when it alone is longer; then every next one that still fits. A
    passage that fits comes back as it is.
    """
    if len(passage) <= most_chars:
        return passage
    sentences = split_sentences(passage)
    units, asked = [_units(sentence) for sentence in sentences], _units(question)
    spread = Counter(unit for held in units for unit in held & asked)

    def nearness(place: int) -> float:
        shared = sum(math.log(1 + len(sentences) / spread[unit]) for unit in units[place] & asked)
        return shared / float(max(_SHORT_SENTENCE, len(units[place])) ** 0.25)

    kept: list[int] = []
    length = 0
    for place in sorted(range(len(sentences)), key=lambda place: (-nearness(place), place)):
        if not kept or length + len(sentences[place]) <= most_chars:
            kept.append(place)
            length += len(sentences[place])
    return ("" if has_han(passage) else " ").join(sentences[place] for place in sorted(kept))


def passage_length(rows: Sequence[tuple[str, str, str]], enough: float = 0.9) -> tuple[int, float]:
    """The shortest selection that still holds most answers, and the share of them that it holds.

    Args:
        rows: (question, passage, answer).
        enough: share of the answers that stand in the passage which the selection must hold, too.

    Returns:
        Characters for `nearest_sentences`; 0 when the whole passage should be read.
    """
    held = [row for row in rows if row[2] in row[1]]
    if not held:
        return 0, 0.0
    usual = sum(len(passage) for _, passage, _ in held) / len(held)
    for length in _LENGTHS:
        if length > _WORTHWHILE * usual:
            break
        share = sum(answer in nearest_sentences(asked, passage, length) for asked, passage, answer in held) / len(held)
        if share >= enough:
            return length, share
    return 0, 1.0
