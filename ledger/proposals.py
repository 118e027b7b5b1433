"""Two people: what one identity has proposed, what another has decided, and what came of it.

The tables are only ever added to, but for `proposal_due`, which says when something is to be done. PostgreSQL's
constraints keep the rules (a proposal is decided once, in time, not approved by its proposer; only what is approved
has an outcome), and PostgreSQL's clock judges all times. What a proposal asks for comes here sealed and leaves sealed:
this room has no key.

An approved proposal is carried out by one process at a time. It holds a lease, opens an operation within a third of
it, and may say that nothing came of it only while it has it. So nothing runs any more once a refusal is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, LiteralString
from uuid import UUID, uuid4

from psycopg.errors import CheckViolation
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.database import reading
from ledger.errors import ProposerApproves
from ledger.names import MemberCode, RequestId

RESTORED: Final[LiteralString] = "LEDGER_BEHIND"
"""The refusal of what was approved when the books were copied that were restored since (`ledger.copies`)."""


class ProposalState(StrEnum):
    """How far a proposal is."""

    PENDING = "pending"
    APPROVED = "approved"
    EXECUTED = "executed"
    REFUSED = "refused"
    """It was approved, and refused when it ran."""
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def may_run(self) -> bool:
        """Whether it may still make an operation."""
        return self in (ProposalState.PENDING, ProposalState.APPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProposal:
    """A proposal to be stored. ``method`` is the path of its RPC."""

    proposal_id: UUID
    request_id: RequestId
    fingerprint: bytes
    method: str
    key_id: str
    sealed: bytes
    amount_fen: int
    payer: MemberCode
    payee: MemberCode
    order_no: str
    reason: str
    caller: str
    person: str

    def with_sealed(self, sealed: bytes) -> NewProposal:
        """The same with its request."""
        return replace(self, sealed=sealed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal(NewProposal):
    """A proposal as the database has it: the decider's names are empty before there is a decision.

    ``left_s`` is how long it could still be approved when it was read, in seconds; 0 or less when that is over.
    """

    state: ProposalState
    proposed_at: datetime
    expires_at: datetime
    left_s: float
    decider_caller: str
    decider_person: str
    note: str
    decided_at: datetime | None
    mac: bytes
    operation_id: UUID | None
    refusal: str
    refusal_message: str

    @property
    def is_ended_by_restore(self) -> bool:
        """Whether nobody but a restored copy has ended it: it may have been carried out after the copy was made."""
        is_rejected_by_nobody = self.state is ProposalState.REJECTED and not self.decider_caller
        return is_rejected_by_nobody or self.refusal == RESTORED


@dataclass(frozen=True, slots=True)
class ProposalDecision:
    """What somebody has decided; ``mac`` is the service's, by which it recognises its own decisions."""

    caller: str
    person: str
    note: str
    mac: bytes


@dataclass(frozen=True, slots=True)
class KeyNeed:
    """How many proposals wait that one key of the vault has sealed, and until when the last of them can be approved."""

    key_id: str
    proposals: int
    until: datetime


_STATE: Final[LiteralString] = """
CASE
  WHEN o.reason <> '' THEN 'refused'
  WHEN o.reason = '' THEN 'executed'
  WHEN c.verdict IS NOT NULL THEN c.verdict
  WHEN p.expires_at <= now() THEN 'expired'
  ELSE 'pending'
END
"""

_SELECT: Final[LiteralString] = f"""
SELECT
  p.proposal_id, p.request_id, p.fingerprint, p.method, p.key_id, p.sealed, p.amount_fen, p.payer, p.payee, p.order_no,
  p.reason, p.caller, p.person, {_STATE} AS state, p.proposed_at, p.expires_at,
  CAST(extract(epoch FROM p.expires_at - now()) AS double precision) AS left_s,
  coalesce(c.caller, '') AS decider_caller, coalesce(c.person, '') AS decider_person, coalesce(c.note, '') AS note,
  c.at AS decided_at, coalesce(c.mac, '') AS mac,
  o.operation_id, coalesce(o.reason, '') AS refusal, coalesce(o.message, '') AS refusal_message
FROM proposal p
LEFT JOIN proposal_decision c ON c.platform = p.platform AND c.proposal_id = p.proposal_id
LEFT JOIN proposal_outcome o ON o.platform = p.platform AND o.proposal_id = p.proposal_id
WHERE p.platform = :platform
"""

