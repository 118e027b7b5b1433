"""Money in suspense cannot be overdrawn, and is listed by transfer (6050, 6139, 6140)."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE account SET floor_fen = 0 WHERE kind = 'suspense'")
    op.execute("CREATE INDEX account_suspense ON account (platform, ref) WHERE kind = 'suspense'")


def downgrade() -> None:
    op.execute("DROP INDEX account_suspense")
    op.execute("UPDATE account SET floor_fen = NULL WHERE kind = 'suspense'")
