"""Text → the units that metrics count: normalised answers, words, characters, and what two sequences share.

Three conventions live here, each with its source: rouge-score's tokens for English, the SQuAD 2.0 script's
normalisation, and the CMRC 2018 script's mixed segmentation. All functions are pure.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal, TypeAlias

from autogpt.tasks.language import has_han

__all__ = [
    "Style",
    "cmrc_segments",
    "cmrc_strip",
    "lcs_length",
    "longest_shared_run",
    "ngrams",
    "rouge_tokens",
    "squad_normalize",
    "style_of",
]

Style: TypeAlias = Literal["chinese", "english", "other"]

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_ROUGE_WORD = re.compile(r"[a-z0-9]+")
_ROUGE_UNIT = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_])+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CMRC_HAN = re.compile("[\u4e00-\u9fa5]")
_CMRC_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")


def style_of(language: str, references: Sequence[str]) -> Style:
    """How a row is measured: `chinese` when the task's output is, or when a reference holds a Chinese character;
    `other` when a reference holds letters beyond ASCII and the output is not English; `english` otherwise.
    """
    if language == "zh" or any(has_han(reference) for reference in references):
        return "chinese"
    if language != "en" and any(char.isalpha() and not char.isascii() for text in references for char in text):
        return "other"
    return "english"


def rouge_tokens(text: str, style: Style) -> list[str]:
    """Units of ROUGE, lower-cased; punctuation is dropped in every style.

    English: exactly rouge-score's tokens without stemming (runs of a-z and 0-9). Otherwise, after NFKC folding, every
    CJK character is a unit and every run of other letters or digits is one.
    """
    if style == "english":
        return _ROUGE_WORD.findall(text.lower())
    return _ROUGE_UNIT.findall(unicodedata.normalize("NFKC", text).lower())


def squad_normalize(text: str) -> str:
    """The SQuAD script's normal form: lower case, no ASCII punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def cmrc_strip(text: str) -> str:
    """The CMRC 2018 script's form for exact match: lower case, its punctuation list removed (inner spaces stay)."""
    return "".join(char for char in text.lower().strip() if char not in _CMRC_PUNCTUATION)


def cmrc_segments(text: str) -> list[str]:
    """The CMRC 2018 script's mixed segmentation with its punctuation removed.

    Every Chinese character is a unit; what stands between is split into words. The script leaves that to
    `nltk.word_tokenize`; here the same Treebank rules for punctuation and contractions are applied without its
    sentence splitter, so a full stop inside a Latin passage of several sentences stays with its word.
    """
    segments: list[str] = []
    pending = ""
    for char in text.lower().strip():
        if char in _CMRC_PUNCTUATION:
            continue
        if _CMRC_HAN.match(char):
            segments += _treebank_words(pending)
            segments.append(char)
            pending = ""
        else:
            pending += char
    return segments + _treebank_words(pending)


def _treebank_words(text: str) -> list[str]:
    text = re.sub(r"(\.{2,}|[;@#$%&?!\[\](){}<>\"“”«»\u2012-\u2015]|,(?!\d))", r" \1 ", text)
    text = re.sub(r"(?<![.\s])\.(?=[\])}>\"'»\s]*$)", " . ", text)
    text = re.sub(r"(n't|'(?:s|m|d|ll|re|ve))(?=\s|$)", r" \1", text)
    text = re.sub(r"(?<=\w)'(?=\s|$)", " '", text)
    return text.split()


def ngrams(units: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each run of `order` units occurs."""
    return Counter(tuple(units[i : i + order]) for i in range(len(units) - order + 1))


def lcs_length(left: Sequence[Hashable], right: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): one big-integer step per unit of `right`."""
    places: dict[Hashable, int] = {}
    for i, unit in enumerate(left):
        places[unit] = places.get(unit, 0) | (1 << i)
    full = (1 << len(left)) - 1
    free = full
    for unit in right:
        hit = free & places.get(unit, 0)
        free = ((free + hit) | (free - hit)) & full
    return len(left) - free.bit_count()


def longest_shared_run(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common contiguous run, by bisection over its length."""

    def shared(size: int) -> bool:
        runs = {tuple(left[i : i + size]) for i in range(len(left) - size + 1)}
        return any(tuple(right[i : i + size]) in runs for i in range(len(right) - size + 1))

    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if shared(middle) else (low, middle - 1)
    return low
