from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from autogpt.store import connection as store_connection
from autogpt.store.connection import open_engine, reading, upgrade
from autogpt.store.schema import HEAD, METADATA


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
    config = Config()
    config.set_main_option("script_location", str(Path(store_connection.__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
