"""The mean score of several tasks against each task measured by itself, row by row and with rows swapped."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autogpt.evaluation.gain import gain_of
from autogpt.evaluation.joint import MeanScore, _width, joined, on_common_scale
from autogpt.evaluation.metrics import get_metric
from autogpt.evaluation.resampling import bootstrap_values, randomization_p_value
from autogpt.registry import METRICS
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.training.finish import Judgement
from autogpt.types import Entity, Example, Message, Prediction

WORDS = ["red", "green", "blue", "a", "house", "by", "the", "sea"]


def _spec(kind: TaskKind, metric: str) -> TaskSpec:
    labels = ["red", "green", "blue"] if kind in (TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL) else []
    return TaskSpec(
        description="d",
        kind=kind,
        input_fields=["text"],
        output_field="label",
        labels=labels,
        metric=metric,
        direction=METRIC_DIRECTION.get(metric, "max"),
    )


def _example(kind: TaskKind, place: int, rng: np.random.Generator) -> Example:
    name, text = f"{kind.value}:{place}", " ".join(rng.choice(WORDS, 6))
    if kind is TaskKind.CLASSIFICATION:
        return Example(name, {"text": text}, str(rng.choice(WORDS[:3])))
    if kind is TaskKind.MULTI_LABEL:
        return Example(name, {"text": text}, tuple(WORDS[: rng.integers(0, 4)]))
    if kind is TaskKind.EXTRACTION:
        return Example(name, {"text": text}, (Entity("WORD", text.split()[0], 0, len(text.split()[0])),))
    if kind is TaskKind.DIALOGUE:
        return Example(name, {}, messages=(Message("user", "hi"), Message("assistant", text)))
    if kind is TaskKind.PREFERENCE:
        return Example(name, {"text": "q"}, text, (text,), rejected="no")
    return Example(name, {"text": "q"}, text, (text,))


def _answer(kind: TaskKind, example: Example, rng: np.random.Generator) -> Prediction:
    """Right or wrong by chance, with everything that any metric wants."""
    right = rng.random() < 0.6
    nats, size = float(rng.gamma(4.0)), int(rng.integers(3, 30))
    if kind in (TaskKind.CLASSIFICATION, TaskKind.MULTI_LABEL, TaskKind.EXTRACTION) and example.target is not None:
        others = {TaskKind.CLASSIFICATION: "red", TaskKind.MULTI_LABEL: ("red",), TaskKind.EXTRACTION: ()}
        target = example.target if right else others[kind]
        return Prediction(target, str(target), nats=nats, utf8_bytes=size)  # type: ignore[arg-type]
    text = " ".join(rng.choice(WORDS, 5))
    chosen = {"chosen": 0.6, "rejected": 0.4} if right else {"chosen": 0.2, "rejected": 0.8}
    return Prediction(text, text, chosen, nats=nats, utf8_bytes=size)


def _measured(kind: TaskKind, metric: str, rows: int, seed: int) -> tuple[TaskSpec, list[Example], np.ndarray]:
    rng, spec = np.random.default_rng(seed), _spec(kind, metric)
    examples = [_example(kind, place, rng) for place in range(rows)]
    answers = [_answer(kind, example, rng) for example in examples]
    return spec, examples, get_metric(metric).rows(answers, examples, spec)


FOUR = [
    (TaskKind.CLASSIFICATION, "accuracy", 40, 1.0),
    (TaskKind.MULTI_LABEL, "macro_f1", 25, 2.0),
    (TaskKind.GENERATION, "bits_per_byte", 10, 0.5),
    (TaskKind.SUMMARIZATION, "rougeL", 30, 1.5),
]


def _four(seed: int = 0) -> tuple[MeanScore, list[np.ndarray]]:
    measured = [_measured(kind, metric, rows, seed + place) for place, (kind, metric, rows, _) in enumerate(FOUR)]
    score = MeanScore(
        [(spec, examples, weight) for (spec, examples, _), (*_, weight) in zip(measured, FOUR, strict=True)]
    )
    return score, [table for *_, table in measured]


def _plainly(tables: list[np.ndarray]) -> float:
    """The mean, each task by itself: what the user would add up by hand."""
    values = [
        float(get_metric(metric).value(table.sum(0))) for (_, metric, *_), table in zip(FOUR, tables, strict=True)
    ]
    values[2] = 2 ** -values[2]
    weights = [weight for *_, weight in FOUR]
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)


def _wide(score: MeanScore, tables: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([score.place(task, table) for task, table in enumerate(tables)])


# --- the scale -------------------------------------------------------------------------------------------------------


def test_metrics_on_the_common_scale() -> None:
    assert on_common_scale("accuracy", np.array(0.25)) == 0.25
    assert on_common_scale("bleu", np.array([0.0, 30.0])).tolist() == [0.0, 0.3]
    assert on_common_scale("chrf", np.array(100.0)) == 1.0
    assert on_common_scale("bits_per_byte", np.array([0.0, 1.0, 3.0])).tolist() == [1.0, 0.5, 0.125]


@pytest.mark.parametrize("metric", sorted(METRIC_DIRECTION))
def test_more_is_better_on_the_common_scale_and_it_ends_at_one(metric: str) -> None:
    best, worst = (
        (0.0, 8.0) if METRIC_DIRECTION[metric] == "min" else (100.0 if metric in ("bleu", "chrf") else 1.0, 0.0)
    )
    assert on_common_scale(metric, np.array(best)) == 1.0
    assert 0 <= on_common_scale(metric, np.array(worst)) < 0.01


# --- the mean --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_value_is_the_weighted_mean_of_the_tasks_own(seed: int) -> None:
    score, tables = _four(seed)
    sums = _wide(score, tables).sum(0)
    assert float(score.value(sums)) == pytest.approx(_plainly(tables), rel=1e-12)
    names, values = zip(*score.values(sums), strict=True)
    assert names == tuple(metric for _, metric, *_ in FOUR)
    for (_, metric, *_), table, value in zip(FOUR, tables, values, strict=True):
        assert float(value) == pytest.approx(float(get_metric(metric).value(table.sum(0))), rel=1e-12)


def test_the_order_of_rows_does_not_matter() -> None:
    score, tables = _four()
    wide = _wide(score, tables)
    mixed = wide[np.random.default_rng(0).permutation(len(wide))]
    assert float(score.value(mixed.sum(0))) == pytest.approx(float(score.value(wide.sum(0))), rel=1e-12)


def test_many_sums_at_once_are_each_alone() -> None:
    score, tables = _four()
    weights = np.random.default_rng(0).integers(0, 3, (6, sum(map(len, tables))))
    sums = weights @ _wide(score, tables)
    assert score.value(sums).tolist() == pytest.approx([float(score.value(one)) for one in sums], rel=1e-12)


WIDTHS = [
    (kind, metric)
    for kind, names in METRICS_OF_KIND.items()
    for metric in (*names, *(["macro_f1"] if kind is TaskKind.MULTI_LABEL else []))
]


@pytest.mark.parametrize(("kind", "metric"), WIDTHS)
def test_the_width_is_that_of_real_statistics(kind: TaskKind, metric: str) -> None:
    spec, examples, table = _measured(kind, metric, 12, 0)
    assert _width(get_metric(metric), spec, examples) == table.shape[1]
    assert _width(get_metric(metric), spec, examples[:3]) == table.shape[1]  # fewer rows may be judged than are there


def test_every_metric_has_a_width() -> None:
    tried = {metric for names in METRICS_OF_KIND.values() for metric in names} | {"macro_f1"}
    assert tried == set(METRICS)


def test_rows_of_several_tasks_cannot_be_measured_together() -> None:
    score, _ = _four()
    with pytest.raises(NotImplementedError, match="task by task"):
        score.rows([], [], _spec(TaskKind.CLASSIFICATION, "accuracy"))


# --- two models ------------------------------------------------------------------------------------------------------


def test_swapped_rows_are_those_of_the_naive_version() -> None:
    """The paired test on joint tables against swapping each task's own rows and adding up by hand."""
    score, ours = _four()
    rng = np.random.default_rng(3)
    theirs = [table.copy() for table in ours]
    for table in theirs:
        worse = rng.random(len(table)) < 0.25
        table[worse, 0] = 0.0
    observed, sizes = abs(_plainly(ours) - _plainly(theirs)), [len(table) for table in ours]
    beyond, resamples = 0, 400
    for _ in range(resamples):
        swaps = [rng.random(size)[:, None] < 0.5 for size in sizes]
        a = [np.where(swap, one, other) for swap, one, other in zip(swaps, ours, theirs, strict=True)]
        b = [np.where(swap, other, one) for swap, one, other in zip(swaps, ours, theirs, strict=True)]
        beyond += abs(_plainly(a) - _plainly(b)) >= observed * (1 - 1e-9)
    naive = (1 + beyond) / (1 + resamples)
    found = randomization_p_value(score.value, _wide(score, ours), _wide(score, theirs), resamples=4000, seed=0)
    assert found == pytest.approx(naive, abs=4 * math.sqrt(naive * (1 - naive) / resamples) + 0.005)


