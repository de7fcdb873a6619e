"""Events and the file they are written to."""

from __future__ import annotations

import json
from pathlib import Path

from autogpt.events import Event, JsonlConsumer


def test_every_event_is_on_disk_at_once_and_appended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = JsonlConsumer(path)
    log(Event("training.step", {"step": 1, "loss": 0.5}, time_s=12.3456))
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "time_s": 12.346,
        "kind": "training.step",
        "step": 1,
        "loss": 0.5,
    }
    log.close()
    again = JsonlConsumer(path)  # a resumed run goes on in the same file
    again(Event("pipeline.note", {"message": "继续", "path": tmp_path}))
    again.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert "继续" in lines[1]
    assert json.loads(lines[1])["path"] == str(tmp_path)
