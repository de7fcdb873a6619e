"""The way into the database: where it is, how it is opened, brought to the newest schema, and how its errors read.

SQLite in the home by default, `AUTOGPT_DATABASE_URL` otherwise. SQLite runs with a write-ahead log (readers never wait)
and `synchronous=FULL`: what was acknowledged survives a killed process and a power cut.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url, text

from autogpt.errors import ConfigError, StoreError, StoreUnavailable
from autogpt.store.schema import HEAD

__all__ = ["database_url", "open_engine", "reading", "upgrade", "writing"]

BUSY_TIMEOUT_MS = 10_000
MIGRATION_LOCK = 7_242_019  # any number that only we use: PostgreSQL's advisory lock around migrations


def database_url(home: Path) -> str:
    """`$AUTOGPT_DATABASE_URL`, or the SQLite file in `home`."""
    return os.environ.get("AUTOGPT_DATABASE_URL") or f"sqlite:///{home / 'autogpt.db'}"


def open_engine(home: Path) -> Engine:
    """An engine for the database of `home`; nothing is read or written yet, but `home` exists afterwards.

    Raises ConfigError for an address that cannot be used, StoreError when the home cannot be written.
    """
    address = database_url(home)
    try:
        url = make_url(address)
        engine = create_engine(url, json_serializer=partial(json.dumps, ensure_ascii=False, allow_nan=False))
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
        # the address itself may hold a password and is not shown
        raise ConfigError(
            "AUTOGPT_DATABASE_URL cannot be used",
            found=str(error).replace(address, "…"),
            expected="an address such as postgresql+psycopg://user@host/name, and its driver installed",
        ) from error
    if url.get_backend_name() == "sqlite":
        _prepare_home(home, default_file=address == f"sqlite:///{home / 'autogpt.db'}")
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_home(home: Path, *, default_file: bool) -> None:
    """Creates the home and an empty database that only its owner can read (SQLite gives its log the same rights)."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if default_file:
            (home / "autogpt.db").touch(mode=0o600)
    except OSError as error:
        raise StoreError(
            f"{str(home)!r} cannot be written",
            found=error.strerror or str(error),
            todo="set AUTOGPT_HOME to a folder that you may write",
        ) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver would start transactions at its own discretion (and none before DDL); `_begin_sqlite` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Once in a database's life. SQLite's own timeout does not hold here: it refuses at once while another writes."""
    end = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    # A writer asks for the lock at once: upgrading a read lock later fails without waiting for the busy timeout.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write; committed at the end, rolled back on an error. Raises StoreError."""
    with _translated(), engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads. Raises StoreError."""
    with _translated(), engine.connect() as connection, connection.begin():
        yield connection


def upgrade(engine: Engine) -> None:
    """Brings the schema to `HEAD`. One query when it is there already; Alembic is imported only when it is not.

    Raises StoreError when the database was written by a newer version.
    """
    with reading(engine) as connection:
        if _stamp(connection) == HEAD:
            return
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        _migrate(connection)


def _stamp(connection: Connection) -> str | None:
    """The migration that the database is at, None for an empty one."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    """Runs the migrations that are missing, all in the transaction of `connection`."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    # Alembic expands % in options
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    stamp = _stamp(connection)  # again: another process may have been faster
    try:
        if stamp is not None:
            ScriptDirectory.from_config(config).get_revision(stamp)
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            "the database cannot be brought to this version's schema",
            found=f"schema {stamp!r}" if stamp else str(error),
            expected=f"{HEAD!r} or older",
            todo="install the version of autogpt that wrote it, or a newer one",
        ) from error


_HINTS = {
    "readonly database": "check who owns the files in AUTOGPT_HOME",
    "read-only": "check who owns the files in AUTOGPT_HOME",
    "disk is full": "free some space on the disk of AUTOGPT_HOME",
    "database is locked": "another process has been writing for too long, try again",
    "not a database": "move the damaged file away; the run folders hold everything of value",
    "malformed": "move the damaged file away; the run folders hold everything of value",
    "unable to open": "check that AUTOGPT_HOME can be written",
}

_PASSING = ("database is locked", "unable to open", "connection refused", "could not connect", "connection failed")
"""Words of errors that a minute may mend: SQLite's, and those of PostgreSQL's client."""


@contextmanager
def _translated() -> Iterator[None]:
    """Database errors as StoreError in one line, without the statement and its values."""
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error) as error:  # the bare ones come from setting a connection up
        original = getattr(error, "orig", None)
        found = str(original or error).splitlines()[0]
        todo = next((hint for part, hint in _HINTS.items() if part in found), "")
        passing = any(part in found for part in _PASSING) or getattr(error, "connection_invalidated", False)
        kind = StoreUnavailable if passing else StoreError
        raise kind("the database cannot be used", found=found, todo=todo) from error
