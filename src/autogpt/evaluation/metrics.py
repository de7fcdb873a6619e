"""What a metric is: per-row sufficient statistics that add up, and a value of their sum.

Because statistics add up, a bootstrap resample is `weights @ rows` and a paired permutation a swap of rows; nothing is
ever re-tokenised. The metrics themselves are in `metrics_labels` (labels, entities, preferences), `metrics_text`
(answers, summaries) and `metrics_corpus` (BLEU, chrF, bits per byte), by name in `autogpt.registry.METRICS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from autogpt.errors import AutoGPTError
from autogpt.registry import METRICS
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Example, Prediction

__all__ = ["Array", "MeanOfRows", "Metric", "Unmeasured", "answer_text", "get_metric", "ratio", "references_of"]

Array: TypeAlias = NDArray[np.float64]


class Unmeasured(AutoGPTError):
    """The predictions lack what a metric needs, such as likelihoods; the metric is then left out, not set to zero."""


class Metric(Protocol):
    """A metric in its natural unit: shares in 0..1, BLEU and chrF in 0..100, bits per byte.

    The layout of the statistics may depend on `examples` and `spec` but never on the predictions, so that two models'
    rows can be swapped. `value` is vectorised and, given the rows themselves, returns the value of every single row.
    """

    name: str
    higher_is_better: bool

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        """Statistics [n, k]. Raises Unmeasured when the predictions lack what is needed."""
        ...

    def value(self, sums: Array) -> Array:
        """Sums of statistics [..., k] → values [...]."""
        ...


class MeanOfRows:
    """Base of metrics that average a value per row: statistics are (value, 1)."""

    name: str
    higher_is_better = True

    def value(self, sums: Array) -> Array:
        return ratio(sums[..., 0], sums[..., 1])


def get_metric(name: str) -> Metric:
    """The metric of that name. Raises ConfigError with the nearest name when there is none."""
    found: Metric = METRICS.get(name)()
    return found


def ratio(above: Array, below: Array, *, empty: float = 0.0) -> Array:
    """`above / below`, and `empty` where `below` is 0."""
    return np.divide(above, below, out=np.full(np.shape(below), empty), where=np.asarray(below) != 0)


def references_of(example: Example) -> tuple[str, ...]:
    """Every acceptable answer as text; never empty for a row that has an answer.

    The row's references, else its target, else (dialogue) the last assistant turn.
    """
    if example.references:
        return example.references
    if isinstance(example.target, str):
        return (example.target,)
    turns = [message.content for message in example.messages if message.role == "assistant"]
    return (turns[-1],) if turns else ("",)


def answer_text(prediction: Prediction) -> str:
    """The parsed answer when it is text, else the answer as written."""
    return prediction.target if isinstance(prediction.target, str) else prediction.text
