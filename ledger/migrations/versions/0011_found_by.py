"""What operations are found by, where their own columns do not say it or change: `reference` and `booking`.

And an index for each filter of a list that had none. The references of operations that a floor refused, and the numbers
of channels, are in plans alone.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE reference (
    platform TEXT NOT NULL,
    operation_id UUID NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT reference_pk PRIMARY KEY (value, kind, platform, operation_id),
    CONSTRAINT reference_kind_known CHECK (kind IN ('member', 'order', 'channel'))
);
INSERT INTO reference (platform, operation_id, kind, value)
SELECT DISTINCT o.platform, o.id, named.kind, named.value
FROM (
    SELECT platform, operation_id, payer, payee, order_no FROM transaction
    UNION ALL
    SELECT o.platform, o.id, draft->>'payer', draft->>'payee', coalesce(draft->>'order_no', '')
    FROM operation o, json_array_elements(o.plan->'drafts') AS draft
    WHERE o.state = 'refused' AND o.breach IS NOT NULL AND o.plan->'drafts' IS NOT NULL
) part
JOIN operation o ON o.platform = part.platform AND o.id = part.operation_id
CROSS JOIN LATERAL (
    VALUES
        ('member', nullif(nullif(part.payer, o.payer), o.payee)),
        ('member', nullif(nullif(part.payee, o.payer), o.payee)),
        ('order', nullif(part.order_no, o.order_no))
) AS named (kind, value)
WHERE named.value <> '';
INSERT INTO reference (platform, operation_id, kind, value)
SELECT platform, id, 'channel', plan->'keep'->>'channel_serial'
FROM operation
WHERE plan->'keep'->>'channel_serial' <> '';
CREATE INDEX reference_by_operation ON reference (operation_id, platform);
CREATE TABLE booking (
    platform TEXT NOT NULL,
    operation_id UUID NOT NULL,
    bank_day DATE NOT NULL,
    bank_serial TEXT NOT NULL,
    CONSTRAINT booking_pk PRIMARY KEY (bank_day, platform, operation_id, bank_serial)
);
INSERT INTO booking (platform, operation_id, bank_day, bank_serial)
SELECT platform, id, coalesce(bank_day, (updated_at AT TIME ZONE 'Asia/Shanghai')::date), bank_serial
FROM operation
WHERE bank_day IS NOT NULL OR bank_serial <> '';
CREATE INDEX booking_by_serial ON booking (bank_serial, platform, operation_id) WHERE bank_serial <> '';
DROP INDEX operation_by_order;
CREATE INDEX operation_by_order ON operation (order_no, platform, id) WHERE order_no <> '';
CREATE INDEX operation_by_kind ON operation (kind, platform, id);
CREATE INDEX event_without_effect ON event (state, platform, operation_id) WHERE state IN ('refused', 'released');
"""

DOWN = """
DROP INDEX event_without_effect;
DROP INDEX operation_by_kind;
DROP INDEX operation_by_order;
CREATE INDEX operation_by_order ON operation (order_no, platform) WHERE order_no <> '';
DROP TABLE booking;
DROP TABLE reference;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
