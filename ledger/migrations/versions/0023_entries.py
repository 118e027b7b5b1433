"""What statements and balances of the past are read from (`ledger.entries`): filled from the journal behind it.

All of it can be computed from the journal, and `jzb verify` does so. It begins empty, and a running service fills it.
"""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE entry (
    platform TEXT NOT NULL,
    sub_account TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    operation_id UUID NOT NULL,
    part INTEGER NOT NULL,
    bank_day DATE NOT NULL,
    withdrawable_fen BIGINT NOT NULL,
    uncleared_fen BIGINT NOT NULL,
    frozen_fen BIGINT NOT NULL,
    escrow_fen BIGINT NOT NULL,
    withdrawable_after_fen BIGINT NOT NULL,
    uncleared_after_fen BIGINT NOT NULL,
    frozen_after_fen BIGINT NOT NULL,
    escrow_after_fen BIGINT NOT NULL,
    CONSTRAINT entry_pk PRIMARY KEY (sub_account, platform, at, operation_id, part)
);
CREATE TABLE balance_day (
    platform TEXT NOT NULL,
    sub_account TEXT NOT NULL,
    bank_day DATE NOT NULL,
    withdrawable_fen BIGINT NOT NULL,
    uncleared_fen BIGINT NOT NULL,
    frozen_fen BIGINT NOT NULL,
    escrow_fen BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT balance_day_pk PRIMARY KEY (sub_account, platform, bank_day)
) WITH (fillfactor = 80);
CREATE TABLE kind_day (
    platform TEXT NOT NULL,
    bank_day DATE NOT NULL,
    kind TEXT NOT NULL,
    debit_fen BIGINT NOT NULL,
    credit_fen BIGINT NOT NULL,
    CONSTRAINT kind_day_pk PRIMARY KEY (platform, bank_day, kind)
) WITH (fillfactor = 50);
CREATE TABLE filled (
    platform TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    event BIGINT NOT NULL,
    kinds TEXT[] NOT NULL,
    debits_fen BIGINT[] NOT NULL,
    credits_fen BIGINT[] NOT NULL,
    CONSTRAINT filled_pk PRIMARY KEY (platform, at)
);
CREATE INDEX membership_by_member ON membership (member_id, platform);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP INDEX membership_by_member; DROP TABLE filled, kind_day, balance_day, entry")
