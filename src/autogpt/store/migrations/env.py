"""Runs migrations on the connection that `store.connection.upgrade` hands over; there is no command line for it."""

from __future__ import annotations

from alembic import context

from autogpt.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite cannot alter a table in place
)
with context.begin_transaction():
    context.run_migrations()
