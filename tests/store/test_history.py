from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autogpt.errors import StoreError
from autogpt.store.artifacts import RunFolder
from autogpt.store.database import Store
from autogpt.store.history import FinishedSearch, finished_searches, training_rows

SPEC = {
    "description": "给新闻分类",
    "kind": "classification",
    "input_fields": ["text"],
    "output_field": "label",
    "labels": ["a", "财经"],
    "input_language": "zh",
    "output_language": "en",
    "metric": "accuracy",
    "direction": "max",
    "max_input_chars": 27,
    "max_output_chars": 2,
    "evidence": [{"field": "kind", "value": "classification"}],
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "home") as opened:
        yield opened


def record(store: Store, *, trials: int = 3, state: str = "finished", start: Any = "scratch", **spec: Any) -> str:
    """A run with so many trials, through the public way in."""
    given = {name: value for name, value in {**SPEC, **spec}.items() if value is not ...}
    run = store.start_run("topic", spec=given, fingerprint="f", config={}, budget_s=60.0)
    for number in range(trials):
        config = {"epochs": 10} if start is ... else {"start": start, "epochs": 10}
        row = {"number": number, "config": config if number == 0 else {"start": "other"}, "state": "finished"}
        store.record_trial(run.id, row)
    if state != "running":
        store.finish_run(run.id, state)
    return run.id


def found(store: Store, kind: str = "classification", **options: int) -> list[str]:
    return [one.run for one in finished_searches(store, kind, **{"fewest": 3, **options})]


def test_what_is_read_of_a_run(store: Store) -> None:
    run = record(store)
    (one,) = finished_searches(store, "classification", fewest=3)
    said = {name: value for name, value in SPEC.items() if name not in ("description", "evidence")}
    said = {name: value for name, value in said.items() if name not in ("input_fields", "output_field")}
    assert one == FinishedSearch(run, store.run(run).folder, said, "scratch", 60.0)


def test_finished_runs_of_the_kind_with_enough_trials_the_newest_first(store: Store) -> None:
    first = record(store)
    record(store, trials=2)
    record(store, trials=0)
    record(store, kind="extraction")
    for state in ("failed", "interrupted", "running"):
        record(store, state=state)
    second = record(store, trials=5)
    assert found(store) == [second, first]
    assert found(store, newest=1) == [second]
    assert found(store, fewest=5) == [second]
    assert found(store, "dialogue") == []


def test_a_spec_of_another_version(store: Store) -> None:
    record(store, labels=None, input_language=..., max_input_chars=..., start=...)
    (one,) = finished_searches(store, "classification", fewest=3)
    assert (one.spec["labels"], one.spec["input_language"], one.spec["max_input_chars"]) == (None, None, None)
    assert (one.spec["max_output_chars"], one.start) == (2, None)


def test_a_database_that_cannot_be_read(store: Store) -> None:
    record(store)
    store.close()
    for file in store.home.glob("autogpt.db*"):
        file.write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError):
        found(store)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"splits": null}', '{"splits": {"train": "7"}}'])
def test_rows_that_no_report_tells(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        RunFolder(tmp_path).report_json.write_text(text, encoding="utf-8")
    assert training_rows(tmp_path) is None


def test_rows_of_a_report(tmp_path: Path) -> None:
    report = {"model": "新闻", "splits": {"train": 2700, "valid": 300, "test": 1200}}
    RunFolder(tmp_path).report_json.write_text(json.dumps(report, ensure_ascii=False), encoding="utf-8")
    assert training_rows(tmp_path) == 2700
