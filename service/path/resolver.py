"""Asks the bank about every operation that is not final, until it is (quick start: 6110).

Takes unknown outcomes, acceptances, and reservations whose process died, from the table of operations itself: that
table is the queue, a lease on its row keeps two processes from asking about the same one, and the journal's
terminal key would stop them if they did. Nothing expires on a timer.

When an operation is due is PostgreSQL's to say, by whose clock it was written (`ledger.Leased`); this machine's clock
has no say in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from bankclient import Answer, BankClient, FindSubAccount, TransactionStatusReply
from bankclient import Outcome as AnswerOutcome
from ledger import InDoubt, Leased, Member, Part, PartState, Reads, State, Writer
from service import telemetry
from service.bankday import bank_today
from service.inflows.clearing import Sweeper
from service.inflows.returns import Returns
from service.path.runner import Settled
from service.plans.plan import (
    SEND_AGAIN,
    AcquiredAsk,
    BookedAsk,
    CardAsk,
    MemberAsk,
    MobileAsk,
    RebookAsk,
    ResendAsk,
    ReturnAsk,
    SameNameAsk,
    StatusAsk,
    Stored,
    SweepAsk,
    Word,
)
from service.plans.settlement import Told, settle
from service.questions import statement
from service.questions.acquiring import Acquiring
from service.questions.bookings import booked_on, contradiction, status_of
from service.questions.member_questions import NO_MEMBER, MemberQuestions, clash_of
from service.settings import Settings

log = structlog.get_logger("jzb.resolver")

STATUS_WORDS = {"0": Word.DONE, "1": Word.REFUSED, "2": Word.ACCEPTED, "5": Word.ACCEPTED, "6": Word.ACCEPTED}
"""TranStatus of 6110: 0 and 1 are final, 2, 5 and 6 ask on (quick start: 6110)."""


class Resolver:
    """One instance a process; any number of processes."""

    def __init__(
        self,
        writer: Writer,
        reads: Reads,
        bank: BankClient,
        sweeper: Sweeper,
        returns: Returns,
        questions: MemberQuestions,
        settings: Settings,
    ) -> None:
        self._writer = writer
        self._reads = reads
        self._bank = bank
        self._sweeper = sweeper
        self._returns = returns
        self._questions = questions
        self._acquiring = Acquiring(bank, reads)
        self._settings = settings
        self._lease_s = 3 * (settings.bank.timeout_s + settings.bank.connect_timeout_s)
        self._asking: dict[UUID, asyncio.Event] = {}
        self._is_resting = False
        self.in_doubt: InDoubt | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Resolver]:
        """Resolve in the background for the life of the block."""
        async with asyncio.TaskGroup() as tasks:
            loop = tasks.create_task(self._run(), name="resolver")
            try:
                yield self
            finally:
                loop.cancel()

    def rest(self) -> None:
        """Take no more operations, whose leases would outlive this process; questions under way may still end."""
        self._is_resting = True

    async def _run(self) -> None:
        settings = self._settings.resolver
        while not self._is_resting:
            try:
                due = await self._reads.lease_due(settings.concurrency, self._lease_s)
                await asyncio.gather(*(self._resolve_due(leased) for leased in due))
                self.in_doubt = await self._reads.in_doubt(
                    reserved_for_s=settings.orphan_after_s, accepted_for_s=settings.accepted_long_s
                )
                if len(due) == settings.concurrency:
                    continue
            except Exception:
                log.exception("the resolver could not look for due operations; it goes on")
            await asyncio.sleep(settings.poll_s)

    async def resolve_now(self, operation_id: UUID) -> None:
        """Ask about one operation ahead of its time, or wait for the question that is under way.

        Does nothing for a final one. However often this is called, the schedule stays: a question on schedule still
        comes when it is due.
        """
        async with self._alone(operation_id) as is_first:
            if is_first:
                for leased in await self._reads.lease_due(1, self._lease_s, operation_id):
                    await self._resolve_safely(leased)

    async def _resolve_due(self, leased: Leased) -> None:
        # Whoever is before it leases the operation again, and asks.
        async with self._alone(leased.operation.id) as is_first:
            if is_first:
                await self._resolve_safely(leased)

    @asynccontextmanager
    async def _alone(self, operation_id: UUID) -> AsyncIterator[bool]:
        """Whether this is the only one in the process to ask about an operation; if not, after the other has asked.

        The place is taken before the operation is leased: of many callers at once, the others wait for the answer.
        """
        if asked := self._asking.get(operation_id):
            await asked.wait()
            yield False
            return
        asked = self._asking[operation_id] = asyncio.Event()
        try:
            yield True
        finally:
            del self._asking[operation_id]
            asked.set()

    async def _resolve_safely(self, leased: Leased) -> None:
        try:
            async with asyncio.timeout(self._lease_s * 0.9):
                await self.resolve(leased)
        except Exception:
            log.exception("will be asked again", operation_id=str(leased.operation.id), serial=leased.operation.serial)

    async def resolve(self, leased: Leased) -> Settled:
        """Ask once about a leased operation, and settle what the answer allows."""
        operation, began_s = leased.operation, time.monotonic()
        context = telemetry.context_from(operation.plan.get("trace", {}))
        with telemetry.tracer.start_as_current_span("resolve", context=context) as span:
            span.set_attribute("jzb.operation_id", str(operation.id))
            span.set_attribute("jzb.serial", operation.serial)
            span.set_attribute("jzb.asks", operation.asks + 1)
            stored = Stored.from_json(await self._reads.plan(operation))
            if isinstance(stored.ask, SweepAsk):
                outcome = await self._sweeper.sweep(operation.id, stored.ask.bank_day)
                return Settled(outcome.operation, outcome.parts)
            if isinstance(stored.ask, ReturnAsk):
                outcome = await self._returns.name(operation.id, stored.ask, operation.asks + 1)
                return Settled(outcome.operation, outcome.parts)
            parts = (await self._reads.parts([operation.id])).get(operation.id, [])
            pending = [part for part in parts if part.state is PartState.RESERVED]
            if not pending and (stored.then if operation.state is State.ACCEPTED else stored.drafts):
                # Its parts ended between the lease and here; whoever ended them has settled it.
                found = await self._reads.operation(operation_id=operation.id)
                return Settled(found or operation, tuple(parts))
            by_part = isinstance(stored.ask, StatusAsk) and stored.ask.by_part
            if isinstance(stored.ask, BookedAsk):
                told = await statement.ask(self._bank, self._reads, leased, stored.ask, pending)
            elif isinstance(stored.ask, AcquiredAsk):
                told = list((await self._acquiring.drive(operation, stored.ask, stored.drafts)).told)
            else:
                each = pending if by_part else [None]
                told = [await self._ask(leased, stored, parts, part) for part in each]
            step = settle(
                operation,
                stored,
                [part.part for part in pending],
                told,
                bank_today(),
                self._settings.resolver,
                asked=True,
                due_in_s=leased.due_in_s,
                took_s=time.monotonic() - began_s,
            )
            outcome = await self._writer.submit(step)
            span.set_attribute("jzb.state", outcome.operation.state.value)
            if outcome.did and outcome.operation.state is not operation.state:
                telemetry.outcomes.add(1, {"kind": operation.kind, "state": outcome.operation.state.value})
                log.info(
                    "resolved",
                    operation_id=str(operation.id),
                    serial=operation.serial,
                    state=outcome.operation.state.value,
                    asks=outcome.operation.asks,
                )
        return Settled(outcome.operation, outcome.parts)

    async def _ask(self, leased: Leased, stored: Stored, parts: Sequence[Part], part: Part | None) -> Told:
        """What the bank says of one part, or without one of the whole."""
        operation = leased.operation
        match stored.ask:
            case ResendAsk() as ask if operation.reason == SEND_AGAIN:
                answer: Answer[Any] = await self._bank.call(ask.message(), operation.serial)
                told = again_told(answer, is_last=self._is_last_try(leased))
            case StatusAsk(flag) | ResendAsk(flag):
                answer = await status_of(self._bank, flag, leased, operation.serial if part is None else part.serial)
                told = _status_told(answer, is_accepted=operation.state is State.ACCEPTED)
                if answer.reply is not None and told.word in (Word.DONE, Word.ACCEPTED):
                    odd = await contradiction(self._reads, operation, parts, answer.reply, part)
                    told = replace(told, word=Word.SILENT, detail=odd) if odd else told
            case MemberAsk() as member:
                question = FindSubAccount(TranNetMemberCode=member.member_id)
                answer = await self._bank.call(question)
                told = await self._with_closed_member(_member_told(answer, member), member)
            case CardAsk() | MobileAsk() | SameNameAsk() as ask:
                told = await self._questions.ask(operation, ask)
            case RebookAsk() as ask:
                told = await self._acquiring.rebooked(ask)
            case _:
                raise TypeError(f"{stored.ask} has no question")
        if clash := await clash_of(self._reads, told.members):
            return replace(told, word=Word.SILENT, detail=clash, members=())
        return told

    async def _with_closed_member(self, told: Told, ask: MemberAsk) -> Told:
        if ask.opening or told.word is not Word.DONE:
            return told
        # The bank does not know the member any more, so the number of what is closed is the mirror's.
        found = await self._reads.member(ask.member_id)
        if found is None:
            return told
        closed = Member(
            member_id=found.member_id, sub_account=found.sub_account, property=found.property, is_open=False
        )
        return replace(told, members=(closed,))

    def _is_last_try(self, leased: Leased) -> bool:
        return leased.due_in_s <= 0 and leased.operation.not_found + 1 >= self._settings.resolver.send_again_times


def _status_told(answer: Answer[TransactionStatusReply], *, is_accepted: bool) -> Told:
    reply = answer.reply
    if reply is None:
        # Once accepted, a call cannot become unknown to the bank: the question went astray.
        is_missing = answer.is_no_record and not is_accepted
        word = Word.NOT_FOUND if is_missing else Word.SILENT
        return Told(word, code=answer.code, message=answer.message, detail=answer.detail, evidence=answer.evidence)
    return Told(
        STATUS_WORDS.get(reply.TranStatus, Word.SILENT),
        code=answer.code,
        message=reply.FailMsg or "",
        detail=f"6110 says TranStatus {reply.TranStatus}",
        bank_serial=reply.OldTranFrontSeqNo or "",
        bank_day=booked_on(reply.OldTranFrontSeqNo, reply.TranDate),
        evidence=answer.evidence,
    )


def again_told(answer: Answer[Any], *, is_last: bool) -> Told:
    """What a call that was sent again tells. The bank acts once for a serial, so a lost answer is no reason to stop."""
    if answer.send_again:
        word = Word.REFUSED if is_last else Word.AGAIN
    elif answer.outcome is AnswerOutcome.DONE:
        word = Word.DONE
    elif answer.outcome is AnswerOutcome.REFUSED:
        word = Word.REFUSED
    else:
        # A signed answer that proves nothing (such as a serial repeated): from now on 6110 is asked instead.
        word = Word.SILENT if answer.evidence else Word.AGAIN
    return Told(
        word,
        code=answer.code,
        message=answer.message,
        detail=answer.detail,
        bank_serial=answer.front_seq_no or "",
        bank_day=answer.booking_date,
        evidence=answer.evidence,
    )


def _member_told(answer: Answer[Any], ask: MemberAsk) -> Told:
    sub_account = getattr(answer.reply, "SubAcctNo", None)
    if sub_account is not None:
        # After a lost "open" the member exists: done. After a lost "close" it still does: not done (yet).
        word = Word.DONE if ask.opening else Word.NOT_FOUND
    elif answer.outcome is AnswerOutcome.REFUSED and answer.code in NO_MEMBER:
        word = Word.NOT_FOUND if ask.opening else Word.DONE
    else:
        word = Word.SILENT
    members: tuple[Member, ...] = ()
    if word is Word.DONE and sub_account is not None:
        members = (Member(member_id=ask.member_id, sub_account=str(sub_account), property=ask.property),)
    return Told(
        word,
        code=answer.code,
        message=answer.message,
        detail=answer.detail,
        evidence=answer.evidence,
        members=members,
    )
