from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from autogpt.store import connection as store_connection
from autogpt.store.connection import open_engine, reading, upgrade, writing
from autogpt.store.database import Store
from autogpt.store.schema import HEAD, METADATA


def migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(store_connection.__file__).parent / "migrations"))
    return config


def test_migrations_lead_to_the_schema(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    upgrade(engine)
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_constraints_are_those_of_the_schema(tmp_path: Path) -> None:
    """Alembic's comparison leaves out primary keys and the actions of foreign keys: compare with a direct creation."""

    def described(folder: Path, *, migrated: bool) -> dict[str, object]:
        engine = open_engine(folder)
        if migrated:
            upgrade(engine)
        else:
            METADATA.create_all(engine)
        look = inspect(engine)
        described = {
            table: (look.get_pk_constraint(table), look.get_foreign_keys(table), look.get_indexes(table))
            for table in METADATA.tables
        }
        engine.dispose()
        return described

    assert described(tmp_path / "a", migrated=True) == described(tmp_path / "b", migrated=False)


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(migrations()).get_heads() == [HEAD]


def test_a_database_from_before_keys_keeps_its_rows(tmp_path: Path) -> None:
    """Written as 0002 had it, in SQL of its own: the tables of today must not be used to make those of then."""
    (tmp_path / "models").mkdir()
    engine = open_engine(tmp_path)
    rows = {
        "tasks": "('t', '{\"kind\": \"x\"}', 'f', 1.0)",
        "runs": "('r', 't', 'finished', 'runs/r', '{}', 60.0, 9.5, 7, 'h', 2.0, 1.0, 3.0, '')",
        "trials": "('r', 0, '{\"lr\": 0.01}', 'finished', '[]', 0.5, 9.0, '', '', 1)",
        "models": "('新闻', 'r', 't', 'models/m', 'accuracy', 0.9, 0.85, 0.95, 4.0, '给新闻分类')",
    }
    with writing(engine) as connection:
        config = migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for table, row in rows.items():
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES {row}")
    assert "keys" not in inspect(engine).get_table_names()
    with reading(engine) as connection:
        before = {table: connection.execute(text(f"SELECT * FROM {table}")).all() for table in rows}
    engine.dispose()
    with Store(tmp_path) as store, reading(store.engine) as connection:
        assert {table: connection.execute(text(f"SELECT * FROM {table}")).all() for table in rows} == before
        assert connection.execute(text("SELECT count(*) FROM keys")).scalar() == 0
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
    with Store(tmp_path) as store:
        assert (store.model("新闻").description, store.trials("r")[0].lost) == ("给新闻分类", 1)
