"""The seal of a batch is found by the batch's time, which is what its rows have.

Until now it was found by halves of the table: twenty look-ups a row of a list.
"""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX seal_by_time ON seal (at, platform)")


def downgrade() -> None:
    op.execute("DROP INDEX seal_by_time")
