"""Tasks: what the user wants, how it is put to a model as text, and how the answer is read back. Torch-free."""

from __future__ import annotations

from autogpt.tasks.answers import decode_answer, encode_answer
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, Evidence, TaskKind, TaskSpec
from autogpt.tasks.templates import render, truncate_input
from autogpt.tasks.understand import Sample, understand, with_labels

__all__ = [
    "METRICS_OF_KIND",
    "METRIC_DIRECTION",
    "Evidence",
    "Sample",
    "TaskKind",
    "TaskSpec",
    "decode_answer",
    "encode_answer",
    "render",
    "truncate_input",
    "understand",
    "with_labels",
]
