from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from autogpt.search.trials import Report, Trial
from autogpt.store.database import Store


@pytest.fixture
def runs(home: Path) -> tuple[str, str]:
    """A finished run with three trials, and one that has none."""
    trials = [
        Trial(0, {"lr": 1e-3, "start": "scratch"}, "finished", (Report(1 / 3, 2.4, 3.0), Report(1.0, 1.9, 9.0)), 9.5),
        Trial(1, {"lr": 4e-4, "start": "base"}, "stopped", (Report(1 / 3, 2.6, 3.0),), 3.5, reason="place 2 of 2"),
        Trial(2, {"lr": 5e-3, "start": "base"}, "failed", (), 1.0, error="loss is not finite"),
    ]
    with Store(home) as store:
        task = {"spec": {"kind": "generation", "direction": "min"}, "config": {"description": "Poems."}}
        first = store.start_run("poems", fingerprint="f", budget_s=60.0, **task)
        for trial in trials:
            store.record_trial(first.id, trial.to_dict())
        store.finish_run(first.id, "finished", spent_s=20.0)
        second = store.start_run("other", fingerprint="g", budget_s=60.0, **task)
        store.finish_run(second.id, "interrupted")
    return first.id, second.id


def test_a_run_becomes_a_study(cli: Callable[..., Any], runs: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "poems.log"
    done = cli("runs", "export", runs[0], file)
    assert (done.code, f"3 trials as study {runs[0]}" in done.out, "optuna-dashboard" in done.err) == (0, True, True)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    study = optuna.load_study(study_name=runs[0], storage=storage)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert [trial.params["start"] for trial in study.trials] == ["scratch", "base", "base"]
    assert study.best_value == 1.9
    assert study.trials[2].user_attrs == {"error": "loss is not finite"}


def test_a_database_and_its_address(cli: Callable[..., Any], runs: tuple[str, str], tmp_path: Path) -> None:
    file = tmp_path / "poems.db"
    document = cli("runs", "export", runs[0], file, "--json").document
    assert document == {
        "run": runs[0],
        "file": str(file),
        "study": runs[0],
        "storage": f"sqlite:///{file}",
        "trials": 3,
    }
    storage = optuna.storages.RDBStorage(document["storage"])
    assert [trial.number for trial in optuna.load_study(study_name=runs[0], storage=storage).trials] == [0, 1, 2]
    storage.remove_session()
    storage.engine.dispose()


def test_what_cannot_be_exported_is_refused(cli: Callable[..., Any], runs: tuple[str, str], tmp_path: Path) -> None:
    done = cli("runs", "export", runs[1], tmp_path / "a.log")
    assert (done.code, "has no trials" in done.err) == (2, True)
    assert cli("runs", "export", runs[0], tmp_path / "a.log", "-q").out == f"{tmp_path / 'a.log'}\n"
    done = cli("runs", "export", runs[0], tmp_path / "a.log")
    assert (done.code, "there already" in done.err) == (2, True)
    assert cli("runs", "export", "no-such-run", tmp_path / "b.log").code == 2
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".log"] == ["a.log"]
