"""Cards that members bind, and which two members are one customer (6066, 6055, 6098, 6167)."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CARD = """
CREATE TABLE card (
    platform TEXT NOT NULL,
    card_id UUID NOT NULL,
    member_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    masked TEXT NOT NULL,
    bank_type TEXT NOT NULL,
    branch_name TEXT NOT NULL,
    cnaps_no TEXT NOT NULL,
    super_bank_no TEXT NOT NULL,
    checked_by TEXT NOT NULL,
    serial TEXT NOT NULL,
    state TEXT NOT NULL,
    wrong INTEGER NOT NULL,
    pay_in_fen BIGINT NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    bound_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT card_pk PRIMARY KEY (platform, card_id),
    CONSTRAINT card_of_member FOREIGN KEY(platform, member_id)
        REFERENCES member (platform, member_id),
    CONSTRAINT card_state_known CHECK (state IN ('checking', 'bound', 'unbound', 'failed', 'unsent')),
    CONSTRAINT card_checked_by_known CHECK (checked_by IN ('sms', 'pay-out', 'pay-in', 'bank'))
);
CREATE INDEX card_by_digest ON card (platform, digest);
CREATE INDEX card_by_key ON card (platform, key_id, card_id);
CREATE INDEX card_by_member ON card (platform, member_id, card_id);
"""


def upgrade() -> None:
    op.execute("ALTER TABLE member ADD COLUMN same_name TEXT NOT NULL DEFAULT ''")
    op.execute(CARD)


def downgrade() -> None:
    op.execute("DROP TABLE card")
    op.execute("ALTER TABLE member DROP COLUMN same_name")
