"""Who asked for an operation: the caller, and the person behind it. Both are empty for what is older than this.

Seals cover both where they are not empty, so those of older rows still hold (docs/seals.md).
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE operation ADD COLUMN caller TEXT NOT NULL DEFAULT '';
ALTER TABLE operation ADD COLUMN person TEXT NOT NULL DEFAULT '';
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("ALTER TABLE operation DROP COLUMN caller; ALTER TABLE operation DROP COLUMN person")
