"""The finished searches of a store, for a new search to learn from.

Read from what every run has always written down: its row, its task, its trials, and the report in its folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import exists, select

from autogpt.store import schema
from autogpt.store.artifacts import RunFolder
from autogpt.store.connection import reading
from autogpt.store.database import Store

__all__ = ["FinishedSearch", "finished_searches", "training_rows"]

_NEWEST = 1000
"""Runs that are looked at. With more, a user would begin to wait."""
_WORDS = ("kind", "metric", "direction", "input_language", "output_language")
_COUNTS = ("max_input_chars", "max_output_chars")
"""Fields of a spec that are read: whole ones are long, and a thousand of them would take longer than all else here."""


@dataclass(frozen=True, slots=True)
class FinishedSearch:
    """A finished run as far as one query tells it; its trials are `Store.trials(run)`.

    Attributes:
        spec: of the task as it was understood: kind, metric, direction, languages, labels and most characters. None
            stands for what its version did not write down.
        start: what the first trial started from, `scratch` or a base.
        budget_s: wall-clock of the whole run.
    """

    run: str
    folder: Path
    spec: Mapping[str, Any]
    start: str | None
    budget_s: float


def finished_searches(
    store: Store, kind: str, *, fewest: int, before: float = math.inf, newest: int = _NEWEST
) -> list[FinishedSearch]:
    """The runs of tasks of this kind that were finished before a moment (seconds since the epoch) and had started
    `fewest` trials or more, the newest first, at most `newest`.

    Whether the trials have scores is not looked at. Raises StoreError when the database cannot be read.
    """
    runs, tasks, trials = schema.runs, schema.tasks, schema.trials
    # Looked up a run at a time: joined, SQLite would read every trial of the database.
    start = select(trials.c.config["start"].as_string()).where(trials.c.run == runs.c.id, trials.c.number == 0)
    enough = exists().where(trials.c.run == runs.c.id, trials.c.number >= fewest - 1)
    spec = {name: tasks.c.spec[name].as_string() for name in _WORDS}
    spec |= {name: tasks.c.spec[name].as_integer() for name in _COUNTS} | {"labels": tasks.c.spec["labels"]}
    query = (
        select(runs.c.id, runs.c.folder, runs.c.budget_s, start.scalar_subquery(), *spec.values())
        .join(tasks, tasks.c.key == runs.c.task_key)
        .where(runs.c.state == "finished", runs.c.ended < before, spec["kind"] == kind, enough)
        .order_by(runs.c.created.desc(), runs.c.id.desc())
        .limit(newest)
    )
    with reading(store.engine) as connection:
        return [
            FinishedSearch(run, store.home / folder, dict(zip(spec, said, strict=True)), began, budget_s)
            for run, folder, budget_s, began, *said in connection.execute(query)
        ]


def training_rows(folder: Path) -> int | None:
    """How many rows the run in this folder was trained on, as its report has it; None when it does not tell."""
    try:
        report = json.loads(RunFolder(folder).report_json.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Folders of old runs may be deleted or edited by hand, which is no reason to refuse a new one.
        return None
    splits = report.get("splits") if isinstance(report, dict) else None
    rows = splits.get("train") if isinstance(splits, dict) else None
    return rows if isinstance(rows, int) else None