_PROPOSE: Final[LiteralString] = """
WITH made AS (
  INSERT INTO proposal (
    platform, proposal_id, request_id, fingerprint, method, key_id, sealed, amount_fen, payer, payee, order_no, reason,
    caller, person, expires_at
  )
  VALUES (
    :platform, :proposal_id, :request_id, :fingerprint, :method, :key_id, :sealed, :amount_fen, :payer, :payee,
    :order_no, :reason, :caller, :person, now() + :life
  )
  ON CONFLICT (request_id, platform) DO NOTHING
  RETURNING platform, proposal_id, expires_at
)
INSERT INTO proposal_due (platform, proposal_id, at) SELECT platform, proposal_id, expires_at FROM made
"""

_DECIDED: Final[LiteralString] = """
WITH decided AS (
  INSERT INTO proposal_decision (
    platform, proposal_id, verdict, caller, person, note, proposer_caller, proposer_person, expires_at, mac
  )
  SELECT platform, proposal_id, :verdict, :caller, :person, :note, caller, person, expires_at, :mac
  FROM proposal
  WHERE platform = :platform AND proposal_id = :proposal_id AND expires_at > now()
  ON CONFLICT (proposal_id, platform) DO NOTHING
  RETURNING platform, proposal_id
)
"""

_APPROVE: Final[LiteralString] = (
    _DECIDED
    + """
INSERT INTO proposal_due (platform, proposal_id, at, holder)
SELECT platform, proposal_id, now() + :lease, :holder FROM decided
ON CONFLICT (proposal_id, platform) DO UPDATE SET at = excluded.at, holder = excluded.holder
"""
)

_REJECT: Final[LiteralString] = (
    _DECIDED
    + """
DELETE FROM proposal_due d USING decided WHERE d.platform = decided.platform AND d.proposal_id = decided.proposal_id
"""
)

_EXPIRE: Final[LiteralString] = """
WITH over AS (
  SELECT p.platform, p.proposal_id, p.caller, p.person, p.expires_at
  FROM proposal_due d
  JOIN proposal p ON p.platform = d.platform AND p.proposal_id = d.proposal_id
  LEFT JOIN proposal_decision c ON c.platform = d.platform AND c.proposal_id = d.proposal_id
  WHERE d.platform = :platform AND d.at <= now() AND p.expires_at <= now() AND c.verdict IS NULL
  ORDER BY d.at
  LIMIT :limit
  FOR UPDATE OF d SKIP LOCKED
), decided AS (
  INSERT INTO proposal_decision (
    platform, proposal_id, verdict, caller, person, note, proposer_caller, proposer_person, expires_at, mac
  )
  SELECT platform, proposal_id, 'expired', '', '', '', caller, person, expires_at, '' FROM over
  ON CONFLICT (proposal_id, platform) DO NOTHING
  RETURNING platform, proposal_id
)
DELETE FROM proposal_due d USING decided WHERE d.platform = decided.platform AND d.proposal_id = decided.proposal_id
"""

_LEASE: Final[LiteralString] = """
WITH was AS (
  SELECT d.platform, d.proposal_id
  FROM proposal_due d
  JOIN proposal_decision c ON c.platform = d.platform AND c.proposal_id = d.proposal_id AND c.verdict = 'approved'
  WHERE d.platform = :platform AND d.at <= now()
    AND (CAST(:proposal_id AS uuid) IS NULL OR d.proposal_id = :proposal_id)
  ORDER BY d.at
  LIMIT 1
  FOR UPDATE OF d SKIP LOCKED
)
UPDATE proposal_due d
SET at = now() + :lease, holder = :holder
FROM was
WHERE d.platform = was.platform AND d.proposal_id = was.proposal_id
RETURNING d.proposal_id
"""

