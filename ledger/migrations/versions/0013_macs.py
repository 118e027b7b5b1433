"""MACs over openings and seals (`ledger.macs`), and a table for those that are put over what is there already.

What was written before has none. `ledger.vouching` puts one over each operation that is open now and over the last
seal, in the transaction of this migration: from then on nothing without one is carried on.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE event ADD COLUMN mac BYTEA NOT NULL DEFAULT '';
ALTER TABLE seal ADD COLUMN mac BYTEA NOT NULL DEFAULT '';
CREATE TABLE vouched (
    platform TEXT NOT NULL,
    subject TEXT NOT NULL,
    mac BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT vouched_pk PRIMARY KEY (subject, platform, mac)
);
CREATE TRIGGER vouched_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vouched
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE vouched; ALTER TABLE event DROP COLUMN mac; ALTER TABLE seal DROP COLUMN mac")
