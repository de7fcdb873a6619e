"""The few records that everything passes around. Inside the process only: frozen, slotted, plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Drop", "Entity", "Example", "Message", "MetricValue", "Prediction", "Scores", "Segment", "Target"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `role` is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A typed span; `start` and `end` are character offsets into the row's text (end exclusive)."""

    type: str
    text: str
    start: int
    end: int


Target: TypeAlias = str | tuple[str, ...] | tuple[Entity, ...]
"""What a model shall answer: text or a label (str), several labels, or entities."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the user's data, normalised to the task.

    Attributes:
        id: file name and 1-based row, such as `train.jsonl:17`; unique in a data set.
        input: input field → text, in the order of `TaskSpec.input_fields` (empty for plain text generation).
        target: the answer; None when the row has none (prediction). For preference: the chosen answer.
        references: every acceptable answer as text, the target among them (empty when there is none).
        messages: the conversation for dialogue (all turns, the assistant's answers included); else empty.
        rejected: the rejected answer of a preference pair.
    """

    id: str
    input: Mapping[str, str]
    target: Target | None = None
    references: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a rendered example: its text, and whether the model is trained and scored on it."""

    text: str
    is_answer: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that was left out, and why. `reason` is a short constant phrase so that drops can be counted by it."""

    id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered for one example.

    Attributes:
        target: the parsed answer (same type as `Example.target`).
        text: the answer as the model wrote it.
        scores: label → probability, for label tasks; sums to 1 for classification.
        nats: negative log-likelihood of the reference answer in nats, where it was measured.
        utf8_bytes: UTF-8 length of that reference answer, so that `nats / ln 2 / utf8_bytes` is bits per byte.
    """

    target: Target
    text: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    nats: float | None = None
    utf8_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric with its bootstrap 95 % interval over `n` rows."""

    name: str
    value: float
    ci95: tuple[float, float]
    n: int
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class Scores:
    """All metrics of one model on one set of rows; `primary` names the one that decides."""

    primary: str
    metrics: Mapping[str, MetricValue]

    @property
    def main(self) -> MetricValue:
        return self.metrics[self.primary]
