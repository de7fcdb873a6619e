"""What a rung of the ladder is, and how an example is read by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autogpt.tasks.language import has_han
from autogpt.types import Example, Prediction

__all__ = ["Baseline", "input_text", "is_chinese"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A simple method's answers.

    Attributes:
        name: such as "TF-IDF + logistic regression".
        trivial: whether it learns nothing beyond a frequency; every useful model must beat these.
        predictions: one a row, in order.
        note: what was chosen or cut, for the report.
    """

    name: str
    trivial: bool
    predictions: list[Prediction]
    note: str = ""


def input_text(example: Example) -> str:
    """What a model reads, as one text: the input fields, or the conversation up to the last assistant turn."""
    if example.messages:
        turns = list(example.messages)
        while turns and turns[-1].role == "assistant":
            turns.pop()
        return "\n".join(turn.content for turn in turns[-3:])
    return "\n".join(text for text in example.input.values() if text)


def is_chinese(language: str, texts: Sequence[str]) -> bool:
    """Whether to work by character: the language says so, or (mixed, other) most of the first texts hold Chinese."""
    if language in ("zh", "en"):
        return language == "zh"
    head = texts[:200]
    return sum(map(has_han, head)) * 2 > len(head)
