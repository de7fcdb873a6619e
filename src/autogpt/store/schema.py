"""The tables, and the rows as the rest of the program sees them.

Times are seconds since the epoch. Folders below the home are kept relative to it, so a home can be moved. A change here
needs a migration in `migrations/versions` and a new `HEAD`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

from autogpt.security.access import Role

__all__ = [
    "HEAD",
    "METADATA",
    "KeyRow",
    "ModelRow",
    "RunRow",
    "RunState",
    "TrialRow",
    "keys",
    "models",
    "runs",
    "tasks",
    "trials",
]

HEAD = "0003"
"""The migration that this code needs."""

RunState: TypeAlias = Literal["running", "finished", "failed", "interrupted"]

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

tasks = Table(
    "tasks",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("fingerprint", String(128), nullable=False),
    Column("created", Float, nullable=False),
)

runs = Table(
    "runs",
    METADATA,
    Column("id", String(200), primary_key=True),
    Column("task_key", String(64), ForeignKey("tasks.key"), nullable=False),
    Column("state", String(20), nullable=False),
    Column("folder", Text, nullable=False),
    Column("config", JSON, nullable=False),
    Column("budget_s", Float, nullable=False),
    Column("spent_s", Float, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("host", String(255), nullable=False),
    Column("heartbeat", Float, nullable=False),
    Column("created", Float, nullable=False),
    Column("ended", Float),
    Column("error", Text, nullable=False),
    Index(None, "task_key"),
)

trials = Table(
    "trials",
    METADATA,
    Column("run", String(200), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("config", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Column("reports", JSON, nullable=False),
    Column("score", Float),
    Column("seconds", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("lost", Integer, nullable=False, server_default="0"),
)

models = Table(
    "models",
    METADATA,
    Column("name", String(200), primary_key=True),
    Column("run", String(200), ForeignKey("runs.id", ondelete="SET NULL")),
    Column("task_key", String(64), ForeignKey("tasks.key")),
    Column("folder", Text, nullable=False),
    Column("metric_name", String(100), nullable=False),
    Column("metric_value", Float, nullable=False),
    Column("ci_low", Float, nullable=False),
    Column("ci_high", Float, nullable=False),
    Column("created", Float, nullable=False),
    Column("description", Text, nullable=False),
    Index(None, "task_key"),
)

keys = Table(
    "keys",
    METADATA,
    Column("name", String(100), primary_key=True),
    Column("id", String(20), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("role", String(20), nullable=False),
    Column("models", JSON(none_as_null=True)),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Column("used", Float),
    Index(None, "id", unique=True),
)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run. `pid`, `host` and `heartbeat` belong to the process that holds it while `state` is running."""

    id: str
    task_key: str
    state: RunState
    folder: Path
    config: Mapping[str, Any]
    budget_s: float
    spent_s: float
    pid: int
    host: str
    heartbeat: float
    created: float
    ended: float | None
    error: str


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial as it was recorded. `search.study.Trial.from_dict(row.to_dict())` is the trial."""

    run: str
    number: int
    config: Mapping[str, Any]
    state: str
    reports: tuple[Mapping[str, Any], ...]
    score: float | None
    seconds: float
    reason: str
    error: str
    lost: int

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reports": list(self.reports)}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that can be used by its name. `metric_value` is its test score with a 95 % interval."""

    name: str
    run: str | None
    task_key: str | None
    folder: Path
    metric_name: str
    metric_value: float
    ci95: tuple[float, float]
    created: float
    description: str


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An access key without its digest: what may be listed. `id` is the public part of the key itself.

    `models` are the names it is limited to, None for no limit; `used` is right to a minute.
    """

    name: str
    id: str
    role: Role
    models: tuple[str, ...] | None
    created: float
    expires: float | None
    revoked: float | None
    used: float | None
