"""TensorBoard files hold the curves of each trial, read back by TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from autogpt.events import Event
from autogpt.training.tensorboard import tensorboard_consumer


def test_each_trial_has_its_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = tensorboard_consumer(tmp_path)
    assert board is not None
    for step in range(1, 31):
        for number in (0, 1):  # side by side, as two workers tell it
            told = {"number": number, "step": step, "loss": 10.0 / step, "lr": 0.1, "mfu": 0.5, "memory_mb": None}
            board(Event("training.step", told))
    for number in (0, 1):
        board(Event("search.trial_reported", {"number": number, "score": 0.5 + number}))
        board(Event("search.trial_finished", {"trial": {"number": number}}))
    board(Event("pipeline.stage", {"stage": "evaluate"}))
    board(Event("evaluation.samples", {"rows": [{"input": "1+1", "expected": "two", "answer": "three"}]}))
    board(Event("pipeline.stage", {"stage": "finish"}))
    winner = EventAccumulator(str(tmp_path / "winner"))
    winner.Reload()
    (shown,) = winner.Tensors("samples/0/text_summary")
    assert "three" in shown.tensor_proto.string_val[0].decode()
    for number in (0, 1):
        read = EventAccumulator(str(tmp_path / f"trial-{number}"))
        read.Reload()
        assert [point.step for point in read.Scalars("loss")] == [10, 20, 30]
        assert "memory_mb" not in read.Tags()["scalars"]
        assert [point.value for point in read.Scalars("model_flops_utilization")] == [0.5] * 3
        assert [point.value for point in read.Scalars("validation")] == [0.5 + number]


def test_without_the_package_there_is_no_consumer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autogpt.training.tensorboard.find_spec", lambda _: None)
    assert tensorboard_consumer(tmp_path) is None
