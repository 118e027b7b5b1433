"""The one path of a money call: reserve, call, settle. What stays open goes to the resolver.

Promises: nothing is sent before its reservation is committed; no database transaction is open during the call; once
sent, a call is settled even when its caller is gone. One request id acts once: the same content gets the same
answer for ever, other content is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

import structlog
import uuid_utils
from google.protobuf.message import Message

from bankclient import (
    Answer,
    BankClient,
    BankUnavailable,
    LinkSameNameReply,
    OpenMemberReply,
    RevokeSplitTopUpReply,
    ServiceIdMissing,
    SplitTopUpReply,
    booking_date,
)
from bankclient import Outcome as AnswerOutcome
from jzb.v1.verification_pb2 import Verification
from ledger import (
    Change,
    FloorBroken,
    LedgerBusy,
    LedgerUnavailable,
    Member,
    NewOperation,
    Numbers,
    Operation,
    Part,
    Reads,
    RequestIdReused,
    State,
    Step,
    Writer,
)
from service import problems, telemetry, view
from service.acquiring import Acquiring
from service.bankday import bank_today
from service.plans.cards import NOTHING_SAID, card_said
from service.plans.members import same_name
from service.plans.plan import AcquiredAsk, MemberAsk, Plan, ResendAsk, SameNameAsk, Serials, Word
from service.plans.verification import mode_of
from service.problems import Problem
from service.settings import Settings
from service.settlement import Told, first_word, leave_open, let_go, settle

log = structlog.get_logger("jzb.runner")


class MoneyRequest(Protocol):
    """Any request of the contract that changes something."""

    request_id: str


class Settled:
    """An operation with its parts, as the caller gets it."""

    def __init__(self, operation: Operation, parts: Sequence[Part]) -> None:
        self.operation = operation
        self.parts = parts


class Runner:
    """Takes any plan. One instance a process."""

    def __init__(self, writer: Writer, reads: Reads, bank: BankClient, numbers: Numbers, settings: Settings) -> None:
        self._writer = writer
        self._reads = reads
        self._bank = bank
        self._numbers = numbers
        self._settings = settings
        self._acquiring = Acquiring(bank, reads)
        self._under_way: dict[UUID, asyncio.Task[Settled | None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Runner]:
        """Carry calls out for the life of the block; those under way at its end are finished within ``drain_s``."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                yield self
            finally:
                left = list(self._under_way.values())
                if left:
                    _, unfinished = await asyncio.wait(left, timeout=self._settings.drain_s)
                    for task in unfinished:
                        task.cancel()

    async def run(
        self,
        request: Message,
        make_plan: Callable[[Serials], Awaitable[Plan]],
        *,
        rows: int = 0,
        check_only: bool = False,
    ) -> Settled:
        """Carry out one request, or give again the answer it had.

        ``rows`` is how many row serials the plan needs. Raises `Problem`.
        """
        request_id: str = request.request_id  # type: ignore[attr-defined]
        digest = fingerprint(request)
        try:
            self._admit_mode(request)
            numbers = [await self._numbers.take() for _ in range(1 + rows)]
            serials = Serials.make(self._settings.bank.uid, bank_today(), numbers)
            plan = await make_plan(serials)
            self._admit_interface(plan)
            if not check_only:
                self._admit()
                await self._bank.ready()
        except (Problem, BankUnavailable) as reason:
            earlier = await self._reads.operation(request_id=request_id)
            if earlier is not None:
                return await self._again(earlier, digest)
            raise reason if isinstance(reason, Problem) else problems.bank_unavailable(str(reason)) from reason
        return await self._reserve_and_carry(request_id, digest, plan, serials.own, check_only=check_only)

    def _admit(self) -> None:
        if len(self._under_way) >= self._settings.call_concurrency:
            raise problems.overloaded(f"{self._settings.call_concurrency} calls are under way already")

    def _admit_mode(self, request: Message) -> None:
        verification: Verification | None = getattr(request, "verification", None)
        if verification is None:
            return
        mode, enabled = mode_of(verification), self._settings.rules.verification
        if mode not in enabled:
            raise problems.not_enabled(
                f"verification {mode}",
                f"verification: {mode} is not switched on for this platform, which has {', '.join(enabled)}",
                "JZB_RULES__VERIFICATION",
            )

    def _admit_interface(self, plan: Plan) -> None:
        try:
            self._bank.service_id(type(plan.message))
        except ServiceIdMissing as missing:
            code = plan.message.code
            raise problems.not_enabled(code, str(missing), f'JZB_BANK__SERVICE_IDS (key "{code}")') from None

    async def _reserve_and_carry(
        self, request_id: str, digest: bytes, plan: Plan, serial: str, *, check_only: bool
    ) -> Settled:
        new = NewOperation(
            id=UUID(bytes=uuid_utils.uuid7().bytes),
            request_id=request_id,
            fingerprint=digest,
            kind=plan.kind,
            serial=serial,
            plan={**plan.stored.to_json(), "trace": telemetry.carrier()},
            payer=plan.payer,
            payee=plan.payee,
            order_no=plan.order_no,
            amount_fen=plan.amount_fen,
            fee_fen=plan.fee_fen,
            trace_id=telemetry.trace_id(),
        )
        step = Step(
            operation=new,
            change=Change(state=State.RESERVED, next_ask_in_s=self._settings.resolver.orphan_after_s),
            bank_day=bank_today(),
            pend=plan.drafts,
            cards_new=() if plan.card is None else (plan.card,),
            check_only=check_only,
        )
        with telemetry.below("reserve") as span:
            try:
                reserved = await self._writer.submit(step)
            except FloorBroken as refusal:
                telemetry.outcomes.add(1, {"kind": plan.kind, "state": "refused"})
                raise problems.floor_broken(refusal.breach, refusal.operation) from None
            except RequestIdReused as reuse:
                raise problems.request_id_reused(reuse.operation, reuse.fingerprint) from None
            except LedgerBusy as busy:
                raise problems.overloaded(str(busy)) from None
            except LedgerUnavailable:
                raise problems.ledger_unavailable() from None
            span.set_attribute("jzb.operation_id", str(reserved.operation.id))
            span.set_attribute("jzb.serial", reserved.operation.serial)
        if check_only:
            is_new = reserved.operation.id == new.id
            judged = reserved.operation._replace(id=view.NOT_RECORDED) if is_new else reserved.operation
            return Settled(judged, reserved.parts)
        if not reserved.did:
            return await self._again(reserved.operation, digest)

        operation = reserved.operation
        if self._tasks is None:
            raise RuntimeError("the runner is not running")
        # A task of its own: a caller who gives up must not stop a payment between reserve and settle.
        task = self._tasks.create_task(self._carry(operation, plan, reserved.pended), name=f"call {operation.serial}")
        self._under_way[operation.id] = task
        task.add_done_callback(lambda _: self._under_way.pop(operation.id, None))
        settled = await asyncio.shield(task)
        if settled is None:
            raise problems.ledger_unavailable()
        return _or_problem(settled)

    async def _carry(self, operation: Operation, plan: Plan, pended: Sequence[int]) -> Settled | None:
        """Call the bank and settle. Never raises: what it cannot finish stays for the resolver."""
        try:
            if isinstance(plan.ask, AcquiredAsk):
                step = await self._step_driven(operation, plan, plan.ask, pended)
            else:
                answer = await telemetry.bank_call(self._bank, plan.message, operation.serial)
                step = self._step_after(operation, plan, pended, answer)
            with telemetry.below("settle") as span:
                outcome = await self._writer.submit(step)
                span.set_attribute("jzb.state", outcome.operation.state.value)
        except Exception:
            log.exception("left for the resolver", operation_id=str(operation.id), serial=operation.serial)
            return None
        telemetry.outcomes.add(1, {"kind": plan.kind, "state": outcome.operation.state.value})
        return Settled(outcome.operation, outcome.parts)

    def _step_after(self, operation: Operation, plan: Plan, pended: Sequence[int], answer: Answer[Any]) -> Step:
        today, resolver = bank_today(), self._settings.resolver
        word = first_word(answer, is_final=not plan.then, may_send_again=isinstance(plan.ask, ResendAsk))
        told = told_by(answer, plan)
        if word is not None:
            stored = plan.stored
            return settle(operation, stored, pended, [replace(told, word=word)], today, resolver, asked=False)
        if answer.outcome is AnswerOutcome.NOT_SENT:
            return let_go(operation, plan.stored, pended, told, today)
        return leave_open(operation, told, today, resolver)

    async def _step_driven(self, operation: Operation, plan: Plan, ask: AcquiredAsk, pended: Sequence[int]) -> Step:
        today, resolver = bank_today(), self._settings.resolver
        driven = await self._acquiring.drive(operation, ask, plan.drafts)
        if any(one.word is Word.SILENT for one in driven.told):
            if driven.began:
                return leave_open(operation, driven.told[0], today, resolver)
            return let_go(operation, plan.stored, pended, driven.told[0], today)
        return settle(operation, plan.stored, pended, driven.told, today, resolver, asked=False)

    async def _again(self, earlier: Operation, digest: bytes) -> Settled:
        """The answer that this request id has had, or will have when its first call has come back."""
        if earlier.fingerprint != digest:
            raise problems.request_id_reused(earlier, digest)
        task = self._under_way.get(earlier.id)
        if task is not None:
            settled = await asyncio.shield(task)
            if settled is not None:
                return _or_problem(settled)
        while True:
            found = await self._reads.operation(operation_id=earlier.id)
            if found is None:
                raise problems.ledger_unavailable()
            if found.state is not State.RESERVED:
                parts = await self._reads.parts([found.id])
                return _or_problem(Settled(found, parts.get(found.id, ())))
            # Another process has the call in its hands; the caller's own deadline bounds this wait.
            await asyncio.sleep(0.1)


