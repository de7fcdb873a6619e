from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from autogpt.errors import BadInput, ModelError, StoreError
from autogpt.search.trials import Report, Trial
from autogpt.store.connection import writing
from autogpt.store.database import Store, task_key
from autogpt.store.schema import RunRow, models, runs
from autogpt.types import MetricValue

SPEC = {
    "description": "给新闻分类",
    "kind": "classification",
    "input_fields": ["text"],
    "output_field": "label",
    "labels": ["a", "b"],
    "metric": "accuracy",
}
METRIC = MetricValue("accuracy", 0.9, (0.85, 0.95), 200, True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "home") as opened:
        yield opened


def start(store: Store, label: str = "zh topic", fingerprint: str = "f1") -> RunRow:
    return store.start_run(label, spec=SPEC, fingerprint=fingerprint, config={"budget": "10m"}, budget_s=600.0)


def make_trial(number: int, score: float = 0.5) -> Trial:
    reports = (Report(1 / 9, 0.1, 1.0, {"loss": 2.0}), Report(1.0, score, 9.0))
    return Trial(number, {"lr": 1e-3, "tied": True, "base": None}, "finished", reports, 9.5)


def change(store: Store, table: Any, **values: Any) -> None:
    with writing(store._engine) as connection:
        connection.execute(update(table).values(**values))


# -------------------------------------------------------------------- runs


def test_a_new_run(store: Store) -> None:
    run = start(store)
    assert run.id == run.folder.name
    assert run.id.startswith(time.strftime("%Y%m%d-"))
    assert run.id.endswith("-zh-topic")
    assert run.folder.is_dir()
    assert run.folder.parent == store.home / "runs"
    assert (run.state, run.budget_s, run.spent_s, run.ended, run.error) == ("running", 600.0, 0.0, None, "")
    assert (run.pid, run.host) == (os.getpid(), socket.gethostname())
    assert run.config == {"budget": "10m"}
    assert run.task_key == task_key(SPEC, "f1")
    assert store.task(run.task_key) == (SPEC, "f1")
    assert store.run(run.id) == run


def test_runs_of_the_same_second_have_their_own_folders(store: Store) -> None:
    started = [start(store) for _ in range(5)]
    assert len({run.folder for run in started}) == len({run.id for run in started}) == 5
    assert {run.id for run in store.runs()} == {run.id for run in started}
    assert len({run.task_key for run in started}) == 1


def test_runs_come_newest_first(store: Store) -> None:
    started = [start(store, label) for label in ("a", "b", "c")]
    assert [run.id for run in store.runs()] == [run.id for run in reversed(started)]


def test_rows_are_frozen(store: Store) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        start(store).state = "failed"  # type: ignore[misc]


def test_unknown_runs_are_refused_with_the_nearest_one(store: Store) -> None:
    with pytest.raises(BadInput, match="no run 'x'; there are no runs yet"):
        store.run("x")
    run = start(store)
    with pytest.raises(BadInput, match=f"did you mean '{run.id}'"):
        store.run(run.id[:-1])
    for call in (
        store.claim_run,
        lambda name: store.heartbeat(name, 1.0),
        lambda name: store.finish_run(name, "failed"),
    ):
        with pytest.raises(BadInput, match="no run"):
            call("nothing like it")
    assert store.trials("nothing like it") == []


def test_heartbeat_and_end(store: Store) -> None:
    run = start(store)
    store.heartbeat(run.id, 12.5)
    beaten = store.run(run.id)
    assert beaten.spent_s == 12.5
    assert beaten.heartbeat >= run.heartbeat
    store.finish_run(run.id, "failed", "out of memory", spent_s=20.0)
    ended = store.run(run.id)
    assert (ended.state, ended.error, ended.spent_s) == ("failed", "out of memory", 20.0)
    assert ended.ended is not None


def test_a_live_run_cannot_be_claimed(store: Store) -> None:
    run = start(store)
    with pytest.raises(StoreError, match=f"process {os.getpid()} on {socket.gethostname()}, since 2"):
        store.claim_run(run.id)
    change(store, runs, pid=os.getppid())
    with pytest.raises(StoreError, match="is being worked on"):
        store.claim_run(run.id)
    change(store, runs, pid=2**22 + 1, host="elsewhere")  # another machine: only its heartbeat speaks
    with pytest.raises(StoreError, match="on elsewhere"):
        store.claim_run(run.id)


