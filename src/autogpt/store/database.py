"""What is known about runs, their trials and the models they made. It indexes run folders; it is never the only copy.

Every method is one transaction and is on disk when it returns. Importing this module imports SQLAlchemy, so whoever
needs it does so when it is needed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Row, Table, delete, insert, select, update

from autogpt.errors import BadInput, ModelError, StoreError
from autogpt.registry import did_you_mean
from autogpt.store import schema
from autogpt.store.connection import open_engine, reading, upgrade, writing
from autogpt.store.keys import slug, task_key
from autogpt.store.leases import is_live, this_process
from autogpt.store.schema import ModelRow, RunRow, TrialRow
from autogpt.types import MetricValue

__all__ = ["ModelRow", "RunRow", "Store", "TrialRow", "slug", "task_key"]


class Store:
    """The database of one home.

    Args:
        home: holds `autogpt.db` (unless `AUTOGPT_DATABASE_URL` names another database), `runs/` and `models/`.

    Opening creates or migrates the schema. All methods raise StoreError when the database cannot be read or written.
    Safe to use from several threads and processes; not across a fork.
    """

    def __init__(self, home: Path) -> None:
        self.home = Path(home).expanduser().absolute()
        self._engine = open_engine(self.home)
        try:
            upgrade(self._engine)
        except BaseException:
            self._engine.dispose()
            raise

    @property
    def engine(self) -> Engine:
        """For queries that have a file of their own, such as `history.py`."""
        return self._engine

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------- runs

    def start_run(
        self, label: str, *, spec: Mapping[str, Any], fingerprint: str, config: Mapping[str, Any], budget_s: float
    ) -> RunRow:
        """A new run held by this process, with an empty folder of its own.

        Args:
            label: a few words for its id, such as the model's name; the id becomes `20261123-143205-zh-topic`.
            spec: the task, plain JSON. config: the resolved configuration, plain JSON.
            fingerprint: of the data.
            budget_s: wall-clock of the whole run.
        """
        now, key = time.time(), task_key(spec, fingerprint)
        folder = self._new_folder(f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{slug(label)}")
        row = {
            "id": folder.name,
            "task_key": key,
            "state": "running",
            "folder": self._stored(folder),
            "config": dict(config),
            "budget_s": budget_s,
            "spent_s": 0.0,
            **this_process(),
            "heartbeat": now,
            "created": now,
            "ended": None,
            "error": "",
        }
        try:
            with writing(self._engine) as connection:
                if connection.execute(select(schema.tasks.c.key).where(schema.tasks.c.key == key)).first() is None:
                    task = {"key": key, "spec": dict(spec), "fingerprint": fingerprint, "created": now}
                    connection.execute(insert(schema.tasks), task)
                connection.execute(insert(schema.runs), row)
        except StoreError:
            folder.rmdir()
            raise
        return self.run(folder.name)

    def claim_run(self, run: str) -> RunRow:
        """Takes over a run in order to resume it; it is held by this process afterwards.

        Raises BadInput for an unknown or finished run, StoreError when a live process holds it: one that was heard of
        less than a minute ago and, when it is on this machine, still exists.
        """
        with writing(self._engine) as connection:
            row = self._run(connection, run)
            if row.state == "finished":
                raise BadInput(f"run {run!r} is finished", todo="there is nothing to resume; start a new one")
            if row.state == "running" and is_live(row.pid, row.host, row.heartbeat):
                raise StoreError(
                    f"run {run!r} is being worked on",
                    found=f"process {row.pid} on {row.host}, since {_local_time(row.created)}, last heard of "
                    f"{max(0.0, time.time() - row.heartbeat):.0f} s ago",
                    todo="wait for it or stop it first",
                )
            now = time.time()
            values = {"state": "running", "heartbeat": now, "ended": None, "error": "", **this_process()}
            connection.execute(update(schema.runs).where(schema.runs.c.id == run).values(values))
            return self._run(connection, run)

    def heartbeat(self, run: str, spent_s: float) -> None:
        """Says that this process is alive and what is spent of the budget. Raises StoreError when it lost the run."""
        with writing(self._engine) as connection:
            self._held(connection, run)
            values = {"heartbeat": time.time(), "spent_s": spent_s}
            connection.execute(update(schema.runs).where(schema.runs.c.id == run).values(values))

    def finish_run(
        self,
        run: str,
        state: Literal["finished", "failed", "interrupted"],
        error: str = "",
        *,
        spent_s: float | None = None,
    ) -> None:
        """Ends the run; `spent_s` counts what was spent since the last heartbeat."""
        now = time.time()
        values: dict[str, Any] = {"state": state, "error": error, "ended": now, "heartbeat": now}
        if spent_s is not None:
            values["spent_s"] = spent_s
        with writing(self._engine) as connection:
            self._held(connection, run)
            connection.execute(update(schema.runs).where(schema.runs.c.id == run).values(values))

    def run(self, run: str) -> RunRow:
        """The run. Raises BadInput with the nearest id when there is none."""
        with reading(self._engine) as connection:
            return self._run(connection, run)

    def runs(self) -> list[RunRow]:
        """All runs, the newest first."""
        with reading(self._engine) as connection:
            order = (schema.runs.c.created.desc(), schema.runs.c.id.desc())
            return [self._run_row(row) for row in connection.execute(select(schema.runs).order_by(*order))]

    def task(self, key: str) -> tuple[Mapping[str, Any], str]:
        """The spec and the data fingerprint under a task key. Raises StoreError when there is none."""
        with reading(self._engine) as connection:
            row = connection.execute(select(schema.tasks).where(schema.tasks.c.key == key)).first()
        if row is None:
            raise StoreError(f"no task {key!r} in the database")
        return row.spec, row.fingerprint

    # -------------------------------------------------------------- trials

    def record_trial(self, run: str, trial: Mapping[str, Any]) -> None:
        """Writes a trial (`Trial.to_dict()`), in place of an earlier record of the same number.

        Raises StoreError when the run is no longer held by this process: the process that took it over may have run
        the same trial.
        """
        row = {
            "config": dict(trial["config"]),
            "state": trial["state"],
            "reports": list(trial.get("reports") or ()),
            "score": trial.get("score"),
            "seconds": float(trial.get("seconds") or 0.0),
            "reason": trial.get("reason") or "",
            "error": trial.get("error") or "",
            "lost": int(trial.get("lost") or 0),
        }
        key = {"run": run, "number": int(trial["number"])}
        with writing(self._engine) as connection:
            self._held(connection, run)
            _upsert(connection, schema.trials, key, row)

    def trials(self, run: str) -> list[TrialRow]:
        """The trials of a run by number; empty for a run that has none or is not there."""
        table = schema.trials
        with reading(self._engine) as connection:
            found = connection.execute(select(table).where(table.c.run == run).order_by(table.c.number)).all()
        return [TrialRow(**{**row._asdict(), "reports": tuple(row.reports)}) for row in found]

    # -------------------------------------------------------------- models

    def register_model(
        self,
        name: str,
        *,
        folder: Path,
        metric: MetricValue,
        run: str | None = None,
        description: str = "",
        replace: bool = False,
    ) -> ModelRow:
        """Gives a model folder a name.

        Args:
            name: see `free_name`. folder: as `models.hub.save_model` wrote it; it is not moved.
            metric: the deciding metric on test data.
            run: the run that made it; its task is what `recall` finds the model by.
            replace: whether a model of the same name gives way (its folder stays).

        Raises ModelError when the name is taken and `replace` is not set, BadInput for an unknown run.
        """
        row: dict[str, Any] = {
            "run": run,
            "folder": self._stored(folder),
            "metric_name": metric.name,
            "metric_value": metric.value,
            "ci_low": metric.ci95[0],
            "ci_high": metric.ci95[1],
            "created": time.time(),
            "description": description,
        }
        with writing(self._engine) as connection:
            row["task_key"] = None if run is None else self._run(connection, run).task_key
            if not replace and name in _model_names(connection):
                raise ModelError(
                    f"there is a model {name!r} already", todo=f"choose another name, such as {self.free_name(name)!r}"
                )
            _upsert(connection, schema.models, {"name": name}, row)
        return self.model(name)

    def free_name(self, wanted: str) -> str:
        """`wanted` as a slug, or the first of `wanted-2`, `wanted-3`, … that no model has."""
        base = slug(wanted)
        with reading(self._engine) as connection:
            taken = _model_names(connection)
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}-{count}"
        return name

    def recall(self, key: str) -> ModelRow | None:
        """The newest model of the task with this `task_key` whose folder is still there; None when there is none."""
        return next((row for row in self.models() if row.task_key == key and row.folder.is_dir()), None)

    def models(self) -> list[ModelRow]:
        """All models, the newest first."""
        with reading(self._engine) as connection:
            order = (schema.models.c.created.desc(), schema.models.c.name)
            return [self._model_row(row) for row in connection.execute(select(schema.models).order_by(*order))]

    def model(self, name: str) -> ModelRow:
        """The model. Raises ModelError with the nearest name when there is none."""
        with reading(self._engine) as connection:
            row = connection.execute(select(schema.models).where(schema.models.c.name == name)).first()
            if row is None:
                raise ModelError(f"no model {name!r}", todo=_nearest(name, _model_names(connection), "models"))
            return self._model_row(row)

    def remove_model(self, name: str) -> ModelRow:
        """Forgets a model and deletes its folder when that lies below the home and nothing else uses it.

        Returns the removed row; `row.folder.exists()` tells whether the folder was left. Raises ModelError.
        """
        row = self.model(name)
        with writing(self._engine) as connection:
            connection.execute(delete(schema.models).where(schema.models.c.name == name))
        folder, home = row.folder.resolve(), self.home.resolve()
        used = [other.folder for other in self.models()] + [other.folder for other in self.runs()]
        if folder.is_relative_to(home) and folder != home and not any(_inside(path, folder) for path in used):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                pass  # it was gone already, which is what was wanted
            except OSError as error:
                raise StoreError(f"the folder of {name!r} cannot be deleted", found=str(error)) from error
        return row

    # ------------------------------------------------------------- details

    def _new_folder(self, name: str) -> Path:
        """A new folder in `runs/`, with `-2`, `-3`, … after the name when it is taken."""
        parent = self.home / "runs"
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for count in range(1, 10_000):
                folder = parent / (name if count == 1 else f"{name}-{count}")
                try:
                    folder.mkdir()
                except FileExistsError:
                    continue
                return folder
        except OSError as error:
            raise StoreError(f"no run folder can be made in {str(parent)!r}", found=str(error)) from error
        raise StoreError(f"{str(parent)!r} is full of runs named {name!r}")

    def _stored(self, folder: Path) -> str:
        path = Path(folder).expanduser().absolute()
        return path.relative_to(self.home).as_posix() if path.is_relative_to(self.home) else str(path)

    def _run(self, connection: Connection, run: str) -> RunRow:
        row = connection.execute(select(schema.runs).where(schema.runs.c.id == run)).first()
        if row is None:
            known = {str(name) for name in connection.execute(select(schema.runs.c.id)).scalars()}
            raise BadInput(f"no run {run!r}", todo=_nearest(run, known, "runs"))
        return self._run_row(row)

    def _held(self, connection: Connection, run: str) -> None:
        row = self._run(connection, run)
        if {"pid": row.pid, "host": row.host} != this_process():
            raise StoreError(
                f"run {run!r} is no longer held by this process",
                found=f"process {row.pid} on {row.host} took it over",
                todo="this process must stop working on it",
            )

    def _run_row(self, row: Row[Any]) -> RunRow:
        return RunRow(**{**row._asdict(), "folder": self.home / row.folder})

    def _model_row(self, row: Row[Any]) -> ModelRow:
        values = row._asdict()
        ci95 = (values.pop("ci_low"), values.pop("ci_high"))
        return ModelRow(**{**values, "folder": self.home / row.folder}, ci95=ci95)


def _upsert(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Updates the row with this key or inserts it; the transaction holds the write lock, so nobody comes between."""
    there = [table.c[name] == value for name, value in key.items()]
    if connection.execute(update(table).where(*there).values(**values)).rowcount == 0:
        connection.execute(insert(table), {**key, **values})


def _model_names(connection: Connection) -> set[str]:
    return {str(name) for name in connection.execute(select(schema.models.c.name)).scalars()}


def _nearest(name: str, known: set[str], kind: str) -> str:
    return did_you_mean(name, sorted(known)) if known else f"there are no {kind} yet"


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
