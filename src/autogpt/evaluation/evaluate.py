"""Predictions → scores with intervals, comparisons with p-values, and the rows worth looking at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autogpt.evaluation.metrics import Array, Metric, Unmeasured, get_metric
from autogpt.evaluation.metrics_labels import label_set
from autogpt.evaluation.resampling import bootstrap_values, percentile_interval, randomization_p_value
from autogpt.tasks.spec import METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Entity, Example, MetricValue, Prediction, Scores

__all__ = ["Comparison", "Confusion", "RankedRow", "confusion", "metric_names", "paired_test", "ranked_rows", "score"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model a against model b on the same rows.

    Attributes:
        difference: in the metric's unit, with the sign turned so that positive means a is better.
        ci95: bootstrap interval of the difference.
        p_value: two-sided, of a paired randomisation test.
        n: rows compared.
    """

    metric: str
    difference: float
    ci95: tuple[float, float]
    p_value: float
    n: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often `truth` was answered with `predicted`."""

    truth: str
    predicted: str
    count: int


@dataclass(frozen=True, slots=True)
class RankedRow:
    """A row by its index and what it scored: the deciding metric, or the probability of the true label."""

    index: int
    score: float


def metric_names(spec: TaskSpec) -> tuple[str, ...]:
    """The deciding metric first, then the others of the kind."""
    return tuple(dict.fromkeys((spec.metric, *METRICS_OF_KIND[spec.kind])))


def score(
    spec: TaskSpec,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Scores:
    """Every metric of the task that the predictions allow, each with a bootstrap 95 % interval over rows.

    The same seed gives the same numbers. A secondary metric whose ingredients were not measured (no text written, no
    likelihood computed) is left out. Raises Unmeasured when that is the deciding metric, ValueError when there are no
    rows or as many predictions as examples are not given.
    """
    _check(examples, predictions)
    values: dict[str, MetricValue] = {}
    for name in metric_names(spec):
        measure = get_metric(name)
        try:
            rows = measure.rows(predictions, examples, spec)
        except Unmeasured:
            if name == spec.metric:
                raise
            continue
        (drawn,) = bootstrap_values(measure.value, rows, resamples=resamples, seed=seed)
        whole = float(measure.value(rows.sum(0)))
        values[name] = MetricValue(name, whole, percentile_interval(drawn), len(rows), measure.higher_is_better)
    return Scores(spec.metric, values)


def paired_test(
    spec: TaskSpec,
    examples: Sequence[Example],
    a: Sequence[Prediction],
    b: Sequence[Prediction],
    *,
    metric: str | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Whether a and b differ by more than chance on these rows.

    Args:
        metric: the metric compared; the task's deciding one when not given.
        resamples: swaps of the randomisation test, and draws of the interval.

    Raises: Unmeasured when either side lacks what the metric needs; ValueError as `score`.
    """
    _check(examples, a)
    _check(examples, b)
    measure = get_metric(metric or spec.metric)
    rows_a, rows_b = measure.rows(a, examples, spec), measure.rows(b, examples, spec)
    sign = 1.0 if measure.higher_is_better else -1.0
    difference = sign * float(measure.value(rows_a.sum(0)) - measure.value(rows_b.sum(0)))
    drawn_a, drawn_b = bootstrap_values(measure.value, rows_a, rows_b, resamples=resamples, seed=seed)
    p_value = randomization_p_value(measure.value, rows_a, rows_b, resamples=resamples, seed=seed)
    return Comparison(measure.name, difference, percentile_interval(sign * (drawn_a - drawn_b)), p_value, len(rows_a))


def _check(examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
    if not examples:
        raise ValueError("no rows to score")
    if len(examples) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(examples)} examples")


def confusion(
    spec: TaskSpec, examples: Sequence[Example], predictions: Sequence[Prediction], *, count: int = 10
) -> list[Confusion]:
    """The most frequent mistakes of a label or extraction task, most frequent first; empty for other kinds.

    Multi-label and extraction: a missed answer is confused with "", an invented one has the truth "".
    """
    pairs: Counter[tuple[str, str]] = Counter()
    if spec.kind not in (TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL, TaskKind.EXTRACTION):
        return []
    for example, prediction in zip(examples, predictions, strict=True):
        truth, answer = _kinds(example.target, spec), _kinds(prediction.target, spec)
        missed, invented = truth - answer, answer - truth
        if spec.kind is TaskKind.CLASSIFICATION:
            pairs.update((t, next(iter(invented.elements()), "")) for t in missed)
        else:
            pairs.update((t, "") for t in missed.elements())
            pairs.update(("", p) for p in invented.elements())
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [Confusion(truth, predicted, times) for (truth, predicted), times in ordered[:count]]


def _kinds(target: object, spec: TaskSpec) -> Counter[str]:
    if spec.kind is TaskKind.EXTRACTION:
        parts = target if isinstance(target, tuple) else ()
        return Counter(f"{part.type}: {part.text}" for part in parts if isinstance(part, Entity))
    return Counter(label_set(target))  # type: ignore[arg-type]


def ranked_rows(
    spec: TaskSpec, examples: Sequence[Example], predictions: Sequence[Prediction], count: int = 10
) -> tuple[list[RankedRow], list[RankedRow]]:
    """The best rows (best first) and the worst rows (worst first); no row is in both.

    By the probability of the true label for classification with probabilities, else by the deciding metric of the
    single row; rows that tie keep their order.
    """
    _check(examples, predictions)
    values, higher = _row_values(spec, examples, predictions)
    order = np.argsort(-values if higher else values, kind="stable")
    count = min(count, len(order) // 2) if len(order) > 1 else 1
    best = [RankedRow(int(i), float(values[i])) for i in order[:count]]
    worst = [RankedRow(int(i), float(values[i])) for i in order[::-1][: min(count, len(order) - len(best))]]
    return best, worst


def _row_values(spec: TaskSpec, examples: Sequence[Example], predictions: Sequence[Prediction]) -> tuple[Array, bool]:
    if spec.kind is TaskKind.CLASSIFICATION and all(p.scores for p in predictions):
        likely = [p.scores.get(str(e.target), 0.0) for p, e in zip(predictions, examples, strict=True)]
        return np.array(likely), True
    measure: Metric = get_metric("micro_f1" if spec.kind is TaskKind.MULTI_LABEL else spec.metric)
    return measure.value(measure.rows(predictions, examples, spec)), measure.higher_is_better
