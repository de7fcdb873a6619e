"""The search's objective: the task's own metric on validation rows, by the same path that scores the test rows."""

from __future__ import annotations

import random
from collections.abc import Sequence

from autogpt.evaluation.metrics import get_metric
from autogpt.generation.engine import Engine
from autogpt.generation.predict import predict
from autogpt.generation.sampling import Sampling
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Example

__all__ = ["Validator"]

_ROWS_WITHOUT_WRITING = 4
"""Rows that need no decoding are this many times cheaper, so as many more are scored."""


class Validator:
    """Scores a model on validation rows.

    Args:
        examples: the validation split.
        rows: most rows where text is written; the same ones for every trial.
    """

    def __init__(self, spec: TaskSpec, examples: Sequence[Example], rows: int) -> None:
        writes = not (spec.kind.value == "classification" or spec.is_likelihood_task)
        self.spec, self.writes = spec, writes
        # Splits keep the file's order, which may be sorted by label; the first rows must look like the rest.
        mixed = random.Random(0).sample(list(examples), len(examples))
        self.examples = tuple(mixed[: rows if writes else rows * _ROWS_WITHOUT_WRITING])

    def score(self, engine: Engine, max_new_tokens: int) -> float:
        """The deciding metric. Long answers are written for fewer rows: the time goes into training."""
        rows = self.examples
        if self.writes and max_new_tokens > 32:
            rows = rows[: max(48, len(rows) * 32 // max_new_tokens)]
        predictions = predict(
            engine,
            self.spec,
            rows,
            Sampling(max_new_tokens=max_new_tokens),
            with_likelihood=not self.writes,
            with_text=self.writes,
        )
        metric = get_metric(self.spec.metric)
        return float(metric.value(metric.rows(predictions, rows, self.spec).sum(0)))
