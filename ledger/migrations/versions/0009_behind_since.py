"""Marks books that were restored from a copy: since when they are behind the bank (`ledger.copies`)."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE platform ADD COLUMN behind_since TIMESTAMP WITH TIME ZONE")


def downgrade() -> None:
    op.execute("ALTER TABLE platform DROP COLUMN behind_since")
