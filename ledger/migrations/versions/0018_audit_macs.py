"""A MAC over each entry of the audit trail (`ledger.trail`); those that are there already have none."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE audit_entry ADD COLUMN mac BYTEA NOT NULL DEFAULT ''")


def downgrade() -> None:
    op.execute("ALTER TABLE audit_entry DROP COLUMN mac")
