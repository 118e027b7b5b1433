"""Seals: each batch from now on is sealed with a hash over the seal before it and over its rows (`ledger.seals`).

What was written before has none: the chain begins with the next batch, and `jzb verify` says since when.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Hashes cannot be compressed: without EXTERNAL every batch would try.
UP = """
CREATE TABLE seal (
    platform TEXT NOT NULL,
    batch BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    leaves BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    CONSTRAINT seal_pk PRIMARY KEY (platform, batch)
);
ALTER TABLE seal ALTER COLUMN leaves SET STORAGE EXTERNAL;
CREATE TRIGGER seal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE platform ADD COLUMN unsealed BIGINT NOT NULL DEFAULT 0;
UPDATE platform SET unsealed = batches;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE seal; ALTER TABLE platform DROP COLUMN unsealed")
