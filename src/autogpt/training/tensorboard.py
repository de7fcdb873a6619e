"""TensorBoard files, as one more consumer of events. Needs the extra `tensorboard`; without it nothing is written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autogpt.events import Consumer, Event

__all__ = ["tensorboard_consumer"]


def tensorboard_consumer(folder: Path) -> Consumer | None:
    """A consumer that writes a run a trial into `folder`, or None when the package is not installed."""
    return _Board(folder) if find_spec("tensorboard") is not None else None


_SCALARS = {
    "loss": "loss",
    "learning_rate": "lr",
    "gradient_norm": "grad_norm",
    "tokens_per_second": "tokens_per_s",
    "model_flops_utilization": "mfu",
    "memory_mb": "memory_mb",
    "epoch": "epoch",
}


class _Board:
    """Curves of each trial by step, its validation score, and answers of the finished model as text."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._name, self._step = folder, "trial-0", 0
        self._writer: Any = None

    def _board(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder / self._name), flush_secs=10)
        return self._writer

    def _scalar(self, tag: str, value: float) -> None:
        self._board().add_scalar(tag, value, self._step)

    def _switch(self, name: str) -> None:
        if self._writer is not None:
            self._writer.close()
        self._name, self._writer = name, None

    def __call__(self, event: Event) -> None:
        data = event.data
        if event.kind == "search.trial_started":
            self._switch(f"trial-{data['number']}")
        elif event.kind == "pipeline.stage" and data["stage"] in ("finish", "evaluate"):
            self._switch("winner")
        elif event.kind == "training.step":
            self._step = data["step"]
            if self._step % 10 == 0:
                for tag, key in _SCALARS.items():
                    if data.get(key) is not None:
                        self._scalar(tag, data[key])
        elif event.kind in ("search.trial_reported", "training.evaluated"):
            self._scalar("validation", data["score"] if "score" in data else data["value"])
        elif event.kind == "evaluation.samples":
            for place, row in enumerate(data["rows"]):
                shown = "\n\n".join(f"**{part}:** {row[part]}" for part in ("input", "expected", "answer"))
                self._board().add_text(f"samples/{place}", shown, self._step)
