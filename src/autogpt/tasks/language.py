"""Which language a text is in, as far as templates and metrics need to know: zh, en, mixed or other.

Scripts are counted; among Latin-script texts, function words tell English from its neighbours. No model, no data files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from autogpt.tasks.lexicon import function_words

__all__ = ["has_han", "language_of", "language_of_text"]

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏ]{2,}")
_KANA_HANGUL = re.compile(r"[぀-ヿ가-힯ᄀ-ᇿ]")
_OTHER_LETTER = re.compile(r"[Ͱ-῿]")


def has_han(text: str) -> bool:
    """Whether a Chinese character occurs."""
    return _HAN.search(text) is not None


def language_of_text(text: str) -> str | None:
    """Language of one text; None when it has no letters to judge by (numbers, symbols).

    A Han character weighs as much as a Latin word, so Chinese that quotes English terms stays Chinese.
    """
    text = text[:600]
    han = len(_HAN.findall(text))
    words = _LATIN_WORD.findall(text)
    other = len(_OTHER_LETTER.findall(text)) / 4 + len(_KANA_HANGUL.findall(text))
    if not (han or words or other):
        return None
    if other > max(len(words), han * 0.15):
        return "other"
    if han >= len(words):
        return "zh"
    lowered = [word.lower() for word in words]
    english = sum(word in function_words("english") for word in lowered)
    neighbours = sum(word in function_words("others") for word in lowered)
    return "other" if neighbours > english and neighbours >= 0.1 * len(words) else "en"


def language_of(texts: Iterable[str], *, most: float = 0.8) -> str | None:
    """Language of a column: the one that at least `most` of its texts are in, `mixed` otherwise; None without letters.

    Rare short texts in another language (`OK`, a name) do not make a column mixed.
    """
    counts = Counter(language for text in texts if (language := language_of_text(text)) is not None)
    if not counts:
        return None
    language, count = counts.most_common(1)[0]
    return language if count >= most * counts.total() else "mixed"
