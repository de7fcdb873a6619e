from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import event, text

from autogpt.errors import ConfigError, StoreError
from autogpt.store import connection as store_connection
from autogpt.store.connection import database_url, open_engine, reading, upgrade, writing
from autogpt.store.database import Store
from autogpt.store.schema import HEAD


def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    with reading(engine) as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 10_000}


def test_only_the_owner_can_read_a_home(tmp_path: Path) -> None:
    Store(tmp_path / "home").close()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "home" / "autogpt.db").stat().st_mode) == 0o600


def test_an_up_to_date_database_opens_without_alembic_and_without_writing(tmp_path: Path) -> None:
    Store(tmp_path).close()
    code = (
        "import sys; from pathlib import Path; from autogpt.store.database import Store;"
        f"Store(Path({str(tmp_path)!r})).close(); print('alembic' in sys.modules, 'torch' in sys.modules)"
    )
    before = (tmp_path / "autogpt.db").read_bytes()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False False\n", "")
    assert (tmp_path / "autogpt.db").read_bytes() == before


def test_a_package_import_loads_no_database_library() -> None:
    code = (
        "import sys, autogpt.store, autogpt.store.artifacts, autogpt.store.keys, autogpt.search.study,"
        "autogpt.search.samplers.bayes, autogpt.testing;"
        "print([name for name in ('sqlalchemy', 'alembic', 'optuna', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_several_processes_open_a_new_home_at_once(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from autogpt.store.database import Store;"
        f"print(len(Store(Path({str(tmp_path)!r})).runs()))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate() for process in processes] == [("0\n", "")] * 2


def test_a_home_that_another_process_is_setting_up(tmp_path: Path) -> None:
    """SQLite refuses to change the journal while another connection writes, without waiting."""
    (tmp_path / "autogpt.db").touch(mode=0o600)
    other = sqlite3.connect(tmp_path / "autogpt.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, other.execute, ["COMMIT"])
    timer.start()
    with Store(tmp_path) as store:
        assert store.runs() == []
    timer.join()
    other.close()


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    engine = open_engine(tmp_path)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match=f"found schema '9999'; expected '{HEAD}' or older; install the version"):
        Store(tmp_path)


def test_a_migration_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(tmp_path)
    real = store_connection._migrate

    def breaks(connection: object) -> None:
        real(connection)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(store_connection, "_migrate", breaks)
    with pytest.raises(KeyboardInterrupt):
        upgrade(engine)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar() == 0
    monkeypatch.undo()
    upgrade(engine)
    engine.dispose()


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "autogpt.db").write_bytes(b"not a database, " * 300)
    with pytest.raises(StoreError, match="found file is not a database; move the damaged file away"):
        Store(tmp_path)


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot be written; found .*; set AUTOGPT_HOME"):
        Store(tmp_path / "file" / "home")


def test_a_database_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        assert store.runs() == []
        monkeypatch.setenv("AUTOGPT_DATABASE_URL", f"sqlite:///file:{tmp_path / 'autogpt.db'}?mode=ro&uri=true")
        with Store(tmp_path) as unwritable:
            assert unwritable.runs() == []
            with pytest.raises(StoreError, match="readonly database; check who owns the files") as caught:
                unwritable.start_run("x", spec={}, fingerprint="f", config={}, budget_s=1.0)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "runs").iterdir()) == []  # nothing half-made


def test_a_full_disk(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store._engine.dispose()

        @event.listens_for(store._engine, "connect")
        def _small(connection: sqlite3.Connection, _: object) -> None:
            connection.execute("PRAGMA max_page_count = 15")

        with pytest.raises(StoreError, match="database or disk is full; free some space"):
            store.start_run("x", spec={"description": "x" * 100_000}, fingerprint="f", config={}, budget_s=1.0)
        assert store.runs() == []


def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_connection, "BUSY_TIMEOUT_MS", 10)
    with Store(tmp_path) as store:
        other = sqlite3.connect(tmp_path / "autogpt.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert store.runs() == []  # readers do not wait
        with pytest.raises(StoreError, match="database is locked; another process has been writing for too long"):
            store.start_run("x", spec={}, fingerprint="f", config={}, budget_s=1.0)
        other.close()


def test_the_address_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGPT_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert database_url(tmp_path / "home").endswith("elsewhere.db")
    with Store(tmp_path / "home") as store:
        store.start_run("x", spec={}, fingerprint="f", config={}, budget_s=1.0)
    assert (tmp_path / "elsewhere.db").exists()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["runs"]


@pytest.mark.parametrize("address", ["nonsense", "nosuch://host/name", "postgresql+nodriver://me:geheim@host/name"])
def test_an_address_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("AUTOGPT_DATABASE_URL", address)
    with pytest.raises(ConfigError, match="AUTOGPT_DATABASE_URL cannot be used") as caught:
        Store(tmp_path)
    assert "geheim" not in str(caught.value)
