"""The audit trail: who has called what is for few, and how it ended (`ledger.trail`). jzb_service adds to it."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE audit_entry (
    platform TEXT NOT NULL,
    number BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    caller TEXT NOT NULL,
    person TEXT NOT NULL,
    method TEXT NOT NULL,
    subject TEXT NOT NULL,
    request BYTEA NOT NULL,
    began BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    digest BYTEA NOT NULL,
    CONSTRAINT audit_entry_pk PRIMARY KEY (platform, number)
);
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE audit_entry")
