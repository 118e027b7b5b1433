"""The mirror's first tables, and the triggers that keep the journal as it was written."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE account (
    platform TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    ref TEXT NOT NULL,
    floor_fen BIGINT,
    balance_fen BIGINT NOT NULL,
    held_fen BIGINT NOT NULL,
    CONSTRAINT account_pk PRIMARY KEY (platform, name),
    CONSTRAINT account_held_not_negative CHECK (held_fen >= 0),
    CONSTRAINT account_above_floor CHECK (floor_fen IS NULL OR balance_fen - held_fen >= floor_fen),
    CONSTRAINT account_held_only_with_floor CHECK (floor_fen IS NOT NULL OR held_fen = 0)
);
CREATE INDEX account_by_owner ON account (platform, owner, kind);
CREATE INDEX account_waiting ON account (platform, ref) WHERE kind = 'waiting';
CREATE TABLE member (
    platform TEXT NOT NULL,
    member_id TEXT NOT NULL,
    sub_account TEXT NOT NULL,
    property TEXT NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT member_pk PRIMARY KEY (platform, member_id),
    CONSTRAINT member_sub_account_once UNIQUE (platform, sub_account),
    CONSTRAINT member_property_known CHECK (property IN ('00', 'SH'))
);
CREATE TABLE operation (
    platform TEXT NOT NULL,
    id UUID NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    kind TEXT NOT NULL,
    serial TEXT NOT NULL,
    state TEXT NOT NULL,
    payer TEXT NOT NULL,
    payee TEXT NOT NULL,
    order_no TEXT NOT NULL,
    amount_fen BIGINT NOT NULL,
    fee_fen BIGINT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    breach JSONB,
    bank_code TEXT NOT NULL,
    bank_message TEXT NOT NULL,
    bank_serial TEXT NOT NULL,
    bank_day DATE,
    trace_id TEXT NOT NULL,
    plan JSONB NOT NULL,
    asks INTEGER NOT NULL,
    not_found INTEGER NOT NULL,
    next_ask_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT operation_pk PRIMARY KEY (platform, id),
    CONSTRAINT operation_request_id_once UNIQUE (platform, request_id),
    CONSTRAINT operation_serial_once UNIQUE (platform, serial),
    CONSTRAINT operation_state_known CHECK (
        state IN ('reserved', 'released', 'unknown', 'accepted', 'done', 'refused')
    ),
    CONSTRAINT operation_open_is_asked CHECK (
        (state IN ('reserved', 'unknown', 'accepted')) = (next_ask_at IS NOT NULL)
    ),
    CONSTRAINT operation_amounts_not_negative CHECK (amount_fen >= 0 AND fee_fen >= 0)
);
CREATE INDEX operation_by_order ON operation (platform, order_no) WHERE order_no <> '';
CREATE INDEX operation_by_payee ON operation (platform, payee, id) WHERE payee <> '';
CREATE INDEX operation_by_payer ON operation (platform, payer, id) WHERE payer <> '';
CREATE INDEX operation_due ON operation (next_ask_at, platform) WHERE next_ask_at IS NOT NULL;
CREATE TABLE platform (
    platform TEXT NOT NULL,
    cleared_through DATE,
    PRIMARY KEY (platform)
);
CREATE TABLE event (
    platform TEXT NOT NULL,
    seq BIGINT GENERATED ALWAYS AS IDENTITY,
    operation_id UUID NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    bank_code TEXT NOT NULL,
    bank_message TEXT NOT NULL,
    evidence BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT event_pk PRIMARY KEY (platform, seq),
    CONSTRAINT event_of_operation FOREIGN KEY(platform, operation_id)
        REFERENCES operation (platform, id)
);
CREATE INDEX event_by_operation ON event (platform, operation_id, seq);
CREATE TABLE transaction (
    platform TEXT NOT NULL,
    operation_id UUID NOT NULL,
    part INTEGER NOT NULL,
    serial TEXT NOT NULL,
    payer TEXT NOT NULL,
    payee TEXT NOT NULL,
    amount_fen BIGINT NOT NULL,
    fee_fen BIGINT NOT NULL,
    corrects INTEGER,
    reserved_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT transaction_pk PRIMARY KEY (platform, operation_id, part),
    CONSTRAINT transaction_of_operation FOREIGN KEY(platform, operation_id)
        REFERENCES operation (platform, id),
    CONSTRAINT transaction_corrects_transaction FOREIGN KEY(platform, operation_id, corrects)
        REFERENCES transaction (platform, operation_id, part),
    CONSTRAINT transaction_amount_not_negative CHECK (amount_fen >= 0),
    CONSTRAINT transaction_fee_within_amount CHECK (fee_fen BETWEEN 0 AND amount_fen)
);
CREATE INDEX transaction_by_serial ON transaction (platform, serial) WHERE serial <> '';
CREATE TABLE hold (
    platform TEXT NOT NULL,
    operation_id UUID NOT NULL,
    part INTEGER NOT NULL,
    account TEXT NOT NULL,
    amount_fen BIGINT NOT NULL,
    CONSTRAINT hold_pk PRIMARY KEY (platform, operation_id, part, account),
    CONSTRAINT hold_of_transaction FOREIGN KEY(platform, operation_id, part)
        REFERENCES transaction (platform, operation_id, part),
    CONSTRAINT hold_on_account FOREIGN KEY(platform, account)
        REFERENCES account (platform, name),
    CONSTRAINT hold_amount_positive CHECK (amount_fen > 0)
);
CREATE TABLE resolution (
    platform TEXT NOT NULL,
    operation_id UUID NOT NULL,
    part INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    bank_day DATE NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT resolution_once PRIMARY KEY (platform, operation_id, part),
    CONSTRAINT resolution_of_transaction FOREIGN KEY(platform, operation_id, part)
        REFERENCES transaction (platform, operation_id, part),
    CONSTRAINT resolution_verdict_known CHECK (verdict IN ('posted', 'voided'))
);
CREATE TABLE leg (
    platform TEXT NOT NULL,
    operation_id UUID NOT NULL,
    part INTEGER NOT NULL,
    leg SMALLINT NOT NULL,
    debit TEXT NOT NULL,
    credit TEXT NOT NULL,
    amount_fen BIGINT NOT NULL,
    CONSTRAINT leg_pk PRIMARY KEY (platform, operation_id, part, leg),
    CONSTRAINT leg_of_resolution FOREIGN KEY(platform, operation_id, part)
        REFERENCES resolution (platform, operation_id, part),
    CONSTRAINT leg_debits_account FOREIGN KEY(platform, debit)
        REFERENCES account (platform, name),
    CONSTRAINT leg_credits_account FOREIGN KEY(platform, credit)
        REFERENCES account (platform, name),
    CONSTRAINT leg_amount_positive CHECK (amount_fen > 0),
    CONSTRAINT leg_moves_between_accounts CHECK (debit <> credit)
);
"""

SERIALS = """
CREATE SEQUENCE bank_serial AS bigint INCREMENT BY 100;
"""

APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is only ever added to: % on %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'correct with a new transaction that names the one it corrects';
END $$;
"""

JOURNAL = ("transaction", "hold", "resolution", "leg", "event")


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(SERIALS)
    op.execute(APPEND_ONLY)
    for table in JOURNAL:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    op.execute("DROP TABLE event, leg, resolution, hold, transaction, operation, account, member, platform")
    op.execute("DROP FUNCTION refuse_change")
    op.execute("DROP SEQUENCE bank_serial")