def _or_problem(settled: Settled) -> Settled:
    problem = problems.of_operation(settled.operation, settled.parts)
    if problem is not None:
        raise problem
    return settled


def told_by(answer: Answer[Any], plan: Plan) -> Told:
    """What the answer to the call itself tells, its word apart."""
    bank_serial, bank_day = answer.front_seq_no or "", answer.booking_date
    reply = answer.reply
    if isinstance(reply, SplitTopUpReply | RevokeSplitTopUpReply) and not bank_serial:
        # The rows carry the bank's serials; they were booked together.
        bank_serial = next((row.FrontSeqNo for row in reply.TranItemArray if row.FrontSeqNo), "")
        bank_day = booking_date(bank_serial) if bank_serial else None
    members: tuple[Member, ...] = ()
    if isinstance(reply, OpenMemberReply) and isinstance(plan.ask, MemberAsk):
        member = Member(
            member_id=plan.ask.member_id,
            sub_account=reply.SubAcctNo,
            property=plan.ask.property,
            is_open=plan.ask.opening,
        )
        members = (member,)
    if isinstance(reply, LinkSameNameReply) and isinstance(plan.ask, SameNameAsk):
        members = same_name(plan.ask, reply.CommonSubAcctNo, reply.MerSubAcctNo)
    return Told(
        Word.SILENT,
        code=answer.code,
        message=answer.message,
        detail=answer.detail,
        bank_serial=bank_serial,
        bank_day=bank_day,
        evidence=answer.evidence,
        members=members,
        card=NOTHING_SAID if reply is None else card_said(reply),
    )


def fingerprint(request: Message) -> bytes:
    """A digest of what a request asks for, its request id and its verification apart: a retry may bring a new code.

    Of personal fields only the last four characters count, so that the digest of a card number cannot be searched for.
    """
    content = type(request)()
    content.CopyFrom(request)
    for field in content.DESCRIPTOR.fields:
        if field.name in ("request_id", "validate_only", "verification"):
            content.ClearField(field.name)
        elif field.GetOptions().debug_redact:
            setattr(content, field.name, str(getattr(content, field.name))[-4:])
    digest = hashlib.sha256(content.DESCRIPTOR.full_name.encode())
    digest.update(content.SerializeToString(deterministic=True))
    return digest.digest()
