"""Validation chooses how answers are written, and judges by the task's own metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from autogpt.evaluation import validate
from autogpt.evaluation.calibration import tempered_scores
from autogpt.evaluation.validate import Validator
from autogpt.generation.sampling import Sampling
from autogpt.tasks.spec import METRIC_DIRECTION, METRICS_OF_KIND, TaskKind, TaskSpec
from autogpt.types import Example, Prediction

ROWS = [Example(id=str(i), input={"text": f"row {i}"}, target="a b c", references=("a b c",)) for i in range(60)]


def _spec(kind: TaskKind) -> TaskSpec:
    metric = METRICS_OF_KIND[kind][0]
    return TaskSpec(
        description="d",
        kind=kind,
        input_fields=["text"],
        output_field="out",
        metric=metric,
        direction=METRIC_DIRECTION[metric],
    )


@pytest.mark.parametrize(("right_from", "expected"), [(1.0, 1.0), (1.2, 1.2), (9.0, 1.0)])
def test_the_smallest_penalty_that_scores_best_is_taken(
    monkeypatch: pytest.MonkeyPatch, right_from: float, expected: float
) -> None:
    """A model that loops until the penalty is large enough."""

    def predict(_: Any, __: Any, rows: Sequence[Example], sampling: Sampling, **___: Any) -> list[Prediction]:
        text = "a b c" if sampling.repetition_penalty >= right_from else "a a a a a a"
        return [Prediction(text, text) for _ in rows]

    monkeypatch.setattr(validate, "predict", predict)
    validator = Validator(_spec(TaskKind.SUMMARIZATION), ROWS, 48)
    sampling, why = validator.best_sampling(None, Sampling(max_new_tokens=9))  # type: ignore[arg-type]
    assert sampling == Sampling(max_new_tokens=9, repetition_penalty=expected)
    assert "validation rows" in why


def test_tuning_keeps_to_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def predict(_: Any, __: Any, rows: Sequence[Example], sampling: Sampling, **___: Any) -> list[Prediction]:
        written.append(len(rows))
        return [Prediction("a", "a") for _ in rows]

    monkeypatch.setattr(validate, "predict", predict)
    validator = Validator(_spec(TaskKind.SUMMARIZATION), ROWS, 48)
    validator.seconds_per_row = 0.5
    validator.best_sampling(None, Sampling(max_new_tokens=9), seconds=40.0)  # type: ignore[arg-type]
    assert written == [20] * 4  # four penalties in forty seconds, half a second a row
    sampling, why = validator.best_sampling(None, Sampling(max_new_tokens=9), seconds=30.0)  # type: ignore[arg-type]
    assert (len(written), sampling) == (4, Sampling(max_new_tokens=9))
    assert why == "1.0: no time to try others on 16 rows"


def test_where_nothing_is_written_nothing_is_tuned() -> None:
    validator = Validator(_spec(TaskKind.GENERATION), ROWS, 48)
    assert validator.best_sampling(None, Sampling(seed=3))[0] == Sampling(seed=3)  # type: ignore[arg-type]


def test_label_probabilities_are_fitted_to_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine times in ten right and told with certainty: at the fitted temperature it says 90 %."""

    def predict(_: Any, __: Any, rows: Sequence[Example]) -> list[Prediction]:
        return [Prediction("a b c", scores={"a b c": 0.999, "other": 0.001}) for _ in rows]

    monkeypatch.setattr(validate, "predict", predict)
    rows = [*ROWS[:54], *(Example(f"x{i}", {"text": "row"}, "other", ("other",)) for i in range(6))]
    temperature, why = Validator(_spec(TaskKind.CLASSIFICATION), rows, 48).best_temperature(None)  # type: ignore[arg-type]
    assert tempered_scores({"a": 0.999, "b": 0.001}, temperature)["a"] == pytest.approx(0.9, abs=1e-3)
    assert "60 validation rows" in why


def test_where_no_label_is_chosen_no_temperature_is_fitted() -> None:
    assert Validator(_spec(TaskKind.SUMMARIZATION), ROWS, 48).best_temperature(None)[0] == 1.0  # type: ignore[arg-type]
