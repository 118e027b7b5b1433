"""Keeps when the bank is asked in a table of its own, so that an operation that moves on is updated in place (HOT).

The index over that time made every such update a new entry in each of the operation's seven indexes.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE due (
    platform TEXT NOT NULL,
    operation_id UUID NOT NULL,
    ask_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT due_once PRIMARY KEY (operation_id, platform)
);
CREATE INDEX due_by_time ON due (ask_at, platform);
INSERT INTO due SELECT platform, id, next_ask_at FROM operation WHERE next_ask_at IS NOT NULL;
ALTER TABLE operation DROP COLUMN next_ask_at, SET (fillfactor = 50);
"""

DOWN = """
ALTER TABLE operation ADD COLUMN next_ask_at TIMESTAMP WITH TIME ZONE, RESET (fillfactor);
UPDATE operation SET next_ask_at = due.ask_at
FROM due WHERE due.platform = operation.platform AND due.operation_id = operation.id;
ALTER TABLE operation ADD CONSTRAINT operation_open_is_asked CHECK (
    (state IN ('reserved', 'unknown', 'accepted')) = (next_ask_at IS NOT NULL)
);
CREATE INDEX operation_due ON operation (next_ask_at, platform) WHERE next_ask_at IS NOT NULL;
DROP TABLE due;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
