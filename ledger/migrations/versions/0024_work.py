"""What people say of what waits (`ledger.reads.work`), and the audit trail by what its calls are about."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE work_event (
            platform TEXT NOT NULL,
            number BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
            work_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            owner TEXT NOT NULL,
            note TEXT NOT NULL,
            caller TEXT NOT NULL,
            person TEXT NOT NULL,
            at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
            CONSTRAINT work_event_pk PRIMARY KEY (work_id, number, platform),
            CONSTRAINT work_event_kind_known CHECK (kind IN ('assigned', 'noted')),
            CONSTRAINT work_event_by_somebody CHECK (caller <> ''),
            CONSTRAINT work_event_says_something CHECK (kind = 'assigned' OR (note <> '' AND owner = ''))
        );
        CREATE TRIGGER work_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON work_event
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        CREATE INDEX audit_entry_by_subject ON audit_entry (subject, platform, number);
    """)


def downgrade() -> None:
    op.execute("DROP INDEX audit_entry_by_subject")
    op.execute("DROP TABLE work_event")
