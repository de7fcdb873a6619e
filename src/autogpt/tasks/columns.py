"""Statistics of a sample's columns: the facts that the data votes stand on. No decisions here."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from autogpt.tasks.language import language_of
from autogpt.tasks.lexicon import Role, language_named, roles_of
from autogpt.tasks.values import (
    is_numeric,
    label_of,
    labels_of,
    parsed,
    separator_of,
    spans_of,
    text_of,
    turns_of,
)

__all__ = ["Column", "Shape", "containment", "length_ratio", "percentile", "profile"]

Shape = Literal["text", "strings", "entities", "turns", "structure", "empty"]


@dataclass(frozen=True, eq=False)
class Column:
    """One column of the sample.

    Attributes:
        name: as it stands in the data.
        shape: what its cells hold: single values (`text`), lists of strings, lists of entities, conversations, other
            structures, or nothing.
        values: the cells as they are, None where a row has none.
        roles: what the name says (see `lexicon.roles_of`).
    """

    name: str
    shape: Shape
    values: tuple[Any, ...]
    roles: Mapping[Role, float]

    def role(self, *roles: Role) -> float:
        """How sure the name is that this is one of `roles`, from 0 to 1."""
        return max((self.roles.get(role, 0.0) for role in roles), default=0.0)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every cell as text, "" where there is none; aligned with the rows."""
        return tuple(text_of(parsed(value) if self.shape != "text" else value) for value in self.values)

    @cached_property
    def filled(self) -> tuple[str, ...]:
        return tuple(text for text in self.texts if text.strip())

    @cached_property
    def median_chars(self) -> float:
        return statistics.median(map(len, self.filled)) if self.filled else 0.0

    @cached_property
    def counts(self) -> Counter[str]:
        """Distinct non-empty values (of each element for lists of strings and cells with several labels)."""
        if self.shape in ("strings", "entities"):
            return Counter(label for value in self.values for label in self._parts(value))
        if self.separator:
            return Counter(label for value in self.values for label in labels_of(value, self.separator) or ())
        return Counter(label for value in self.values if (label := label_of(value)) is not None)

    def _parts(self, value: Any) -> tuple[str, ...]:
        if self.shape == "entities":
            return tuple(kind for kind, _ in spans_of(value) or ())
        return labels_of(value) or ()

    @cached_property
    def separator(self) -> str:
        """The sign between several labels in one cell, for columns named as tags; "" otherwise."""
        if self.shape != "text" or not self.role(Role.TAGS, Role.LABEL):
            return ""
        return separator_of([value for value in self.values if isinstance(value, str)])

    @cached_property
    def repeats(self) -> float:
        """How often a value comes back on average: rows with a value per distinct value."""
        return self.counts.total() / len(self.counts) if self.counts else 0.0

    @cached_property
    def language(self) -> str | None:
        return language_of(self.filled[:300])

    @cached_property
    def named_language(self) -> str | None:
        return language_named(self.name)

    @cached_property
    def numeric_share(self) -> float:
        return sum(map(is_numeric, self.filled)) / len(self.filled) if self.filled else 0.0

    @cached_property
    def question_share(self) -> float:
        """Share of cells that hold a question mark in their last characters."""
        marks = sum("?" in text[-6:] or "？" in text[-6:] or "吗" in text[-3:] for text in self.filled)
        return marks / len(self.filled) if self.filled else 0.0

    @cached_property
    def label_strength(self) -> float:
        """How much the values look like labels: 4 for few that come back often, negative when they hardly come back.

        Few rows give a weaker vote: 12 rows of 3 labels are less telling than 1000 rows of 77.
        """
        distinct, rows = len(self.counts), self.counts.total()
        if not distinct or self.shape in ("turns", "structure", "entities"):
            return -6.0
        longest = statistics.median(map(len, self.counts))
        if longest > 60:
            return -6.0
        if distinct == 1:
            return 0.0 if rows > 1 else -3.0
        strength = _strength(self.repeats, distinct, rows)
        return strength - 1.5 if longest > 40 and strength > 0 else strength

    @property
    def constant(self) -> bool:
        return len(set(self.texts)) <= 1


def _strength(repeats: float, distinct: int, rows: int) -> float:
    if repeats >= 5 and distinct <= 200:
        return 4.0 if distinct <= 30 else 3.5
    if repeats >= 2.5:
        return 2.5 if distinct <= 30 else 1.5
    if repeats >= 1.5:
        return 1.5 if rows < 60 else 0.0
    return -6.0 if rows >= 20 else -2.0


def _shape(values: Sequence[Any]) -> Shape:
    filled = [value for value in values if value not in (None, "")]
    if not filled:
        return "empty"
    opened = [parsed(value) for value in filled]
    if all(isinstance(value, Mapping) for value in opened) and all(spans_of(value) is not None for value in opened):
        return "entities"
    lists = [value for value in opened if isinstance(value, (list, tuple))]
    if len(lists) * 10 < len(filled) * 9:
        structures = sum(isinstance(value, (list, tuple, Mapping)) for value in opened)
        return "structure" if structures * 2 > len(filled) else "text"
    some = [value for value in lists if value]
    if not some:
        return "structure"
    if all(isinstance(item, (str, int, float)) for value in some for item in value):
        return "strings"
    if sum(turns_of(value) is not None for value in some) * 10 >= len(some) * 9:
        return "turns"
    if sum(spans_of(value) is not None for value in some) * 10 >= len(some) * 9:
        return "entities"
    return "structure"


def profile(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """One `Column` per name, in order."""
    letters = {"q": "question", "a": "answer"} if {"q", "a"} <= {name.lower() for name in columns} else {}
    result = []
    for name in columns:
        values = tuple(row.get(name) for row in rows)
        result.append(Column(name, _shape(values), values, roles_of(letters.get(name.lower(), name))))
    return tuple(result)


def containment(inputs: Sequence[Column], output: Column) -> float:
    """Share of rows whose answer (at least 2 characters) stands word for word in one of the inputs."""
    hits = total = 0
    for row, answer in enumerate(output.texts):
        answer = answer.strip()
        if len(answer) >= 2:
            total += 1
            hits += any(answer in column.texts[row] for column in inputs)
    return hits / total if total else 0.0


def length_ratio(inputs: Sequence[Column], output: Column) -> float:
    """Median of answer length over input length, in characters."""
    ratios = []
    for row, answer in enumerate(output.texts):
        length = max((len(column.texts[row]) for column in inputs), default=0)
        if answer and length:
            ratios.append(len(answer) / length)
    return statistics.median(ratios) if ratios else 1.0


def percentile(lengths: Sequence[int], share: float = 0.99) -> int:
    """The value that `share` of `lengths` do not exceed (nearest rank), rounded up to two digits; 0 if empty."""
    if not lengths:
        return 0
    ranked = sorted(lengths)
    value = ranked[min(len(ranked) - 1, int(share * len(ranked)))]
    step: int = 10 ** max(len(str(value)) - 2, 0)
    return -(-value // step) * step