_NEEDING: Final[LiteralString] = """
SELECT p.key_id, count(*), max(p.expires_at)
FROM proposal_due d
JOIN proposal p ON p.platform = d.platform AND p.proposal_id = d.proposal_id
WHERE d.platform = :platform
GROUP BY p.key_id
ORDER BY p.key_id
"""

_HELD: Final[LiteralString] = "platform = :platform AND proposal_id = :proposal_id AND holder = :holder AND at > now()"

_END: Final[LiteralString] = f"""
WITH held AS (
  SELECT platform, proposal_id FROM proposal_due WHERE {_HELD} FOR UPDATE
), ended AS (
  INSERT INTO proposal_outcome (platform, proposal_id, operation_id, reason, message)
  SELECT platform, proposal_id, :operation_id, :reason, :message FROM held
  ON CONFLICT (proposal_id, platform) DO NOTHING
)
DELETE FROM proposal_due d USING held WHERE d.platform = held.platform AND d.proposal_id = held.proposal_id
"""

_LATER: Final[LiteralString] = f"UPDATE proposal_due SET at = now() + :wait, holder = NULL WHERE {_HELD}"

EXPIRE_MAX: Final = 100

_WHY_RESTORED: Final[LiteralString] = "the books were restored from a copy, and it may have run after the copy"

END_RESTORED: Final[tuple[LiteralString, ...]] = (
    f"""
    INSERT INTO proposal_outcome (platform, proposal_id, reason, message)
    SELECT platform, proposal_id, '{RESTORED}', '{_WHY_RESTORED}'
    FROM proposal_decision c
    WHERE verdict = 'approved' AND NOT EXISTS (
      SELECT FROM proposal_outcome o WHERE o.platform = c.platform AND o.proposal_id = c.proposal_id
    )
    """,
    f"""
    INSERT INTO proposal_decision (
      platform, proposal_id, verdict, caller, person, note, proposer_caller, proposer_person, expires_at, mac
    )
    SELECT platform, proposal_id, 'rejected', '', '', '{_WHY_RESTORED}', caller, person, expires_at, ''
    FROM proposal p
    WHERE NOT EXISTS (
      SELECT FROM proposal_decision c WHERE c.platform = p.platform AND c.proposal_id = p.proposal_id
    )
    """,
    "DELETE FROM proposal_due",
)
"""For books that are restored from a copy: what was proposed may have been carried out after the copy was made, so
nothing of it runs by itself, or once more.
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one process to carry out an approved proposal, until it ends."""

    proposal_id: UUID
    holder: UUID


