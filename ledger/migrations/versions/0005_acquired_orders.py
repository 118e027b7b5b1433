"""Parked money of acquired orders cannot go below zero (6145)."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE account SET floor_fen = 0 WHERE kind = 'parking'")


def downgrade() -> None:
    op.execute("UPDATE account SET floor_fen = NULL WHERE kind = 'parking'")
