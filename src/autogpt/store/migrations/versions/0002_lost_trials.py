"""How often the process that ran a trial was lost: one that was goes back to the queue once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("trials", sa.Column("lost", sa.Integer(), nullable=False, server_default="0"))
