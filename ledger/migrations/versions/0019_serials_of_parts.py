"""The bank's serial of each part, the parts of a bank day by index, and what callers find their operations by.

Parts that were posted before have no serial of their own: their seals have none, and `booking` finds their operations.
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

KINDS_BEFORE = "'member', 'order', 'channel'"
KINDS = f"{KINDS_BEFORE}, 'reference', 'label'"


def upgrade() -> None:
    op.execute("ALTER TABLE resolution ADD COLUMN bank_serial TEXT NOT NULL DEFAULT ''")
    op.execute("CREATE INDEX resolution_by_day ON resolution (bank_day, platform)")
    _allow(KINDS)


def downgrade() -> None:
    op.execute("DELETE FROM reference WHERE kind IN ('reference', 'label')")
    _allow(KINDS_BEFORE)
    op.execute("DROP INDEX resolution_by_day")
    op.execute("ALTER TABLE resolution DROP COLUMN bank_serial")


def _allow(kinds: str) -> None:
    op.execute(
        "ALTER TABLE reference DROP CONSTRAINT reference_kind_known,"
        f" ADD CONSTRAINT reference_kind_known CHECK (kind IN ({kinds}))"
    )