class Proposals:
    """One platform's. Each method is one statement; raises `LedgerUnavailable`."""

    def __init__(self, engine: AsyncEngine, platform: str) -> None:
        self._engine = engine
        self._platform = platform

    async def propose(self, new: NewProposal, life_s: float) -> None:
        """Store a proposal, unless its request id has one."""
        fields = {name: getattr(new, name) for name in NewProposal.__slots__}
        await self._changed(_PROPOSE, **fields, life=timedelta(seconds=life_s))

    async def proposal(self, proposal_id: UUID) -> Proposal | None:
        """The proposal of this id, or None."""
        found = await self._select(_SELECT + " AND p.proposal_id = :proposal_id", proposal_id=proposal_id)
        return found[0] if found else None

    async def of_request(self, request_id: RequestId) -> Proposal | None:
        """The proposal of this request id, or None."""
        found = await self._select(_SELECT + " AND p.request_id = :request_id", request_id=request_id)
        return found[0] if found else None

    async def page(self, before: UUID | None, limit: int, state: ProposalState | None) -> list[Proposal]:
        """Up to ``limit`` proposals that are older than ``before``, newest first."""
        narrowed = (
            " AND (CAST(:before AS uuid) IS NULL OR p.proposal_id < :before)"
            f" AND (CAST(:state AS text) IS NULL OR {_STATE} = :state)"
            " ORDER BY p.proposal_id DESC LIMIT :limit"
        )
        return await self._select(_SELECT + narrowed, before=before, limit=limit, state=state and state.value)

    async def needing(self) -> list[KeyNeed]:
        """The keys that what may still be carried out is sealed under: nothing else opens it."""
        async with reading(self._engine) as connection:
            rows = (await connection.execute(text(_NEEDING), {"platform": self._platform})).all()
        return [KeyNeed(*row) for row in rows]

    async def approve(self, proposal_id: UUID, decision: ProposalDecision, lease_s: float) -> Lease | None:
        """Approve what nobody has decided and is not over, and take it to be carried out; None otherwise.

        Raises `ProposerApproves`.
        """
        lease = Lease(proposal_id, uuid4())
        taken = {"lease": timedelta(seconds=lease_s), "holder": lease.holder}
        try:
            return lease if await self._decide(_APPROVE, proposal_id, "approved", decision, **taken) else None
        except IntegrityError as refused:
            broken = refused.orig
            if isinstance(broken, CheckViolation) and broken.diag.constraint_name == "proposal_approved_by_another":
                raise ProposerApproves(f"proposal {proposal_id} is approved by its proposer") from None
            raise

    async def reject(self, proposal_id: UUID, decision: ProposalDecision) -> bool:
        """Reject what nobody has decided and is not over; False otherwise."""
        return await self._decide(_REJECT, proposal_id, "rejected", decision)

    async def expire(self) -> int:
        """Decide what nobody has decided in time; how much of it."""
        return await self._changed(_EXPIRE, limit=EXPIRE_MAX)

    async def lease(self, lease_s: float, proposal_id: UUID | None = None) -> Lease | None:
        """Take an approved proposal that is to be carried out, or that one; None when there is none to take."""
        holder = uuid4()
        values = {"lease": timedelta(seconds=lease_s), "proposal_id": proposal_id, "holder": holder}
        async with reading(self._engine) as connection:
            row = (await connection.execute(text(_LEASE), {"platform": self._platform, **values})).first()
        return None if row is None else Lease(row[0], holder)

    async def executed(self, lease: Lease, operation_id: UUID) -> bool:
        """It has become an operation. False when the lease is over."""
        return await self._end(lease, operation_id, "", "")

    async def refused(self, lease: Lease, reason: str, message: str, operation_id: UUID | None = None) -> bool:
        """It was refused for good, recorded as an operation or not. False when the lease is over."""
        return await self._end(lease, operation_id, reason, message)

    async def later(self, lease: Lease, wait_s: float) -> None:
        """It could not be carried out now: give it back, to be tried again."""
        held = {"proposal_id": lease.proposal_id, "holder": lease.holder}
        await self._changed(_LATER, **held, wait=timedelta(seconds=wait_s))

    async def _end(self, lease: Lease, operation_id: UUID | None, reason: str, message: str) -> bool:
        held = {"proposal_id": lease.proposal_id, "holder": lease.holder}
        return bool(await self._changed(_END, **held, operation_id=operation_id, reason=reason, message=message))

    async def _decide(
        self, statement: LiteralString, proposal_id: UUID, verdict: str, decision: ProposalDecision, **more: Any
    ) -> bool:
        values = {**{name: getattr(decision, name) for name in ProposalDecision.__slots__}, **more}
        changed = await self._changed(statement, proposal_id=proposal_id, verdict=verdict, **values)
        return bool(changed)

    async def _changed(self, statement: LiteralString, **values: Any) -> int:
        async with reading(self._engine) as connection:
            return int((await connection.execute(text(statement), {"platform": self._platform, **values})).rowcount)

    async def _select(self, statement: LiteralString, **values: Any) -> list[Proposal]:
        async with reading(self._engine) as connection:
            rows = (await connection.execute(text(statement), {"platform": self._platform, **values})).mappings().all()
        return [
            Proposal(
                **{
                    **row,
                    "fingerprint": bytes(row["fingerprint"]),
                    "sealed": bytes(row["sealed"]),
                    "mac": bytes(row["mac"]),
                    "state": ProposalState(row["state"]),
                }
            )
            for row in rows
        ]
