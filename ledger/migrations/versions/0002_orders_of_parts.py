"""The order number of a part, where one operation has several (batches: 6052, 6120, 6133)."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE transaction ADD COLUMN order_no TEXT NOT NULL DEFAULT ''")
    op.execute("CREATE INDEX transaction_by_order ON transaction (platform, order_no) WHERE order_no <> ''")


def downgrade() -> None:
    op.execute("DROP INDEX transaction_by_order")
    op.execute("ALTER TABLE transaction DROP COLUMN order_no")
