"""The one way to record what no call of ours brings about: what the bank does by itself (clearings, returns,
transfers), and what is copied from it (own funds, cards, the balances of restored books).

Each is an operation of one step. Its key makes it act once, however often and by however many processes it is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any
from uuid import UUID

import uuid_utils

from ledger import Card, CardChange, Change, Draft, Member, NewOperation, SerialNumbers, Step, StepOutcome, Writer
from ledger.names import NO_MEMBER_CODE, MemberCode, RequestId
from service import policy, telemetry
from service.bankday import bank_today
from service.serials import new_serial


@dataclass(frozen=True, slots=True)
class Key:
    """What is entered once: the request id, and the digest of what it stands for."""

    request_id: RequestId
    fingerprint: bytes
    caller: str = ""
    person: str = ""

    @classmethod
    def of_caller(cls, request_id: str, fingerprint: bytes) -> Key:
        """Of what the present caller asks for under its request id."""
        rights = policy.present()
        return cls(rights.stored(request_id), fingerprint, rights.caller, rights.person)

    @classmethod
    def of_bank(cls, name: str) -> Key:
        """Of what no caller has asked for. The name has a space, which no request id of a caller has."""
        assert " " in name, name
        return cls(RequestId(name), sha256(name.encode()).digest())


class Recorder:
    """One instance a process."""

    def __init__(self, writer: Writer, numbers: SerialNumbers, uid: str) -> None:
        self._writer = writer
        self._numbers = numbers
        self._uid = uid

    async def record(
        self,
        kind: str,
        key: Key,
        change: Change,
        drafts: Sequence[Draft] = (),
        *,
        plan: Mapping[str, Any] | None = None,
        payer: MemberCode = NO_MEMBER_CODE,
        payee: MemberCode = NO_MEMBER_CODE,
        bank_day: date | None = None,
        members: tuple[Member, ...] = (),
        cards_new: tuple[Card, ...] = (),
        cards: tuple[CardChange, ...] = (),
        cleared_through: date | None = None,
    ) -> StepOutcome:
        """Open an operation and enter its drafts in one commit; ``change`` has the bank's serial and the evidence.

        ``did`` is False when the key was entered before: then it is that operation. ``bank_day`` is today's unless the
        bank says it. Raises `LedgerError`; a floor that refuses it leaves nothing behind.
        """
        operation = NewOperation(
            id=UUID(bytes=uuid_utils.uuid7().bytes),
            request_id=key.request_id,
            fingerprint=key.fingerprint,
            kind=kind,
            serial=await new_serial(self._uid, self._numbers),
            plan={} if plan is None else {**plan, "linked": telemetry.carrier()},
            payer=payer,
            payee=payee,
            amount_fen=sum(draft.amount_fen for draft in drafts),
            trace_id=telemetry.trace_id(),
            caller=key.caller,
            person=key.person,
        )
        step = Step(
            operation=operation,
            change=change,
            bank_day=bank_day or bank_today(),
            enter=tuple(drafts),
            members=members,
            cards_new=cards_new,
            cards=cards,
            cleared_through=cleared_through,
            keeps_refusal=False,
        )
        outcome = await self._writer.submit(step)
        if outcome.did:
            telemetry.count_outcome(kind, outcome.operation.state)
        return outcome
