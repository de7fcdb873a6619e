"""TensorBoard files hold the curves of each trial, read back by TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from autogpt.events import Consumer, Event
from autogpt.training.tensorboard import Board, on_board, tensorboard_consumer


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


def _step(step: int, loss: float) -> Event:
    return Event("training.step", {"number": 0, "step": step, "loss": loss})


def _losses(folder: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return [(point.step, point.value) for point in read.Scalars("loss")]


def test_a_run_within_a_run_has_a_board_of_its_own(tmp_path: Path) -> None:
    """Two parts, whose trials have the same number and the same steps."""
    pytest.importorskip("tensorboard")
    heard: list[Event] = []
    whole: list[Consumer] = [heard.append]
    with on_board(whole, tmp_path / "whole"):
        (board,) = [one for one in whole if isinstance(one, Board)]
        for part in (1, 2):
            consumers = list(whole)
            with on_board(consumers, tmp_path / f"part-{part}"):
                for step in (10, 20):
                    for consumer in consumers:
                        consumer(_step(step, float(part)))
            assert consumers == whole[:1]
        assert not (tmp_path / "whole").exists()
        for consumer in whole:
            consumer(_step(10, 3.0))
        assert board._writers
    assert not board._writers  # closed
    assert whole == [heard.append]
    assert len(heard) == 5
    assert [_losses(tmp_path / f"part-{part}" / "trial-0") for part in (1, 2)] == [
        [(10, 1.0), (20, 1.0)],
        [(10, 2.0), (20, 2.0)],
    ]
    assert _losses(tmp_path / "whole" / "trial-0") == [(10, 3.0)]


def test_what_is_open_is_closed_when_a_run_fails(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    consumers: list[Consumer] = []

    def failing() -> None:
        with on_board(consumers, tmp_path):
            consumers[0](_step(10, 1.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert consumers == []
    assert _losses(tmp_path / "trial-0") == [(10, 1.0)]


def test_a_run_without_a_board_writes_on_none(tmp_path: Path) -> None:
    consumers: list[Consumer] = [Board(tmp_path)]
    with on_board(consumers, None):
        assert consumers == []
    assert not list(tmp_path.iterdir())


def test_without_the_package_there_is_no_consumer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autogpt.training.tensorboard.find_spec", lambda _: None)
    assert tensorboard_consumer(tmp_path) is None
    consumers: list[Consumer] = []
    with on_board(consumers, tmp_path):
        assert consumers == []