@pytest.mark.parametrize(
    "left", [{"pid": 2**22 + 1}, {"heartbeat": 0.0}, {"host": "elsewhere", "heartbeat": 0.0}, {"state": "interrupted"}]
)
def test_an_abandoned_run_is_taken_over(store: Store, left: dict) -> None:
    run = start(store)
    store.heartbeat(run.id, 100.0)
    change(store, runs, **left)
    claimed = store.claim_run(run.id)
    assert (claimed.state, claimed.pid, claimed.host) == ("running", os.getpid(), socket.gethostname())
    assert claimed.spent_s == 100.0
    assert time.time() - claimed.heartbeat < 30
    store.record_trial(run.id, make_trial(0).to_dict())


def test_a_finished_run_is_not_resumed(store: Store) -> None:
    run = start(store)
    store.finish_run(run.id, "finished")
    with pytest.raises(BadInput, match="is finished; there is nothing to resume"):
        store.claim_run(run.id)


def test_a_process_that_lost_its_run_cannot_write_to_it(store: Store) -> None:
    run = start(store)
    change(store, runs, pid=4242, host="elsewhere")
    for write in (
        lambda: store.heartbeat(run.id, 1.0),
        lambda: store.record_trial(run.id, make_trial(0).to_dict()),
        lambda: store.finish_run(run.id, "finished"),
    ):
        with pytest.raises(StoreError, match="no longer held by this process; found process 4242 on elsewhere"):
            write()
    assert store.trials(run.id) == []
    assert store.run(run.id).state == "running"


# ------------------------------------------------------------------ trials


def test_trials_come_back_as_they_were(store: Store) -> None:
    run = start(store)
    originals = [
        make_trial(1),
        make_trial(0),
        Trial(2, {}, "failed", error="内存不足"),
        Trial(3, {"a": 1}, "stopped", reason="r"),
    ]
    for trial in originals:
        store.record_trial(run.id, trial.to_dict())
    rows = store.trials(run.id)
    assert [row.number for row in rows] == [0, 1, 2, 3]
    assert [Trial.from_dict(row.to_dict()) for row in rows] == sorted(originals, key=lambda trial: trial.number)
    assert [row.score for row in rows] == [0.5, 0.5, None, None]
    json.dumps([row.to_dict() for row in rows])


def test_a_trial_is_recorded_once(store: Store) -> None:
    run, other = start(store), start(store)
    store.record_trial(run.id, make_trial(0, 0.1).to_dict())
    store.record_trial(run.id, make_trial(0, 0.7).to_dict())
    store.record_trial(other.id, make_trial(0, 0.2).to_dict())
    assert [row.score for row in store.trials(run.id)] == [0.7]
    assert [row.score for row in store.trials(other.id)] == [0.2]


def test_a_score_that_is_no_number_is_refused(store: Store) -> None:
    run = start(store)
    row = {**make_trial(0).to_dict(), "config": {"lr": float("nan")}}
    with pytest.raises(StoreError, match="Out of range float"):
        store.record_trial(run.id, row)
    assert store.trials(run.id) == []


def test_threads_may_share_a_store(store: Store) -> None:
    run = start(store)
    faults: list[Exception] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 10):
                store.record_trial(run.id, make_trial(number).to_dict())
                store.heartbeat(run.id, float(number))
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert [row.number for row in store.trials(run.id)] == list(range(30))


