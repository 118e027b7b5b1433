"""Reconciliation (`ledger.day`): the bank's files in versions, their content and lines, breaks with what was said of
each, and the signatures under a day.

Events and signatures are only ever added to, and so is what was kept of a file. A day is signed by two identities:
PostgreSQL refuses the same one, as it does for proposals.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

ADDED_TO = ("bank_file_attempt", "bank_file_piece", "break_event", "sign_off")

UP = """
CREATE TABLE bank_file (
    platform TEXT NOT NULL,
    file_id BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    bank_day DATE NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    sha256 BYTEA NOT NULL,
    size BIGINT NOT NULL,
    name TEXT NOT NULL,
    stated_rows BIGINT,
    rows BIGINT NOT NULL,
    bad_rows BIGINT NOT NULL,
    repaired_rows BIGINT NOT NULL,
    amount_fen BIGINT NOT NULL,
    fee_fen BIGINT NOT NULL,
    state TEXT NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    matched_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT bank_file_pk PRIMARY KEY (file_id, platform),
    CONSTRAINT bank_file_version_once UNIQUE (bank_day, type, version, platform),
    CONSTRAINT bank_file_type_known CHECK (type IN ('CZ', 'TX', 'JY', 'YE', '6050', '6048', '6108', '6109')),
    CONSTRAINT bank_file_state_known CHECK (state IN ('loaded', 'totals-right', 'matched'))
);
CREATE TABLE bank_file_attempt (
    platform TEXT NOT NULL,
    number BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    bank_day DATE NOT NULL,
    type TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT bank_file_attempt_pk PRIMARY KEY (bank_day, type, number, platform),
    CONSTRAINT bank_file_attempt_state_known CHECK (state IN ('none', 'late', 'damaged'))
);
CREATE TABLE bank_file_piece (
    platform TEXT NOT NULL,
    file_id BIGINT NOT NULL,
    piece INTEGER NOT NULL,
    digest BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    content BYTEA NOT NULL,
    CONSTRAINT bank_file_piece_pk PRIMARY KEY (file_id, piece, platform)
);
CREATE TABLE bank_line (
    platform TEXT NOT NULL,
    file_id BIGINT NOT NULL,
    line INTEGER NOT NULL,
    digest BYTEA NOT NULL,
    fault TEXT NOT NULL,
    is_repaired BOOLEAN NOT NULL,
    serial TEXT NOT NULL,
    bank_serial TEXT NOT NULL,
    payer TEXT NOT NULL,
    payer_sub_account TEXT NOT NULL,
    payee TEXT NOT NULL,
    payee_sub_account TEXT NOT NULL,
    amount_fen BIGINT,
    fee_fen BIGINT,
    day DATE,
    time TIME WITHOUT TIME ZONE,
    order_no TEXT NOT NULL,
    booking TEXT NOT NULL,
    operation_id UUID,
    part INTEGER,
    agrees BOOLEAN NOT NULL,
    CONSTRAINT bank_line_pk PRIMARY KEY (file_id, line, platform)
);
CREATE INDEX bank_line_disagreeing ON bank_line (file_id, platform, line) WHERE NOT agrees;
CREATE TABLE break (
    platform TEXT NOT NULL,
    break_id UUID NOT NULL,
    bank_day DATE NOT NULL,
    type TEXT NOT NULL,
    kind TEXT NOT NULL,
    bank_fen BIGINT,
    ledger_fen BIGINT,
    file_id BIGINT,
    line INTEGER,
    digest BYTEA NOT NULL,
    operation_id UUID,
    part INTEGER,
    operation_kind TEXT NOT NULL,
    serial TEXT NOT NULL,
    bank_serial TEXT NOT NULL,
    member TEXT NOT NULL,
    sub_account TEXT NOT NULL,
    detail TEXT NOT NULL,
    is_open BOOLEAN NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT break_pk PRIMARY KEY (break_id, platform),
    CONSTRAINT break_kind_known CHECK (
        kind IN (
            'missing-here', 'missing-there', 'amount', 'fee', 'member', 'state', 'date-shifted', 'duplicate',
            'unreadable', 'balance'
        )
    )
);
CREATE INDEX break_by_day ON break (bank_day, platform, type, break_id);
CREATE INDEX break_open ON break (platform, bank_day, break_id) WHERE is_open;
CREATE TABLE break_event (
    platform TEXT NOT NULL,
    number BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    break_id UUID NOT NULL,
    kind TEXT NOT NULL,
    caller TEXT NOT NULL,
    person TEXT NOT NULL,
    owner TEXT NOT NULL,
    note TEXT NOT NULL,
    until DATE,
    reason TEXT,
    operation_id UUID,
    at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    mac BYTEA NOT NULL,
    CONSTRAINT break_event_pk PRIMARY KEY (break_id, number, platform),
    CONSTRAINT break_event_of_break FOREIGN KEY (platform, break_id) REFERENCES break (platform, break_id),
    CONSTRAINT break_event_kind_known CHECK (
        kind IN ('opened', 'carried', 'raised', 'assigned', 'annotated', 'held', 'closed')
    ),
    CONSTRAINT break_event_reason_known CHECK (
        (kind = 'closed') = (reason IS NOT NULL)
        AND reason IN ('next-file', 'ended', 'explained', 'superseded', 'adjusted', 'decided')
    ),
    CONSTRAINT break_event_by_somebody CHECK (
        (kind IN ('assigned', 'annotated', 'held') OR coalesce(reason, '') IN ('adjusted', 'decided')) = (caller <> '')
    )
);
CREATE TABLE sign_off (
    platform TEXT NOT NULL,
    bank_day DATE NOT NULL,
    digest BYTEA NOT NULL,
    place SMALLINT NOT NULL,
    caller TEXT NOT NULL,
    person TEXT NOT NULL,
    note TEXT NOT NULL,
    statement TEXT NOT NULL,
    first_place SMALLINT,
    first_caller TEXT,
    first_person TEXT,
    at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    mac BYTEA NOT NULL,
    CONSTRAINT sign_off_once PRIMARY KEY (bank_day, digest, place, platform),
    CONSTRAINT sign_off_by_signatory UNIQUE (bank_day, digest, place, caller, person, platform),
    CONSTRAINT sign_off_names_the_first
        FOREIGN KEY (platform, bank_day, digest, first_place, first_caller, first_person)
        REFERENCES sign_off (platform, bank_day, digest, place, caller, person),
    CONSTRAINT sign_off_has_signatory CHECK (caller <> ''),
    CONSTRAINT sign_off_place_known CHECK (
        place = 1 AND num_nonnulls(first_place, first_caller, first_person) = 0
        OR place = 2 AND first_place = 1 AND num_nonnulls(first_caller, first_person) = 2
    ),
    CONSTRAINT sign_off_by_another CHECK (
        place = 1
        OR CASE
            WHEN person <> '' AND first_person <> '' THEN person <> first_person
            ELSE caller <> first_caller
        END
    )
);
"""

APPEND_ONLY = """
CREATE TRIGGER {0}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {0}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.execute(UP)
    for table in ADDED_TO:
        op.execute(APPEND_ONLY.format(table))


def downgrade() -> None:
    op.execute("DROP TABLE sign_off, break_event, break, bank_line, bank_file_piece, bank_file_attempt, bank_file")
