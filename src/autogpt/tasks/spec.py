"""What the user wants, in one record: task, fields, labels, languages, metric, limits, and the evidence.

Saved as YAML that a person can read and edit. Nothing here opens data files.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["METRICS_OF_KIND", "METRIC_DIRECTION", "Evidence", "TaskKind", "TaskSpec"]


class TaskKind(StrEnum):
    """What a model shall do with a row."""

    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi_label"
    EXTRACTION = "extraction"
    QUESTION_ANSWERING = "question_answering"
    SUMMARIZATION = "summarization"
    TRANSLATION = "translation"
    DIALOGUE = "dialogue"
    INSTRUCTION = "instruction"
    GENERATION = "generation"
    PREFERENCE = "preference"


METRICS_OF_KIND: dict[TaskKind, tuple[str, ...]] = {
    TaskKind.CLASSIFICATION: ("accuracy", "macro_f1"),
    TaskKind.MULTI_LABEL: ("micro_f1", "exact_match"),
    TaskKind.EXTRACTION: ("entity_f1",),
    TaskKind.QUESTION_ANSWERING: ("token_f1", "exact_match"),
    TaskKind.SUMMARIZATION: ("rougeL", "rouge1", "rouge2"),
    TaskKind.TRANSLATION: ("chrf", "bleu"),
    TaskKind.DIALOGUE: ("bits_per_byte", "rougeL", "chrf"),
    TaskKind.INSTRUCTION: ("rougeL", "bits_per_byte"),
    TaskKind.GENERATION: ("bits_per_byte",),
    TaskKind.PREFERENCE: ("preference_accuracy", "bits_per_byte"),
}
"""Metrics of each kind; the first one decides unless the user names another."""

METRIC_DIRECTION: dict[str, Literal["max", "min"]] = {
    name: "min" if name == "bits_per_byte" else "max" for names in METRICS_OF_KIND.values() for name in names
}


class Evidence(BaseModel):
    """Why a field has its value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    value: str
    source: Literal["data", "sentence", "override", "default"]
    reason: str
    weight: float = 1.0


class TaskSpec(BaseModel):
    """The understood task.

    Attributes:
        kind: what the model shall do.
        layout: how the rows are shaped: `table` (named columns), `alpaca`, `prompt_completion`, `sharegpt`,
            `messages`, `preference` or `text` (a plain text file or one text column).
        input_fields: columns the model reads, in the order they are rendered; empty for plain continuation.
        output_field: column the model answers with.
        labels: the label set, or the entity types for extraction; empty otherwise. Most frequent first.
        input_language, output_language: `zh`, `en`, `mixed` or `other`.
        metric: the metric that decides; `direction` says whether more is better.
        answer_is_span: whether answers stand word for word in the input; what is written is then held to that.
        passage_chars: of a longer passage only the sentences nearest to the question are read, about so many
            characters (`passages.nearest_sentences`); 0 reads all of it.
        max_input_chars, max_output_chars: 99th percentile of the sample, rounded up; limits for generation.
        evidence: one or more entries a field.
        contradictions: where the sentence and the data disagreed and the data won, in words.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    description: str
    kind: TaskKind
    layout: Literal["table", "alpaca", "prompt_completion", "sharegpt", "messages", "preference", "text"] = "table"
    input_fields: list[str]
    output_field: str
    labels: list[str] = Field(default_factory=list)
    input_language: str = "en"
    output_language: str = "en"
    metric: str
    direction: Literal["max", "min"]
    answer_is_span: bool = False
    passage_chars: int = Field(0, ge=0)
    max_input_chars: int = Field(2000, ge=0)
    max_output_chars: int = Field(500, ge=1)
    evidence: list[Evidence] = Field(default_factory=list)
    contradictions: list[str] = Field(default_factory=list)

    @property
    def is_label_task(self) -> bool:
        """Whether an answer is chosen from a label set, so that probabilities over it exist."""
        return self.kind in (TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL)

    @property
    def writes_freely(self) -> bool:
        """Whether many answers are good: a single most probable one is dull or loops, and a text may be long."""
        return self.kind in (TaskKind.GENERATION, TaskKind.DIALOGUE, TaskKind.INSTRUCTION, TaskKind.PREFERENCE)

    @property
    def is_likelihood_task(self) -> bool:
        """Whether the deciding metric is a likelihood, so that scoring needs no generation."""
        return self.metric in ("bits_per_byte", "preference_accuracy")

    @property
    def needs_likelihood(self) -> bool:
        """Whether some metric of the task is measured on the likelihood of the reference answer."""
        return "bits_per_byte" in (self.metric, *METRICS_OF_KIND[self.kind])

    def save(self, path: Path) -> None:
        path.write_text(self.to_yaml(), encoding="utf-8")

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), allow_unicode=True, sort_keys=False, width=120)

    @classmethod
    def load(cls, path: Path) -> TaskSpec:
        return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
