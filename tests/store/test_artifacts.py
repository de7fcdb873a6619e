from __future__ import annotations

import csv
import errno
import os
from collections import namedtuple
from pathlib import Path

import pytest

from autogpt.errors import BadInput, StoreError
from autogpt.store.artifacts import RunFolder, free_bytes, require_free, write_atomic, write_json, write_trials_csv


def test_writes_text_and_bytes(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "话\n")
    write_atomic(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == "话\n".encode()
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_fault_at_any_step_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "config.yaml"
    write_atomic(path, "old")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "replace":
        monkeypatch.setattr(Path, "replace", fails)
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", fails)
    else:
        real_open = Path.open

        def full_disk(self: Path, mode: str = "r", **options: object):  # type: ignore[no-untyped-def]
            file = real_open(self, mode, **options)  # type: ignore[arg-type]
            file.close()
            return real_open(Path("/dev/full"), "wb") if "x" in mode else real_open(self, mode)

        monkeypatch.setattr(Path, "open", full_disk)
    with pytest.raises(StoreError, match="No space left on device; free some space on that disk") as caught:
        write_atomic(path, "new")
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        write_atomic(tmp_path / "no" / "file", "x")


def test_the_file_is_synced_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        real_fsync(handle)

    def replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_atomic(tmp_path / "a", "x")
    assert steps == (["file", "rename", "folder"] if os.path.isdir("/proc/self/fd") else ["file", "rename", "file"])


def test_json_is_readable_and_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"名": [1, 0.5, None]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n  "名": [\n')
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert "名" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_names_of_a_run_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "one").create()
    assert run.path.is_dir()
    names = [run.task, run.config, run.events, run.trials, run.samples, run.report_md, run.report_html, run.report_json]
    assert [path.name for path in names] == [
        "task.yaml",
        "config.yaml",
        "events.jsonl",
        "trials.csv",
        "samples.jsonl",
        "report.md",
        "report.html",
        "report.json",
    ]
    assert [path.name for path in (run.tensorboard, run.model, run.checkpoints)] == [
        "tensorboard",
        "model",
        "checkpoints",
    ]
    assert run.checkpoint("winner") == run.checkpoints / "winner"
    assert run.create() == run
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be made"):
        RunFolder(tmp_path / "file" / "run").create()


def test_trials_as_a_table(tmp_path: Path) -> None:
    trials = [
        {
            "number": 0,
            "config": {"start": "scratch", "width": 64},
            "state": "stopped",
            "score": -0.25,
            "reports": [{"share": 1 / 9}, {"share": 1 / 3}],
            "seconds": 1.23456,
            "reason": "place 3 of 4",
            "error": "",
        },
        {
            "number": 1,
            "config": {"start": "=1+1", "lr": 1e-3},
            "state": "failed",
            "seconds": 2,
            "error": 'no "memory", 内存',
        },
    ]
    write_trials_csv(tmp_path / "trials.csv", trials)
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["number", "state", "score", "share", "seconds", "start", "width", "lr", "reason", "error"],
        ["0", "stopped", "-0.25", "0.333333", "1.235", "scratch", "64", "", "place 3 of 4", ""],
        ["1", "failed", "", "0.0", "2", "'=1+1", "", "0.001", "", 'no "memory", 内存'],
    ]
    write_trials_csv(tmp_path / "trials.csv", [])
    assert (tmp_path / "trials.csv").read_text(encoding="utf-8").count("\n") == 1


def test_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes(tmp_path / "not" / "there" / "yet") > 0
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 5 * 1024**2))
    require_free(tmp_path, 5 * 1024**2)
    with pytest.raises(BadInput, match=r"too full; found 5\.0 MiB free; expected at least 2\.0 GiB") as caught:
        require_free(tmp_path, 2 * 1024**3)
    assert caught.value.exit_code == 2