def test_resampled_rows_scatter_as_their_tasks_do() -> None:
    """For means of rows the variances add up by the squares of the shares; how many rows a task gets varies too."""
    rng = np.random.default_rng(0)
    hits = [np.stack([rng.random(n) < p, np.ones(n)], axis=1).astype(float) for n, p in ((300, 0.8), (200, 0.4))]
    spec, examples, _ = _measured(TaskKind.CLASSIFICATION, "accuracy", 3, 0)
    score = MeanScore([(spec, examples, 1.0), (spec, examples, 3.0)])
    (drawn,) = bootstrap_values(score.value, _wide(score, hits), resamples=4000, seed=0)
    variances = [table[:, 0].var() / len(table) for table in hits]
    assert drawn.std() == pytest.approx(math.sqrt(variances[0] / 16 + variances[1] * 9 / 16), rel=0.05)


def test_judgements_are_joined_task_by_task() -> None:
    score, tables = _four()
    losses = [0.5, 2.0, 1.3, 0.9]
    found = joined(score, [Judgement(0.0, loss, table) for loss, table in zip(losses, tables, strict=True)])
    assert found.score == pytest.approx(_plainly(tables), rel=1e-12)
    assert found.loss == pytest.approx(math.prod(losses) ** 0.25)
    assert found.losses is None
    assert found.rows is not None
    np.testing.assert_array_equal(found.rows, _wide(score, tables))


def test_a_task_without_loss_leaves_the_mean_finite() -> None:
    score, tables = _four()
    found = joined(score, [Judgement(0.0, 0.0, table) for table in tables])
    assert 0 < found.loss < 1e-6


def test_two_models_that_judged_different_numbers_of_rows_are_compared_on_those_that_both_have() -> None:
    """A trial with longer answers judges fewer rows of a task that writes (`Validator.judge`)."""
    rng = np.random.default_rng(0)
    hits = [np.stack([rng.random(100) < 0.5, np.ones(100)], axis=1).astype(float) for _ in range(2)]
    spec, examples, _ = _measured(TaskKind.CLASSIFICATION, "accuracy", 3, 0)
    score = MeanScore([(spec, examples, 1.0), (spec, examples, 1.0)])
    best, default = _wide(score, hits), _wide(score, [hits[0][:60], hits[1]])
    gain = gain_of(score, best, default, trials=1)
    assert (gain.difference, gain.rows, gain.p_value) == (0.0, 160, 1.0)  # the same answers to the same rows
