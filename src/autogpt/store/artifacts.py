"""Files of a run: their names, and writing them so that a reader never sees half of one.

A run folder can be read by a person without this program; the database only indexes it.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autogpt.errors import BadInput, StoreError

__all__ = ["RunFolder", "free_bytes", "require_free", "sync", "write_atomic", "write_json", "write_trials_csv"]


def write_atomic(path: Path, data: str | bytes) -> None:
    """Writes `data` (text as UTF-8) to `path`: after a crash either the old file is there or the whole new one.

    Written to a file beside it, synced, renamed over it, and the folder synced. The folder must exist. Raises
    StoreError and leaves nothing behind when it cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync(path.parent)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StoreError(
            f"{str(path)!r} cannot be written",
            found=error.strerror or str(error),
            todo="free some space on that disk" if full else "check the folder and its rights",
        ) from error


def sync(path: Path) -> None:
    """Makes a file, or the names in a folder, last through a power cut. Windows has no handle of a folder to flush."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """`value` as readable JSON, atomically. Raises ValueError for NaN and infinities, which JSON does not have."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The names of the files of a run. Nothing is created before `create`."""

    path: Path

    def create(self) -> RunFolder:
        """Makes the folder and returns it. Raises StoreError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{str(self.path)!r} cannot be made", found=error.strerror or str(error), todo="check its rights"
            ) from error
        return self

    @property
    def task(self) -> Path:
        """The understood task, YAML."""
        return self.path / "task.yaml"

    @property
    def config(self) -> Path:
        """The resolved configuration, each "auto" with its reason, YAML."""
        return self.path / "config.yaml"

    @property
    def events(self) -> Path:
        """Everything that happened, one JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def trials(self) -> Path:
        """One row a trial; see `write_trials_csv`."""
        return self.path / "trials.csv"

    @property
    def samples(self) -> Path:
        """Test rows with their predictions, one JSON object a line."""
        return self.path / "samples.jsonl"

    @property
    def report_md(self) -> Path:
        return self.path / "report.md"

    @property
    def report_html(self) -> Path:
        return self.path / "report.html"

    @property
    def report_json(self) -> Path:
        return self.path / "report.json"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def model(self) -> Path:
        """The finished model, Hugging Face layout."""
        return self.path / "model"

    @property
    def so_far(self) -> Path:
        """A usable model of the best trial so far, in the same layout; gone when the run is finished."""
        return self.path / "so-far"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of trials and of the winner, for resuming."""
        return self.path / "checkpoints"

    def rows(self, trial: int, share: float) -> Path:
        """What each validation row gave after `share` of a trial: NumPy arrays `rows` (of the metric) and `losses`."""
        return self.path / "validation" / f"trial-{trial}-{share:.3f}.npz"

    def checkpoint(self, name: str) -> Path:
        """The checkpoint folder called `name`, such as `trial-003` or `winner`."""
        return self.checkpoints / name


def write_trials_csv(path: Path, trials: Sequence[Mapping[str, Any]]) -> None:
    """One row a trial (`Trial.to_dict()` or `TrialRow.to_dict()`), one column a searched parameter, atomically.

    Text that a spreadsheet would take for a formula gets an apostrophe in front. Inactive parameters are empty cells.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial["config"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "score", "share", "seconds", *names, "reason", "error"])
    for trial in trials:
        share = max((report["share"] for report in trial.get("reports") or ()), default=0.0)
        row = [trial["number"], trial["state"], trial.get("score"), round(share, 6), round(trial["seconds"], 3)]
        row += [trial["config"].get(name) for name in names]
        row += [trial.get("reason") or "", trial.get("error") or ""]
        writer.writerow([_harmless(cell) for cell in row])
    write_atomic(path, text.getvalue())


def _harmless(cell: Any) -> Any:
    """A cell that no spreadsheet runs; numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write on the disk of `path`, which need not exist yet."""
    there = Path(path).absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return shutil.disk_usage(there).free


def require_free(path: Path, needed_bytes: int) -> None:
    """Raises BadInput when the disk of `path` has less than `needed_bytes` left. Reserves nothing."""
    free = free_bytes(path)
    if free < needed_bytes:
        raise BadInput(
            f"the disk of {str(path)!r} is too full",
            found=f"{_readable(free)} free",
            expected=f"at least {_readable(needed_bytes)}",
            todo="free some space or set AUTOGPT_HOME to another disk",
        )


def _readable(count_bytes: int) -> str:
    size, unit = float(count_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
