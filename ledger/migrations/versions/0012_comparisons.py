"""The last comparison of each sub-account with the bank."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE comparison (
    platform TEXT NOT NULL,
    sub_account TEXT NOT NULL,
    account_kind TEXT NOT NULL,
    result TEXT NOT NULL,
    compared_at TIMESTAMP WITH TIME ZONE NOT NULL,
    mirror_available_fen BIGINT NOT NULL,
    mirror_withdrawable_fen BIGINT NOT NULL,
    mirror_frozen_fen BIGINT NOT NULL,
    bank_available_fen BIGINT NOT NULL,
    bank_withdrawable_fen BIGINT NOT NULL,
    bank_frozen_fen BIGINT NOT NULL,
    in_doubt_fen BIGINT NOT NULL,
    CONSTRAINT comparison_pk PRIMARY KEY (sub_account, platform),
    CONSTRAINT comparison_result_known CHECK (result IN ('equal', 'under-way', 'clearing', 'differs'))
);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE comparison")
