"""The bank's signed answers (`ledger.answers`), encrypted under the vault: each once, by its digest.

The service adds to it and reads it; nobody changes it. What was decided before has its digest alone.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE bank_answer (
    platform TEXT NOT NULL,
    digest BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    content BYTEA NOT NULL,
    parts BYTEA NOT NULL,
    CONSTRAINT bank_answer_pk PRIMARY KEY (digest, platform)
);
CREATE TRIGGER bank_answer_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON bank_answer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE bank_answer")
