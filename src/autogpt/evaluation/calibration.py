"""How far label probabilities can be believed: their calibration error, and one number that mends most of it.

A trained classifier's probabilities are usually too sure of themselves. Temperature scaling (Guo et al. 2017) divides
their logarithms by a number fitted on validation rows; which label is the most probable never changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autogpt.types import Example, Prediction

__all__ = [
    "calibration_note",
    "equal_mass_bins",
    "expected_calibration_error",
    "fit_temperature",
    "tempered",
    "tempered_scores",
]

COLDEST, HOTTEST = 0.2, 20.0
"""Limits of a temperature: on rows that are all right, the likelihood alone would ask for no doubt at all."""
_HALVINGS = 60
_SMALLEST = 1e-30


def fit_temperature(scores: Sequence[Mapping[str, float]], targets: Sequence[str]) -> float:
    """The temperature at which the targets are most likely, between 0.2 and 20; 1 where there is nothing to fit.

    In the inverse temperature the negative log-likelihood is convex, so the zero of its derivative, found by bisection,
    is the one minimum. Rows whose target is no label of theirs are passed over.

    Args:
        scores: label → probability of each row.
        targets: the true label of each row.
    """
    rows = [(row, target) for row, target in zip(scores, targets, strict=True) if target in row]
    logs = [_logs(row) for row, _ in rows]
    true = [float(log[list(row).index(target)]) for log, (row, target) in zip(logs, rows, strict=True)]
    if all(np.ptp(log) == 0 for log in logs):
        return 1.0

    def slope(inverse: float) -> float:
        """Derivative of the negative log-likelihood: expected less true log-probability, summed over rows."""
        return sum(float(_softmax(inverse * log) @ log) - own for log, own in zip(logs, true, strict=True))

    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(min(max((low * high) ** -0.5, COLDEST), HOTTEST))


def tempered_scores(scores: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Probabilities at another temperature: p^(1/T), made to sum to 1. Their order stays."""
    values = _softmax(_logs(scores) / temperature)
    return dict(zip(scores, values.tolist(), strict=True))


def tempered(predictions: Sequence[Prediction], temperature: float) -> list[Prediction]:
    """The same answers with their label probabilities at another temperature."""
    if temperature == 1.0:
        return list(predictions)
    return [replace(p, scores=tempered_scores(p.scores, temperature)) if p.scores else p for p in predictions]


def expected_calibration_error(confidences: Sequence[float], correct: Sequence[bool], bins: int = 15) -> float:
    """Mean distance between how sure and how right, over bins of equally many rows (Nguyen & O'Connor 2015).

    Args:
        confidences: probability of each row's answer.
        correct: whether it was right.
        bins: how many; with fewer rows each row is a bin of its own, and the value says little.

    Returns: 0 (what is said with 70 % is right 70 times in 100) to 1. NaN without rows.
    """
    sure, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if len(sure) != len(right):
        raise ValueError(f"{len(right)} answers for {len(sure)} confidences")
    if not len(sure):
        return float("nan")
    place = equal_mass_bins(sure, bins)
    gaps = np.bincount(place, weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(sure))


def calibration_note(examples: Sequence[Example], told: Sequence[Prediction], scaled: Sequence[Prediction]) -> str:
    """The calibration error of single labels before and after scaling, as a sentence; empty without probabilities.

    A note and no metric: its bootstrap is biased upwards, and a model that always says the same could win by it.
    """
    if not examples or not all(p.scores for p in told):
        return ""

    def error(predictions: Sequence[Prediction]) -> float:
        right = [p.target == e.target for p, e in zip(predictions, examples, strict=True)]
        return expected_calibration_error([max(p.scores.values()) for p in predictions], right)

    return (
        f"label probabilities: expected calibration error {error(scaled):.3f} on {len(examples)} rows, "
        f"{error(told):.3f} before temperature scaling"
    )


def equal_mass_bins(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of each value, 0 for the lowest ones; bins hold equally many values but for one. Ties go by place."""
    place = np.empty(len(values), dtype=np.int64)
    for number, part in enumerate(np.array_split(np.argsort(values, kind="stable"), bins)):
        place[part] = number
    return place


def _logs(scores: Mapping[str, float]) -> NDArray[np.float64]:
    return np.log(np.maximum(np.fromiter(scores.values(), dtype=np.float64), _SMALLEST))


def _softmax(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(logs - logs.max())
    return powers / powers.sum()
