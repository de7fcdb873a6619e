"""What the sentence says: votes for kinds, the metric, languages, and which columns it means as input or output.

Rules are plain patterns with weights in log-odds, Chinese and English side by side. They know nothing of the data.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from autogpt.tasks.lexicon import cue_words, language_words, words_for
from autogpt.tasks.rules import kind_rules, metric_rules
from autogpt.tasks.spec import TaskKind

__all__ = ["Mention", "Reading", "mentions_of", "read_sentence"]

_MOST = 6.0
"""Cap of a sentence's vote for one kind, so that data that rule a kind out cannot be outvoted."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A column that the sentence names: by which word, and what the words before it make of it."""

    column: str
    word: str
    cue: str  # a key of `cues` in lexicon.yaml, or ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sentence says, before any column is known.

    Attributes:
        text: the normalised sentence.
        kinds: log-odds per kind.
        words: the words behind each kind's vote.
        metric: the metric it asks for (`f1` and `perplexity` still generic), or "".
        languages: languages it names.
        target_language: language to translate into, when it says so.
        classes: how many classes it speaks of, or 0.
    """

    text: str
    kinds: Mapping[TaskKind, float]
    words: Mapping[TaskKind, tuple[str, ...]]
    metric: str
    languages: frozenset[str]
    target_language: str | None
    classes: int

    @property
    def favourite(self) -> TaskKind | None:
        """The kind it speaks of clearly: strong, and ahead of every other; None when there is none."""
        ranked = sorted(self.kinds.items(), key=lambda item: -item[1])
        if not ranked or ranked[0][1] < 2.5 or (len(ranked) > 1 and ranked[0][1] - ranked[1][1] < 1.5):
            return None
        return ranked[0][0]


_SHORT = "[中英汉法德日韩俄](?:[文语](?!言))?"
_CLASSES = re.compile(
    r"(\d{1,4})\s*(?:-?\s*way|个?(?:类别|类|种|栏目|标签|意图|主题|档|级)"
    r"|(?:\w+\s+)?(?:classes|categories|sections|labels|intents|topics|kinds|types)\b)",
    re.ASCII,
)


@cache
def _language() -> str:
    """A pattern of language names that are long enough to stand for nothing else."""
    words = [word for word in language_words() if len(word) > 3 or (len(word) > 1 and not word.isascii())]
    return "(?:" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")"


@cache
def _target_patterns() -> tuple[re.Pattern[str], ...]:
    """Ways to say into which language; the first group that matched is its name."""
    name = _language()
    either = f"(?:{name}|{_SHORT})"
    return tuple(
        re.compile(pattern, re.ASCII)
        for pattern in (
            rf"{either}\s*(?:译|翻|到|转|变|->|→)\s*(?:成|为)?\s*({either})",
            rf"(?:翻译|译|翻|转|变|改|写|说)(?:成|为|作|到)\s*(?:地道的?|流利的?|现代)?\s*({either})",
            rf"\b(?:in)?to\s+(?:\w+\s+)?({name})\b",
            rf"\b{name}\s*(?:-to-|-|–|->|→)\s*({name})\b",
            r"\b(?:zh|en|cn)\s*(?:-|_|to|->|→|2|=>)\s*(zh|en|cn)\b",
            r"[汉中英]([英汉中])(?=翻译|互译|机器翻译)",
        )
    )


def _normalise(description: str) -> str:
    text = unicodedata.normalize("NFKC", description).lower()
    return re.sub(r"\s+", " ", text).strip()


def _target_language(text: str) -> str | None:
    for pattern in _target_patterns():
        if match := pattern.search(text):
            word = next(group for group in match.groups() if group)
            return language_words().get(word.strip())
    return None


def read_sentence(description: str) -> Reading:
    """Everything the rules find in the sentence. Never raises; an empty sentence gives an empty reading."""
    text = _normalise(description)
    hits: dict[TaskKind, list[tuple[float, str]]] = {}
    for kind, weight, pattern in kind_rules():
        if match := pattern.search(text):
            hits.setdefault(kind, []).append((weight, match.group(0).strip()))
    kinds, words = {}, {}
    for kind, found in hits.items():
        found.sort(key=lambda item: -item[0])
        rest = sum(weight for weight, _ in found[1:] if weight > 0)
        kinds[kind] = min(found[0][0] + 0.25 * rest, _MOST)
        words[kind] = tuple(dict.fromkeys(word for _, word in found[:3]))
    metric = next((name for name, pattern in metric_rules() if pattern.search(text)), "")
    named = re.findall(_language(), text)
    classes = _CLASSES.search(text)
    return Reading(
        text=text,
        kinds=kinds,
        words=words,
        metric=metric,
        languages=frozenset(language_words()[word] for word in named),
        target_language=_target_language(text),
        classes=int(classes.group(1)) if classes else 0,
    )


def _cue_before(clause: str, *, chinese: bool) -> str:
    """The cue nearest to the end of `clause`, or "" when there is none."""
    if not chinese:
        cues = cue_words("en")
        words = re.findall(r"[a-z]+", clause)[-7:]
        return next((cues[word] for word in reversed(words) if word in cues), "")
    tail = clause[-14:]
    ends = [(tail.rfind(word) + len(word), len(word), cue) for word, cue in cue_words("zh").items() if word in tail]
    return max(ends)[2] if ends else ""  # the nearest; of two that end together, the longer


def _find(word: str, text: str) -> int:
    if word.isascii():
        match = re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", text)
        return match.start() if match else -1
    return text.find(word)


def mentions_of(reading: Reading, columns: Sequence[str]) -> dict[str, Mention]:
    """Columns that the sentence names, by their own name or a synonym, with the cue before the word.

    A column's own name beats a synonym; where a synonym fits several columns, each is mentioned.
    """
    result: dict[str, Mention] = {}
    for column in columns:
        own = column.strip().lower()
        for word in sorted(words_for(column), key=lambda word: (word != own, -len(word))):
            start = _find(word, reading.text)
            if start < 0:
                continue
            clause = re.split(r"[，。；,.;:：!?！？]", reading.text[:start])[-1]
            cue = _cue_before(clause, chinese=not word.isascii() or bool(re.search(r"[㐀-鿿]", clause)))
            following = reading.text[start + len(word) : start + len(word) + 2]
            if cue in ("out", "object") and following.startswith(("的", "'s")):
                cue = "in"  # "predict the ticket's priority", 预测工单的优先级: the owner is what is read
            result[column] = Mention(column, word, cue)
            break
    return result
