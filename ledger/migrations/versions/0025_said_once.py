"""Who takes a break, and what is noted of it, is said in the queue (`work_event`) as of everything else that waits."""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

UP = """
INSERT INTO work_event (platform, work_id, kind, owner, note, caller, person, at)
SELECT
    platform, 'break:' || break_id, CASE kind WHEN 'assigned' THEN kind ELSE 'noted' END, owner, note, caller, person,
    at
FROM break_event
WHERE kind IN ('assigned', 'annotated')
ORDER BY number;
ALTER TABLE break_event DISABLE TRIGGER break_event_append_only;
DELETE FROM break_event WHERE kind IN ('assigned', 'annotated');
ALTER TABLE break_event
    DROP CONSTRAINT break_event_kind_known,
    DROP CONSTRAINT break_event_by_somebody,
    DROP COLUMN owner,
    ADD CONSTRAINT break_event_kind_known CHECK (kind IN ('opened', 'carried', 'raised', 'held', 'closed')),
    ADD CONSTRAINT break_event_by_somebody CHECK (
        (kind = 'held' OR coalesce(reason, '') IN ('adjusted', 'decided')) = (caller <> '')
    );
ALTER TABLE break_event ENABLE TRIGGER break_event_append_only;
"""

DOWN = """
ALTER TABLE break_event
    DROP CONSTRAINT break_event_kind_known,
    DROP CONSTRAINT break_event_by_somebody,
    ADD COLUMN owner TEXT NOT NULL DEFAULT '',
    ADD CONSTRAINT break_event_kind_known CHECK (
        kind IN ('opened', 'carried', 'raised', 'assigned', 'annotated', 'held', 'closed')
    ),
    ADD CONSTRAINT break_event_by_somebody CHECK (
        (kind IN ('assigned', 'annotated', 'held') OR coalesce(reason, '') IN ('adjusted', 'decided')) = (caller <> '')
    );
ALTER TABLE break_event ALTER COLUMN owner DROP DEFAULT;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
