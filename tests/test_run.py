"""A run that is silent for long still says that it lives, and says when it goes wrong."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autogpt import run as run_module
from autogpt.config import RunConfig
from autogpt.errors import StoreUnavailable, TrainingError
from autogpt.events import Event
from autogpt.run import Run, recorded
from autogpt.search.racing import Budget
from autogpt.store import connection
from autogpt.store.artifacts import RunFolder
from autogpt.store.database import Store


def _run(home: Path) -> Run:
    store = Store(home)
    row = store.start_run("quiet", spec={}, fingerprint="f", config={}, budget_s=60.0)
    return Run(row, RunFolder(row.folder), RunConfig(), store, Budget(60.0), [])


def test_a_silent_run_still_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_HEARTBEAT_S", 0.02)
    run = _run(tmp_path)
    first = run.store.run(run.row.id).heartbeat
    with recorded(run):
        until = time.monotonic() + 20
        while run.store.run(run.row.id).heartbeat == first and time.monotonic() < until:
            time.sleep(0.01)
        assert run.store.run(run.row.id).heartbeat > first
    ended = run.store.run(run.row.id)
    assert ended.state == "finished"
    time.sleep(0.1)
    assert run.store.run(run.row.id).heartbeat == ended.heartbeat


def test_what_the_watch_notices_reaches_every_consumer(tmp_path: Path) -> None:
    run, heard = _run(tmp_path), []
    run.consumers.append(lambda event: heard.append(event.kind))
    with recorded(run):
        for step in range(1, 260):
            run.take(Event("training.step", {"step": step, "loss": 8.0, "grad_norm": 1.0}))
    assert heard.count("training.noticed") == 1
    assert "dead learning rate" in run.folder.events.read_text(encoding="utf-8")


@contextmanager
def _locked(home: Path) -> Iterator[sqlite3.Connection]:
    other = sqlite3.connect(home / "autogpt.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


def test_a_run_waits_for_a_database_that_is_gone_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 10)
    monkeypatch.setattr(run_module, "_PAUSE_S", 0.01)
    run, notes = _run(tmp_path), []
    run.consumers.append(lambda event: notes.append(event.data["message"]))
    with _locked(tmp_path) as other:
        threading.Timer(0.3, other.execute, ["COMMIT"]).start()
        run.keep(lambda: run.store.record_trial(run.row.id, {"number": 0, "config": {}, "state": "running"}))
    assert len(run.store.trials(run.row.id)) == 1
    assert notes == ["the database cannot be used (database is locked): waiting for it"]


def test_a_database_that_stays_away_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 10)
    monkeypatch.setattr(run_module, "_PAUSE_S", 0.01)
    monkeypatch.setattr(run_module, "_PATIENCE_S", 0.1)
    run = _run(tmp_path)
    with _locked(tmp_path), pytest.raises(StoreUnavailable, match="database is locked"):
        run.stage("search")


def test_why_a_run_ended_is_not_hidden_by_a_database_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 10)
    run = _run(tmp_path)
    with _locked(tmp_path), pytest.raises(TrainingError, match="the loss is nan"), recorded(run):
        raise TrainingError("the loss is nan")