RECORDER = """
import sys
from pathlib import Path
from autogpt.store.database import Store
store = Store(Path(sys.argv[1]))
run = store.start_run("killed", spec={"kind": "x"}, fingerprint="f", config={}, budget_s=1.0)
print(run.id, flush=True)
for number in range(100000):
    report = {"share": 1.0, "score": float(number), "seconds": 1.0, "info": {"text": "x" * 2000}}
    store.record_trial(run.id, {"number": number, "config": {"lr": number}, "state": "finished", "reports": [report]})
    print(number, flush=True)
"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    process = subprocess.Popen([sys.executable, "-c", RECORDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    acknowledged = [int(process.stdout.readline()) for _ in range(rng.randrange(5, 40))]
    time.sleep(rng.random() * 0.01)  # anywhere within a write
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().split()]
    process.wait()
    process.stdout.close()
    with sqlite3.connect(tmp_path / "autogpt.db") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    with Store(tmp_path) as store:
        numbers = [row.number for row in store.trials(run)]
        assert numbers == list(range(len(numbers)))
        assert acknowledged == numbers[: len(acknowledged)]
        assert len(numbers) - len(acknowledged) in (0, 1)  # one may have been written and not yet said
        assert all(len(row.reports[0]["info"]["text"]) == 2000 for row in store.trials(run))
        assert store.claim_run(run).pid == os.getpid()  # dead, so free at once
        store.record_trial(run, make_trial(len(numbers)).to_dict())


# ------------------------------------------------------------------ models


def model_folder(store: Store, name: str) -> Path:
    folder = store.home / "models" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


def test_a_model_is_known_by_its_name_and_its_task(store: Store) -> None:
    run = start(store)
    folder = model_folder(store, "news-topic")
    row = store.register_model("news-topic", folder=folder, metric=METRIC, run=run.id, description="给新闻分类")
    assert store.model("news-topic") == row
    assert store.models() == [row]
    assert (row.folder, row.run, row.task_key) == (folder, run.id, run.task_key)
    assert (row.metric_name, row.metric_value, row.ci95) == ("accuracy", 0.9, (0.85, 0.95))
    assert store.recall(run.task_key) == row
    assert store.recall("other") is None


def test_recall_takes_the_newest_whose_folder_is_there(store: Store) -> None:
    run = start(store)
    for name in ("one", "two", "three"):
        store.register_model(name, folder=model_folder(store, name), metric=METRIC, run=run.id)
    assert store.recall(run.task_key) == store.model("three")
    (store.model("three").folder / "config.json").unlink()
    store.model("three").folder.rmdir()
    assert store.recall(run.task_key) == store.model("two")


def test_a_name_is_given_once(store: Store) -> None:
    first = store.register_model("a", folder=model_folder(store, "a"), metric=METRIC)
    with pytest.raises(ModelError, match="there is a model 'a' already; choose another name, such as 'a-2'"):
        store.register_model("a", folder=model_folder(store, "b"), metric=METRIC)
    assert store.models() == [first]
    replaced = store.register_model("a", folder=store.home / "models" / "b", metric=METRIC, replace=True)
    assert replaced.folder.name == "b"
    assert store.models() == [replaced]


def test_free_names(store: Store) -> None:
    assert store.free_name("News topic") == "news-topic"
    for expected in ("news-topic", "news-topic-2", "news-topic-3"):
        assert store.free_name("News topic") == expected
        store.register_model(expected, folder=model_folder(store, expected), metric=METRIC)


def test_unknown_models_and_runs_are_refused(store: Store) -> None:
    with pytest.raises(ModelError, match="there are no models yet"):
        store.model("x")
    store.register_model("news-topic", folder=model_folder(store, "m"), metric=METRIC)
    for call in (store.model, store.remove_model):
        with pytest.raises(ModelError, match=r"no model 'news-topik'; did you mean 'news-topic'\?"):
            call("news-topik")
    with pytest.raises(BadInput, match="no run 'gone'"):
        store.register_model("y", folder=store.home, metric=METRIC, run="gone")


def test_removing_deletes_the_folder_below_the_home_only(store: Store, tmp_path: Path) -> None:
    inside, outside = model_folder(store, "inside"), tmp_path / "outside"
    outside.mkdir()
    store.register_model("inside", folder=inside, metric=METRIC)
    store.register_model("outside", folder=outside, metric=METRIC)
    store.register_model("home", folder=store.home, metric=METRIC)
    assert not store.remove_model("inside").folder.exists()
    assert store.remove_model("outside").folder.exists()
    assert store.remove_model("home").folder.exists()
    assert store.models() == []


def test_removing_leaves_what_others_use(store: Store) -> None:
    run = start(store)
    store.register_model("all", folder=store.home / "runs", metric=METRIC)
    store.remove_model("all")
    assert run.folder.exists()
    shared = model_folder(store, "shared")
    for name in ("a", "b"):
        store.register_model(name, folder=shared, metric=METRIC)
    assert store.remove_model("a").folder.exists()
    assert not store.remove_model("b").folder.exists()


def test_removing_follows_no_link_out_of_the_home(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("", encoding="utf-8")
    (store.home / "models").mkdir()
    link = store.home / "models" / "link"
    link.symlink_to(outside, target_is_directory=True)
    store.register_model("link", folder=link, metric=METRIC)
    store.remove_model("link")
    assert (outside / "kept").exists()


def test_removing_a_model_whose_folder_is_gone(store: Store) -> None:
    store.register_model("a", folder=store.home / "models" / "never", metric=METRIC)
    store.remove_model("a")
    assert store.models() == []


def test_a_home_can_be_moved(store: Store, tmp_path: Path) -> None:
    run = start(store)
    store.register_model("a", folder=model_folder(store, "a"), metric=METRIC, run=run.id)
    store.close()
    moved = store.home.rename(tmp_path / "搬 家")
    with Store(moved) as there:
        assert there.run(run.id).folder == moved / "runs" / run.id
        assert there.model("a").folder.is_dir()
        assert there.recall(run.task_key) == there.model("a")


def test_no_row_refers_to_nothing(store: Store) -> None:
    run = start(store)
    store.register_model("a", folder=model_folder(store, "a"), metric=METRIC, run=run.id)
    with pytest.raises(StoreError, match="FOREIGN KEY constraint failed"):
        change(store, models, run="gone")
