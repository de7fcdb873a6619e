"""How alike two tasks are, by what is known of them before any training: kind, labels, languages and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from autogpt.tasks.spec import TaskKind, TaskSpec

if TYPE_CHECKING:
    from autogpt.store.database import ModelRow, Store

__all__ = ["Alike", "candidates", "likeness"]

_LEAST_LIKENESS, _MOST_CANDIDATES = 0.5, 4
"""Two labels beside two, and inputs of like length, are enough; a language in common alone is not."""

_FAMILIES = (
    frozenset({TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL}),
    frozenset({TaskKind.DIALOGUE, TaskKind.INSTRUCTION, TaskKind.PREFERENCE}),
)
"""Kinds whose answers are alike: names of labels, and replies to what a person says."""
_OF_ANOTHER_KIND = 0.7

_LABEL_COUNT, _LABEL_WORDS, _LABEL_LANGUAGES, _LABEL_LENGTHS = 0.4, 0.25, 0.2, 0.15
_LANGUAGES, _INPUT_LENGTHS, _ANSWER_LENGTHS = 0.5, 0.25, 0.25
"""What each part counts, with labels and without. Judgement, not measured: two sentiment tasks of two languages are to
be nearer to each other than either is to a task of its own language with ten labels."""
_LEAST_OVERLAP = 0.5
"""Share of the shorter label's character pairs; below it two labels have nothing to do with each other: `positive` and
`negative` share 3 of 7."""


def likeness(spec: TaskSpec, other: TaskSpec) -> float:
    """From 0, nothing in common, to 1 for tasks with the same labels, languages and lengths; symmetric.

    Tasks with labels (or entity types):

        0.4 · fewer labels / more labels + 0.25 · label words in common
        + 0.2 · languages + 0.15 · shorter input / longer input

    and others 0.5 · languages + 0.25 · input lengths + 0.25 · answer lengths. Another kind whose answers are alike
    counts 0.7 of that; with any other kind the likeness is 0. Label words are compared without regard to case, and by
    pairs of characters, so that `pos` is near to `positive`; labels of two languages have no words in common.

    It says nothing of the rows, nor of what the sentences mean: who uses it has to try.
    """
    if spec.kind is other.kind:
        kinds = 1.0
    elif any({spec.kind, other.kind} <= family for family in _FAMILIES):
        kinds = _OF_ANOTHER_KIND
    else:
        return 0.0
    languages = (
        _languages(spec.input_language, other.input_language) + _languages(spec.output_language, other.output_language)
    ) / 2
    inputs = _ratio(spec.max_input_chars, other.max_input_chars)
    if not spec.labels and not other.labels:
        answers = _ratio(spec.max_output_chars, other.max_output_chars)
        return kinds * (_LANGUAGES * languages + _INPUT_LENGTHS * inputs + _ANSWER_LENGTHS * answers)
    count = min(len(spec.labels), len(other.labels)) / max(len(spec.labels), len(other.labels))
    words = _words_in_common(spec.labels, other.labels)
    found = _LABEL_COUNT * count + _LABEL_WORDS * words + _LABEL_LANGUAGES * languages + _LABEL_LENGTHS * inputs
    return kinds * min(1.0, found)


def _languages(one: str, other: str) -> float:
    """1 for the same, 1/2 where one of the two is a part of the other's mixture."""
    if one == other:
        return 1.0
    return 0.5 if "mixed" in (one, other) and "other" not in (one, other) else 0.0


def _ratio(one: int, other: int) -> float:
    return (min(one, other) + 1) / (max(one, other) + 1)


def _words_in_common(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Mean, over the labels of both, of how near the nearest label of the other set is."""
    one, other = [label.strip().casefold() for label in ours], [label.strip().casefold() for label in theirs]
    if not one or not other:
        return 0.0
    # Added in the order of size, so that the sum is the same from either side.
    nearest = sorted(
        [max(_overlap(a, b) for b in other) for a in one] + [max(_overlap(a, b) for b in one) for a in other]
    )
    return sum(nearest) / len(nearest)


def _overlap(one: str, other: str) -> float:
    """1 for the same text; else the share of the shorter text's pairs of neighbouring characters that both have."""
    if one == other:
        return 1.0
    pairs, others = _pairs(one), _pairs(other)
    if not pairs or not others:
        return 0.0
    share = len(pairs & others) / min(len(pairs), len(others))
    return share if share >= _LEAST_OVERLAP else 0.0


def _pairs(text: str) -> frozenset[str]:
    return frozenset(text[place : place + 2] for place in range(len(text) - 1))


@dataclass(frozen=True, slots=True)
class Alike:
    """A registered model of a like task.

    Attributes:
        task: which one of a model of several tasks; empty for a model of one.
        likeness: of its task, from 0 to 1.
    """

    row: ModelRow
    task: str
    likeness: float

    @property
    def name(self) -> str:
        """Of the model, as a user would load it."""
        return f"{self.row.name}/{self.task}" if self.task else self.row.name


def candidates(store: Store, spec: TaskSpec, key: str) -> list[Alike]:
    """Registered models of tasks that are like `spec`, the most alike first and of equals the newest; at most four.

    The newest model of each task stands for it, and the most alike task for a model of several. Models whose folder is
    gone are passed over, those whose task cannot be read any more too, and those of the task with the key `key`: that
    is the same task on the same data.
    """
    found: list[Alike] = []
    known: set[tuple[str, str]] = set()
    for row in store.models():
        if row.task_key is None or row.task_key == key or row.run is None or not row.folder.is_dir():
            continue
        for task, other in _specs(store.task(row.task_key)[0]):
            if (row.task_key, task) not in known:
                known.add((row.task_key, task))
                found.append(Alike(row, task, likeness(spec, other)))
    near = sorted((one for one in found if one.likeness >= _LEAST_LIKENESS), key=lambda one: -one.likeness)
    nearest = {one.row.name: one for one in reversed(near)}
    return [one for one in near if nearest[one.row.name] is one][:_MOST_CANDIDATES]


def _specs(stored: Mapping[str, Any]) -> Iterator[tuple[str, TaskSpec]]:
    """(name, empty where there is one, task) of what the store holds; without those of another version."""
    for name, spec in stored["tasks"].items() if "tasks" in stored else [("", stored)]:
        try:
            yield name, TaskSpec.model_validate(spec)
        except ValidationError:
            continue  # its model, whose folder holds the same, cannot be read either
