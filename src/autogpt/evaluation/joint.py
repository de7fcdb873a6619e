"""One score for several tasks: the mean of their metrics on a common scale, and rows of it for paired tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from autogpt.evaluation.metrics import Array, Metric, get_metric
from autogpt.tasks.spec import TaskSpec
from autogpt.training.finish import Judgement
from autogpt.types import Example, Prediction

__all__ = ["MeanScore", "joined", "on_common_scale"]

_OF_A_HUNDRED = {"bleu", "chrf"}


def on_common_scale(metric: str, value: Array) -> Array:
    """A metric's value as a number from 0 to 1, more being better.

    Shares are what they are, BLEU and chrF are divided by 100, and b bits per byte become 2^-b: the geometric mean of
    the probability of a bit.
    """
    if metric == "bits_per_byte":
        return np.exp2(-np.asarray(value))
    return np.asarray(value) / (100.0 if metric in _OF_A_HUNDRED else 1.0)


class MeanScore:
    """The weighted mean of several tasks' metrics, each on the scale of `on_common_scale`.

    The statistics of a row are those of its own task, in columns of that task; the other columns are 0. They are put
    together by `joined`, since there is no row of all tasks that could be measured.

    Args:
        tasks: each task with validation rows of it and its weight.
    """

    name = "mean_score"
    higher_is_better = True

    def __init__(self, tasks: Sequence[tuple[TaskSpec, Sequence[Example], float]]) -> None:
        weights = np.array([weight for _, _, weight in tasks], dtype=float)
        self._weights = weights / weights.sum()
        self._metrics: list[Metric] = [get_metric(spec.metric) for spec, _, _ in tasks]
        widths = [
            _width(metric, spec, examples) for metric, (spec, examples, _) in zip(self._metrics, tasks, strict=True)
        ]
        self._ends = np.cumsum([0, *widths])

    def rows(self, predictions: Sequence[Prediction], examples: Sequence[Example], spec: TaskSpec) -> Array:
        """Statistics of one task's rows are that task's alone."""
        raise NotImplementedError("rows of several tasks are measured task by task")

    def place(self, task: int, table: Array) -> Array:
        """The statistics of rows of the task at that place, in the columns of all tasks."""
        wide = np.zeros((len(table), int(self._ends[-1]) + 1))
        wide[:, self._ends[task] : self._ends[task + 1]] = table
        wide[:, -1] = task
        return wide

    def paired(self, one: Array, other: Array) -> tuple[Array, Array]:
        """Rows that both tables hold: of each task as many as the shorter one has."""
        ours, theirs = [], []
        for task in range(len(self._metrics)):
            own, its = one[one[:, -1] == task], other[other[:, -1] == task]
            rows = min(len(own), len(its))
            ours.append(own[:rows])
            theirs.append(its[:rows])
        return np.concatenate(ours), np.concatenate(theirs)

    def value(self, sums: Array) -> Array:
        found = self.values(sums)
        return np.tensordot(self._weights, np.stack([on_common_scale(name, value) for name, value in found]), 1)

    def values(self, sums: Array) -> list[tuple[str, Array]]:
        """Each task's metric and its value on its own scale."""
        spans = itertools.pairwise(self._ends)
        return [
            (metric.name, metric.value(sums[..., first:last]))
            for metric, (first, last) in zip(self._metrics, spans, strict=True)
        ]


def _width(metric: Metric, spec: TaskSpec, examples: Sequence[Example]) -> int:
    """Columns of the metric's statistics, which depend on examples and task but on no prediction."""
    scores = {"chosen": 0.0, "rejected": 0.0}
    stand_ins = [Prediction(example.target or "", "-", scores, nats=0.0, utf8_bytes=1) for example in examples]
    return int(metric.rows(stand_ins, examples, spec).shape[1])


def joined(score: MeanScore, judgements: Sequence[Judgement]) -> Judgement:
    """What the tasks' judgements, in their order, say together.

    The loss is the geometric mean of the tasks' losses: nats of a label and nats of a byte have no common sum, but one
    halved is one halved. There are no losses of rows.
    """
    tables = []
    for task, found in enumerate(judgements):
        assert found.rows is not None
        tables.append(score.place(task, found.rows))
    rows = np.concatenate(tables)
    loss = math.exp(sum(math.log(max(found.loss, 1e-9)) for found in judgements) / len(judgements))
    return Judgement(float(score.value(rows.sum(0))), loss, rows)
