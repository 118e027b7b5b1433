"""A MAC over each member's sub-account (`ledger.macs`); `jzb migrate` puts those of members that are there already."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE member ADD COLUMN mac BYTEA NOT NULL DEFAULT ''")


def downgrade() -> None:
    op.execute("ALTER TABLE member DROP COLUMN mac")
