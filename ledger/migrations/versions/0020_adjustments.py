"""Adjustments: the differences by index, and the breaks by which adjustments are found."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

KINDS_BEFORE = "'member', 'order', 'channel', 'reference', 'label'"
KINDS = f"{KINDS_BEFORE}, 'break'"


def upgrade() -> None:
    op.execute("CREATE INDEX account_difference ON account (platform, ref) WHERE kind = 'difference'")
    _allow(KINDS)


def downgrade() -> None:
    op.execute("DELETE FROM reference WHERE kind = 'break'")
    _allow(KINDS_BEFORE)
    op.execute("DROP INDEX account_difference")


def _allow(kinds: str) -> None:
    op.execute(
        "ALTER TABLE reference DROP CONSTRAINT reference_kind_known,"
        f" ADD CONSTRAINT reference_kind_known CHECK (kind IN ({kinds}))"
    )
