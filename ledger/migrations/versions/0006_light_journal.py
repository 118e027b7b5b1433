"""Lets a writer remember (it counts its batches) and the journal grow cheaply. On a large ledger this takes a while.

Foreign keys within the journal cost a look-up a row, a quarter of all the work on a batch, and stand in the way of
partitions and shards. Its one writer adds whole batches; `ledger.verify` looks for rows that name what is not there.

A key that led with the platform could be taken for the look-up of anything as long as the planner knew nothing of the
table, and read a platform's whole journal for each row.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE platform ADD COLUMN batches BIGINT NOT NULL DEFAULT 0;
ALTER TABLE platform ALTER COLUMN batches DROP DEFAULT;
ALTER TABLE operation ALTER COLUMN plan TYPE JSON USING plan::json;
ALTER TABLE event DROP CONSTRAINT event_of_operation;
ALTER TABLE leg DROP CONSTRAINT leg_of_resolution;
ALTER TABLE leg DROP CONSTRAINT leg_debits_account;
ALTER TABLE leg DROP CONSTRAINT leg_credits_account;
ALTER TABLE resolution DROP CONSTRAINT resolution_of_transaction;
ALTER TABLE hold DROP CONSTRAINT hold_of_transaction;
ALTER TABLE hold DROP CONSTRAINT hold_on_account;
ALTER TABLE transaction DROP CONSTRAINT transaction_corrects_transaction;
ALTER TABLE transaction DROP CONSTRAINT transaction_of_operation;
CREATE TRIGGER operation_kept BEFORE DELETE OR TRUNCATE ON operation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER account_kept BEFORE DELETE OR TRUNCATE ON account
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

DOWN = """
DROP TRIGGER operation_kept ON operation;
DROP TRIGGER account_kept ON account;
ALTER TABLE platform DROP COLUMN batches;
ALTER TABLE operation ALTER COLUMN plan TYPE JSONB USING plan::jsonb;
ALTER TABLE transaction
    ADD CONSTRAINT transaction_of_operation
    FOREIGN KEY (platform, operation_id) REFERENCES operation (platform, id),
    ADD CONSTRAINT transaction_corrects_transaction
    FOREIGN KEY (platform, operation_id, corrects) REFERENCES transaction (platform, operation_id, part);
ALTER TABLE hold
    ADD CONSTRAINT hold_of_transaction
    FOREIGN KEY (platform, operation_id, part) REFERENCES transaction (platform, operation_id, part),
    ADD CONSTRAINT hold_on_account FOREIGN KEY (platform, account) REFERENCES account (platform, name);
ALTER TABLE resolution
    ADD CONSTRAINT resolution_of_transaction
    FOREIGN KEY (platform, operation_id, part) REFERENCES transaction (platform, operation_id, part);
ALTER TABLE leg
    ADD CONSTRAINT leg_of_resolution
    FOREIGN KEY (platform, operation_id, part) REFERENCES resolution (platform, operation_id, part),
    ADD CONSTRAINT leg_debits_account FOREIGN KEY (platform, debit) REFERENCES account (platform, name),
    ADD CONSTRAINT leg_credits_account FOREIGN KEY (platform, credit) REFERENCES account (platform, name);
ALTER TABLE event
    ADD CONSTRAINT event_of_operation FOREIGN KEY (platform, operation_id) REFERENCES operation (platform, id);
"""


KEYS = (
    ("account", "account_pk", "PRIMARY KEY", "name, platform", "platform, name"),
    ("operation", "operation_pk", "PRIMARY KEY", "id, platform", "platform, id"),
    ("operation", "operation_request_id_once", "UNIQUE", "request_id, platform", "platform, request_id"),
    ("operation", "operation_serial_once", "UNIQUE", "serial, platform", "platform, serial"),
    ("transaction", "transaction_pk", "PRIMARY KEY", "operation_id, part, platform", "platform, operation_id, part"),
    (
        "hold",
        "hold_pk",
        "PRIMARY KEY",
        "operation_id, part, account, platform",
        "platform, operation_id, part, account",
    ),
    ("resolution", "resolution_once", "PRIMARY KEY", "operation_id, part, platform", "platform, operation_id, part"),
    ("leg", "leg_pk", "PRIMARY KEY", "operation_id, part, leg, platform", "platform, operation_id, part, leg"),
)
"""Table, constraint, what it is, its columns from now on, and before."""

INDEXES = (
    ("account_by_owner", "account", "owner, kind, platform", "platform, owner, kind", ""),
    ("operation_by_order", "operation", "order_no, platform", "platform, order_no", "WHERE order_no <> ''"),
    ("operation_by_payer", "operation", "payer, platform, id", "platform, payer, id", "WHERE payer <> ''"),
    ("operation_by_payee", "operation", "payee, platform, id", "platform, payee, id", "WHERE payee <> ''"),
    ("transaction_by_serial", "transaction", "serial, platform", "platform, serial", "WHERE serial <> ''"),
    ("transaction_by_order", "transaction", "order_no, platform", "platform, order_no", "WHERE order_no <> ''"),
    ("event_by_operation", "event", "operation_id, platform, seq", "platform, operation_id, seq", ""),
)
"""Index, table, its columns from now on, and before, and which rows it has."""


def upgrade() -> None:
    op.execute(UP)
    for table, name, what, columns, _ in KEYS:
        _rekey(table, name, what, columns)
    for name, table, columns, _, rows in INDEXES:
        _reindex(name, table, columns, rows)


def downgrade() -> None:
    for table, name, what, _, columns in KEYS:
        _rekey(table, name, what, columns)
    for name, table, _, columns, rows in INDEXES:
        _reindex(name, table, columns, rows)
    op.execute(DOWN)


def _rekey(table: str, name: str, what: str, columns: str) -> None:
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {what} ({columns})")


def _reindex(name: str, table: str, columns: str, rows: str) -> None:
    op.execute(f"DROP INDEX {name}")
    op.execute(f"CREATE INDEX {name} ON {table} ({columns}) {rows}")
