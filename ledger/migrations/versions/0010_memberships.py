"""Who owns which sub-account becomes a part of the journal, and is sealed from now on: `membership`.

What was known of a member before stands at its beginning without an operation and a time, and without a seal.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE membership (
    platform TEXT NOT NULL,
    seq BIGINT GENERATED ALWAYS AS IDENTITY,
    operation_id UUID,
    member_id TEXT NOT NULL,
    sub_account TEXT NOT NULL,
    property TEXT NOT NULL,
    is_open BOOLEAN NOT NULL,
    same_name TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT membership_pk PRIMARY KEY (platform, seq)
);
INSERT INTO membership (platform, member_id, sub_account, property, is_open, same_name)
    SELECT platform, member_id, sub_account, property, closed_at IS NULL, same_name FROM member ORDER BY member_id;
CREATE TRIGGER membership_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON membership
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE membership")
