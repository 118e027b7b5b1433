"""Two people: proposals, what was decided on each, and what came of what was approved.

Constraints keep the rules, whatever program writes: a proposal is decided once, in time, and approved by another
identity than its proposer's; only what is approved has an outcome. The proposer's names come into a decision by a
foreign key, so that nobody can compare with others.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLES = ("proposal", "proposal_decision", "proposal_outcome")

UP = """
CREATE TABLE proposal (
    platform TEXT NOT NULL,
    proposal_id UUID NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    method TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    amount_fen BIGINT NOT NULL,
    payer TEXT NOT NULL,
    payee TEXT NOT NULL,
    order_no TEXT NOT NULL,
    reason TEXT NOT NULL,
    caller TEXT NOT NULL,
    person TEXT NOT NULL,
    proposed_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT proposal_pk PRIMARY KEY (proposal_id, platform),
    CONSTRAINT proposal_request_id_once UNIQUE (request_id, platform),
    CONSTRAINT proposal_by_proposer UNIQUE (proposal_id, platform, caller, person, expires_at),
    CONSTRAINT proposal_has_proposer CHECK (caller <> ''),
    CONSTRAINT proposal_amount_not_negative CHECK (amount_fen >= 0)
);
CREATE TABLE proposal_decision (
    platform TEXT NOT NULL,
    proposal_id UUID NOT NULL,
    verdict TEXT NOT NULL,
    caller TEXT NOT NULL,
    person TEXT NOT NULL,
    note TEXT NOT NULL,
    proposer_caller TEXT NOT NULL,
    proposer_person TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    mac BYTEA NOT NULL,
    CONSTRAINT proposal_decided_once PRIMARY KEY (proposal_id, platform),
    CONSTRAINT proposal_decision_of_verdict UNIQUE (proposal_id, platform, verdict),
    CONSTRAINT proposal_decision_names_its_proposer
        FOREIGN KEY (platform, proposal_id, proposer_caller, proposer_person, expires_at)
        REFERENCES proposal (platform, proposal_id, caller, person, expires_at),
    CONSTRAINT proposal_verdict_known CHECK (verdict IN ('approved', 'rejected', 'expired')),
    CONSTRAINT proposal_approved_by_another CHECK (
        verdict <> 'approved'
        OR caller <> '' AND CASE
            WHEN person <> '' AND proposer_person <> '' THEN person <> proposer_person
            ELSE caller <> proposer_caller
        END
    ),
    CONSTRAINT proposal_approved_in_time CHECK (verdict <> 'approved' OR at < expires_at),
    CONSTRAINT proposal_expired_in_time CHECK (verdict <> 'expired' OR at >= expires_at)
);
CREATE TABLE proposal_outcome (
    platform TEXT NOT NULL,
    proposal_id UUID NOT NULL,
    verdict TEXT NOT NULL DEFAULT 'approved',
    operation_id UUID,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT proposal_outcome_once PRIMARY KEY (proposal_id, platform),
    CONSTRAINT proposal_outcome_of_approved FOREIGN KEY (platform, proposal_id, verdict)
        REFERENCES proposal_decision (platform, proposal_id, verdict),
    CONSTRAINT proposal_outcome_is_of_approved CHECK (verdict = 'approved'),
    CONSTRAINT proposal_outcome_is_one CHECK (operation_id IS NOT NULL OR reason <> '')
);
CREATE TABLE proposal_due (
    platform TEXT NOT NULL,
    proposal_id UUID NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    holder UUID,
    CONSTRAINT proposal_due_once PRIMARY KEY (proposal_id, platform)
);
CREATE INDEX proposal_due_by_time ON proposal_due (at, platform);
"""

APPEND_ONLY = """
CREATE TRIGGER {0}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {0}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.execute(UP)
    for table in TABLES:
        op.execute(APPEND_ONLY.format(table))


def downgrade() -> None:
    op.execute("DROP TABLE proposal_due, proposal_outcome, proposal_decision, proposal")
