"""Extraction by dictionary: the entities of the training rows, looked up in new text."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from autogpt.types import Entity, Example

__all__ = ["EntityLexicon", "entity_text"]

_WORD_EDGE = re.compile(r"[A-Za-z0-9_]")


def entity_text(example: Example) -> str:
    """The text that entity offsets point into: the longest input field."""
    return max(example.input.values(), key=len, default="")


class EntityLexicon:
    """Known entities by surface text, each with its most frequent type.

    A text is known only when it was an entity in at least half of the places where it stood in the training rows, which
    keeps common words out. A match of Latin letters or digits must not begin or end inside a word.
    """

    def __init__(self, train: Sequence[Example]) -> None:
        types: dict[str, Counter[str]] = defaultdict(Counter)
        for example in train:
            for entity in example.target or ():
                if isinstance(entity, Entity) and entity.text.strip():
                    types[entity.text][entity.type] += 1
        self._longest = max(map(len, types), default=0)
        self._types = {text: min(c.items(), key=lambda item: (-item[1], item[0]))[0] for text, c in types.items()}
        seen: Counter[str] = Counter()
        for example in train:
            seen.update(text for text, _, _ in self._matches(entity_text(example)))
        self._types = {text: kind for text, kind in self._types.items() if 2 * types[text].total() >= seen[text]}
        self._longest = max(map(len, self._types), default=0)

    def __len__(self) -> int:
        return len(self._types)

    def find(self, example: Example) -> tuple[Entity, ...]:
        """Entities from left to right, the longest match first, none overlapping."""
        matches = self._matches(entity_text(example))
        return tuple(Entity(self._types[text], text, start, end) for text, start, end in matches)

    def _matches(self, text: str) -> list[tuple[str, int, int]]:
        found = []
        start = 0
        while start < len(text):
            for end in range(min(len(text), start + self._longest), start, -1):
                if text[start:end] in self._types and _stands_alone(text, start, end):
                    found.append((text[start:end], start, end))
                    start = end
                    break
            else:
                start += 1
        return found


def _stands_alone(text: str, start: int, end: int) -> bool:
    def joined(left: int) -> bool:
        return 0 < left < len(text) and bool(_WORD_EDGE.match(text[left - 1]) and _WORD_EDGE.match(text[left]))

    return not joined(start) and not joined(end)
