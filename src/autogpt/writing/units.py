"""Text → what lengths and repeats are counted in: words or Chinese characters, and sentences with their ends.

A word is a run of letters, digits and inner apostrophes; each Han, kana or hangul character is a word of its own.
"""

from __future__ import annotations

import re

from autogpt.tasks.language import has_han

__all__ = ["ends_sentence", "first_sentence", "language_for_text", "length", "sentences", "units"]

_UNIT = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|(?:(?![\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff])[^\W_])"
    r"(?:(?![\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff])[\w'’])*"
)
_CLOSERS = "”’」』）)】\"'》"
_END = re.compile(rf"(?:[。！？…]+[{_CLOSERS}]*|[.!?]+[{_CLOSERS}]*(?=\s|$))")
_SHORT = re.compile(r"(?:^|[\s(\"“‘'])(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Col|Gen|Sr|Jr|vs|etc|No|[A-Z])\.$")


def units(text: str) -> list[str]:
    """The words of `text` in lower case, each Chinese character a word; punctuation is left out."""
    return [found.lower() for found in _UNIT.findall(text)]


def length(text: str) -> int:
    """Number of `units`: characters of Chinese, words of English."""
    return sum(1 for _ in _UNIT.finditer(text))


def language_for_text(text: str) -> str:
    """`zh` where a Han character occurs, else `en`: which of our two sets of rules applies. Names no language."""
    return "zh" if has_han(text) else "en"


def ends_sentence(text: str) -> bool:
    """Whether `text` ends with a finished sentence, closing quotes included."""
    bare = text.rstrip()
    ends = [found.end() for found in _END.finditer(bare)]
    return bool(ends) and ends[-1] == len(bare) and not _SHORT.search(bare)


def first_sentence(text: str, *, whole: bool) -> tuple[str, str] | None:
    """(first sentence, the rest) of `text`; None while its end cannot be known.

    The end is known when something follows that does not belong to the sentence (a closing quote would), or when
    `whole` says that nothing will follow. White space before the sentence is kept with it.
    """
    for found in _END.finditer(text):
        end = found.end()
        if end == len(text) and not whole:
            return None
        if found.group()[0] == "." and _SHORT.search(text[:end].rstrip(_CLOSERS)):
            continue
        if not text[:end].strip(_CLOSERS + "。！？…!?. \n\t"):  # left over from the sentence before
            continue
        return text[:end], text[end:]
    return None


def sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped; the last one may be unfinished."""
    found: list[str] = []
    rest = text
    while (cut := first_sentence(rest, whole=True)) is not None:
        found.append(cut[0].strip())
        rest = cut[1]
    if rest.strip():
        found.append(rest.strip())
    return found
