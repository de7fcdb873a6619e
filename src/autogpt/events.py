"""One record for everything that happens, and the consumers' protocol.

Training, search and the pipeline are generators of events; printing, TensorBoard, the JSONL file and the database are
consumers that are handed each event in turn. `kind` is a dotted name whose first part is the room it comes from
(`training.step`, `search.trial_finished`, `pipeline.stage`); `data` is plain JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

__all__ = ["Consumer", "Event", "JsonlConsumer"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: what (`kind`), when (`time_s`, seconds since the epoch) and its plain-JSON details."""

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    time_s: float = field(default_factory=time.time)


class Consumer(Protocol):
    """Takes each event in turn. Must not raise for an event it does not know."""

    def __call__(self, event: Event) -> None: ...


class JsonlConsumer:
    """Appends every event to a file, one JSON object a line, flushed at once so that a crash loses nothing said."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def __call__(self, event: Event) -> None:
        row = {"time_s": round(event.time_s, 3), "kind": event.kind, **event.data}
        self._file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
