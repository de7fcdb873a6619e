"""TensorBoard files, as one more consumer of events. Needs the extra `tensorboard`; without it nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autogpt.events import Consumer, Event

__all__ = ["Board", "on_board", "tensorboard_consumer"]


def tensorboard_consumer(folder: Path) -> Board | None:
    """A consumer that writes a run a trial into `folder`, or None when the package is not installed."""
    return Board(folder) if find_spec("tensorboard") is not None else None


@contextmanager
def on_board(consumers: list[Consumer], folder: Path | None) -> Iterator[None]:
    """A board in `folder` that is the last of the consumers until this ends, and no other: its files are closed then.

    Curves of several runs would clash in one folder, where all of them have a trial 0.

    Args:
        consumers: of one run, changed in place. Boards among them are those of a run that this one is a part of.
        folder: None for no board; others are taken out all the same.
    """
    consumers[:] = [consumer for consumer in consumers if not isinstance(consumer, Board)]
    board = None if folder is None else tensorboard_consumer(folder)
    if board is None:
        yield
        return
    consumers.append(board)
    try:
        yield
    finally:
        consumers.remove(board)
        board.close()


_SCALARS = {
    "loss": "loss",
    "learning_rate": "lr",
    "gradient_norm": "grad_norm",
    "tokens_per_second": "tokens_per_s",
    "model_flops_utilization": "mfu",
    "memory_mb": "memory_mb",
    "epoch": "epoch",
}


class Board:
    """Curves of each trial by step, its validation score, and answers of the finished model as text."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._name = folder, "trial-0"
        self._writers: dict[str, Any] = {}
        self._steps: dict[str, int] = {}

    def _board(self, name: str) -> Any:
        if name not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[name] = SummaryWriter(str(self._folder / name), flush_secs=10)
        return self._writers[name]

    def close(self) -> None:
        """Finish all files; what comes later opens new ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _scalar(self, name: str, tag: str, value: float) -> None:
        self._board(name).add_scalar(tag, value, self._steps.get(name, 0))

    def __call__(self, event: Event) -> None:
        data = event.data
        if event.kind == "pipeline.stage" and data["stage"] in ("finish", "evaluate"):
            self.close()
            self._name = "winner"
        # Trials may run side by side; what has no number belongs to the one model of the stage.
        name = f"trial-{data['number']}" if "number" in data else self._name
        if event.kind == "search.trial_finished":
            number = data["trial"]["number"]
            if (writer := self._writers.pop(f"trial-{number}", None)) is not None:
                writer.close()
        elif event.kind == "training.step":
            self._steps[name] = data["step"]
            if data["step"] % 10 == 0:
                for tag, key in _SCALARS.items():
                    if data.get(key) is not None:
                        self._scalar(name, tag, data[key])
        elif event.kind in ("search.trial_reported", "training.evaluated"):
            self._scalar(name, "validation", data["score"] if "score" in data else data["value"])
        elif event.kind == "evaluation.samples":
            for place, row in enumerate(data["rows"]):
                shown = "\n\n".join(f"**{part}:** {row[part]}" for part in ("input", "expected", "answer"))
                self._board(name).add_text(f"samples/{place}", shown, self._steps.get(name, 0))
