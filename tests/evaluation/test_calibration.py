"""Temperature and calibration error against scikit-learn, a torch optimizer and a naive version."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from autogpt.data.tokenizers import train_tokenizer
from autogpt.evaluation.calibration import (
    equal_mass_bins,
    expected_calibration_error,
    fit_temperature,
    tempered,
    tempered_scores,
)
from autogpt.evaluation.final import ExamLimits, examine
from autogpt.generation.engine import Engine
from autogpt.generation.sampling import Sampling
from autogpt.models.gpt import GPT
from autogpt.models.sizing import shape_for
from autogpt.tasks.spec import TaskSpec
from autogpt.types import Example, Prediction

LABELS = ("a", "b", "c")


def _rows(temperature: float, count: int = 400, seed: int = 0) -> tuple[list[dict[str, float]], list[str]]:
    """Scores whose truth is drawn from their own probabilities after these were made too sure by `temperature`."""
    rng = np.random.default_rng(seed)
    scores, targets = [], []
    for _ in range(count):
        logits = rng.normal(0, 1.5, len(LABELS))
        honest = np.exp(logits) / np.exp(logits).sum()
        targets.append(str(rng.choice(LABELS, p=honest)))
        told = np.exp(logits * temperature) / np.exp(logits * temperature).sum()
        scores.append(dict(zip(LABELS, told.tolist(), strict=True)))
    return scores, targets


def _nll(scores: list[dict[str, float]], targets: list[str]) -> float:
    return -sum(math.log(row[target]) for row, target in zip(scores, targets, strict=True)) / len(targets)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_of_an_optimizer_and_near_the_true_one(true: float) -> None:
    scores, targets = _rows(true)
    found = fit_temperature(scores, targets)
    logs = torch.tensor([[row[label] for label in LABELS] for row in scores], dtype=torch.float64).log()
    classes = torch.tensor([LABELS.index(target) for target in targets])
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_temperature], max_iter=100, tolerance_grad=1e-12, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logs / log_temperature.exp(), classes)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    assert found == pytest.approx(float(log_temperature.detach().exp()), rel=1e-5)
    assert found == pytest.approx(true, rel=0.25)
    scaled = [tempered_scores(row, found) for row in scores]
    assert _nll(scaled, targets) <= _nll(scores, targets)


def test_a_fitted_temperature_lowers_the_error_on_other_rows() -> None:
    found = fit_temperature(*_rows(4.0, 200, seed=1))
    scores, targets = _rows(4.0, 2000, seed=2)

    def error(rows: list[dict[str, float]]) -> float:
        best = [max(row, key=lambda label: row[label]) for row in rows]
        sure = [row[label] for row, label in zip(rows, best, strict=True)]
        return expected_calibration_error(sure, [b == t for b, t in zip(best, targets, strict=True)])

    assert error(scores) > 0.15
    assert error([tempered_scores(row, found) for row in scores]) < 0.05


def test_rows_without_doubt_without_label_and_without_anything() -> None:
    sure = {"a": 0.9, "b": 0.1}
    assert fit_temperature([sure] * 30, ["a"] * 30) == pytest.approx(0.2)
    assert fit_temperature([sure] * 30, ["b"] * 30) == pytest.approx(20.0)
    assert fit_temperature([], []) == 1.0
    assert fit_temperature([sure], ["new"]) == 1.0
    assert fit_temperature([{"a": 0.5, "b": 0.5}], ["a"]) == 1.0
    assert math.isfinite(fit_temperature([{"a": 1.0, "b": 0.0}, sure], ["b", "a"]))


def test_scaling_keeps_every_order_and_every_answer() -> None:
    scores, _ = _rows(2.0, 50)
    predictions = [Prediction("b", "b", row) for row in scores] + [Prediction("text", "text")]
    for temperature in (0.2, 1.0, 7.0):
        for old, new in zip(predictions, tempered(predictions, temperature), strict=True):
            assert (new.target, new.text) == (old.target, old.text)
            assert sorted(new.scores, key=new.scores.__getitem__) == sorted(old.scores, key=old.scores.__getitem__)
            assert sum(new.scores.values()) == pytest.approx(1.0 if old.scores else 0.0)
    assert tempered_scores({"a": 0.8, "b": 0.2}, 2.0)["a"] == pytest.approx(2 / 3)  # √0.8 : √0.2 is 2 : 1
    assert tempered_scores({"a": 1.0, "b": 0.0}, 5.0)["a"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_the_error_equals_scikit_learns_curve(bins: int) -> None:
    rng = np.random.default_rng(bins)
    sure = rng.permutation(np.linspace(0.05, 0.97, 150))
    right = rng.random(150) < sure**2
    share, told = calibration_curve(right, sure, n_bins=bins, strategy="quantile")
    expected = float(np.abs(share - told).mean())  # 150 rows make bins of one size
    assert expected_calibration_error(sure.tolist(), right.tolist(), bins) == pytest.approx(expected, abs=1e-12)


def test_the_error_equals_a_naive_version_with_uneven_bins_and_ties() -> None:
    rng = np.random.default_rng(0)
    sure, right = np.round(rng.random(53), 1), rng.random(53) < 0.6
    order = sorted(range(53), key=lambda i: (sure[i], i))
    sizes, expected, first = [6] * 3 + [5] * 7, 0.0, 0
    for size in sizes:
        part = order[first : first + size]
        expected += abs(sum(sure[i] for i in part) - sum(bool(right[i]) for i in part)) / 53
        first += size
    assert expected_calibration_error(sure.tolist(), right.tolist(), 10) == pytest.approx(expected)
    assert np.bincount(equal_mass_bins(sure, 10)).tolist() == sizes


def test_edges_of_the_error() -> None:
    assert expected_calibration_error([0.75] * 4, [True, True, True, False], bins=1) == 0.0
    assert expected_calibration_error([1.0, 1.0], [False, False]) == 1.0
    assert math.isnan(expected_calibration_error([], []))
    with pytest.raises(ValueError, match="2 answers for 1 confidences"):
        expected_calibration_error([0.5], [True, False])


def test_the_final_evaluation_reads_scaled_probabilities_and_the_same_accuracy() -> None:
    tokenizer = train_tokenizer(["red green blue one two three"], 270)
    torch.manual_seed(0)
    model = GPT(shape_for(32, depth=1, vocab_size=len(tokenizer), context=64))
    spec = TaskSpec(
        description="d",
        kind="classification",
        input_fields=["text"],
        output_field="label",
        labels=["red", "green", "blue"],
        metric="accuracy",
        direction="max",
    )
    rows = [Example(f"{i}", {"text": f"row {i} {i % 3}"}, spec.labels[i % 3], (spec.labels[i % 3],)) for i in range(24)]
    engine, limits = Engine(model, tokenizer), ExamLimits(20, Sampling(max_new_tokens=4), resamples=50)
    plain = examine(engine, spec, rows, rows, limits=limits)
    scaled = examine(engine, spec, rows, rows, limits=limits, temperature=3.0)
    for name in ("accuracy", "macro_f1"):
        assert scaled.scores.metrics[name] == plain.scores.metrics[name]
    assert [p.target for p in scaled.predictions] == [p.target for p in plain.predictions]
    sure = [[max(p.scores.values()) for p in found.predictions] for found in (plain, scaled)]
    right = [p.target == e.target for p, e in zip(plain.predictions, plain.examples, strict=True)]
    before, after = (expected_calibration_error(part, right) for part in sure)
    assert f"error {after:.3f} on 20 rows, {before:.3f} before" in " ".join(scaled.notes)
    for old, new in zip(plain.predictions, scaled.predictions, strict=True):
        assert new.scores == pytest.approx(tempered_scores(old.scores, 3.0))
        assert max(new.scores.values()) < max(old.scores.values())
