"""The bank's nightly clearing in the mirror (quick start: 6108), and the opening balances of the platform's own
accounts.

Both are things that the bank does on its own; each enters the mirror as one step. When
the bank says that a day is cleared, the channels' debt of that day is paid into the pooled account, new money of
that day is withdrawable at once, and what waits already is moved over pocket by pocket, each move a step of its
own, so that payments go on between them. Members who spent between the bank's clearing and ours are then brought to
what the bank says (`service.inflows.withdrawable`).

Whoever needs withdrawable money that is not there makes us ask at once, instead of being refused for what the bank has
cleared and we have not heard of.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import ClassVar
from uuid import UUID

from bankclient import (
    NO_EVIDENCE,
    STATED_FEN_MAX,
    BankClient,
    ClearingResult,
    ClearingResultRow,
    Evidence,
    SubAccountBalances,
    SubAccountBalancesRow,
    yuan,
)
from jzb.v1.names import OperationKind
from ledger import (
    Account,
    Change,
    Draft,
    Filter,
    FloorBroken,
    Kind,
    Leg,
    Lists,
    OpeningForged,
    Operation,
    Reads,
    State,
    Step,
    StepOutcome,
    Writer,
)
from ledger.accounts import LIMITS, OWN_FUNDS, POOLED, in_transit, order, withdrawable
from ledger.names import RequestId, SubAccount
from service import problems
from service.bankday import bank_today
from service.inflows.collector import collecting
from service.inflows.recorder import Key, Recorder
from service.inflows.withdrawable import Withdrawable
from service.plans.plan import Stored
from service.questions.calls import reply_of
from service.questions.lists import read_list
from service.questions.query import Query
from service.settings import Settings
from service.telemetry import events

CLEARED = "0"
CLEARING = OperationKind.CLEARING
SWEEP_BATCH = 256
QUERY_AHEAD_EVERY_S = 1.0
"""How often refused callers make us ask for past days, at most."""
QUERY_AHEAD_WAIT_S = 5.0
"""How long one of them waits for it; what is not entered by then goes on without it."""
OPENING_BALANCE_ID = "adoption own-funds"
"""With a space, as all that the bank or this service does by itself: no request id of a caller has one."""
OPENING_BALANCE_ID_BEFORE = "adoption:own-funds"
"""The same in books from before it had one."""
OPENING_BALANCE_AGAIN_S = 5.0
COMPARED_LATER = "members who spent since the bank cleared are compared when nothing of theirs is in doubt"


@dataclass(frozen=True, slots=True)
class BankDayStatus:
    """What 6108 says of a day: its money in fen and how far the bank is."""

    bank_day: date
    total_fen: int
    status: str
    message: str = ""
    evidence: Evidence = NO_EVIDENCE

    @property
    def is_cleared(self) -> bool:
        """Whether the bank has cleared the day."""
        return self.status == CLEARED


@dataclass(frozen=True, slots=True)
class SweepQuery(Query):
    """Nothing to ask: the bank has cleared ``bank_day``, and uncleared money up to it is yet to be moved over."""

    by: ClassVar[str] = "sweep"

    bank_day: date


class Sweeper:
    """Moves uncleared money of cleared days to withdrawable."""

    def __init__(self, writer: Writer, reads: Reads, bank: BankClient, settings: Settings) -> None:
        self._writer = writer
        self._reads = reads
        self._withdrawable = Withdrawable(writer, reads, bank)
        # Where withdrawable money is spent first, a payment takes the same whether the days before are cleared or not.
        self._follows = settings.rules.spend_order == "waiting_first"
        self._compare_again_s = settings.resolver.in_process_interval_s

    async def carry_on(self, query: SweepQuery, operation: Operation) -> StepOutcome:
        """Go on with a clearing that was entered."""
        return await self.sweep(operation.id, query.bank_day)

    async def sweep(self, operation_id: UUID, bank_day: date) -> StepOutcome:
        """Move every uncleared pocket up to ``bank_day``, follow the bank where members have spent since, then finish
        the clearing operation; or leave it ACCEPTED while some of them cannot be compared. Safe to run again.
        """
        while pockets := await self._reads.waiting_pockets(bank_day, SWEEP_BATCH):
            await self._move(operation_id, bank_day, pockets)
        change = Change(state=State.DONE)
        # A later day's clearing follows for both.
        is_latest = await self._reads.cleared_through() == bank_day
        if (
            self._follows
            and is_latest
            and not await self._withdrawable.follow(operation_id, bank_day, self._compare_again_s)
        ):
            change = Change(state=State.ACCEPTED, message=COMPARED_LATER, next_ask_in_s=self._compare_again_s)
        return await self._writer.submit(Step(operation=operation_id, change=change, bank_day=bank_day))

    async def sweep_one(self, operation_id: UUID, bank_day: date, sub_account: SubAccount) -> None:
        """Move what one member has waiting up to ``bank_day``, ahead of whoever moves that of all members."""
        waiting = await self._reads.pockets(sub_account, (Kind.UNCLEARED,))
        pockets = [
            (pocket, remaining_fen)
            for pocket, remaining_fen in waiting.items()
            if pocket.day <= bank_day and remaining_fen
        ]
        if pockets:
            # The resolver goes on with the others soon: whoever moved them may be gone.
            await self._move(operation_id, bank_day, pockets, next_ask_in_s=1.0)

    async def _move(
        self, operation_id: UUID, bank_day: date, pockets: Sequence[tuple[Account, int]], next_ask_in_s: float = 60.0
    ) -> None:
        step = Step(
            operation=operation_id,
            change=Change(state=State.ACCEPTED, next_ask_in_s=next_ask_in_s),
            bank_day=bank_day,
            enter=tuple(
                Draft((Leg(pocket, withdrawable(pocket.owner), remaining_fen),), amount_fen=remaining_fen)
                for pocket, remaining_fen in pockets
            ),
        )
        try:
            await self._writer.submit(step)
        except FloorBroken:
            # A payment took of a pocket since it was read: the others go on, that one is read again.
            if len(pockets) > 1:
                half = len(pockets) // 2
                await self._move(operation_id, bank_day, pockets[:half], next_ask_in_s)
                await self._move(operation_id, bank_day, pockets[half:], next_ask_in_s)


class Clearing:
    """Asks for the clearing of days and enters it. One instance a process; any process may do any day, once."""

    def __init__(
        self,
        writer: Writer,
        reads: Reads,
        lists: Lists,
        bank: BankClient,
        recorder: Recorder,
        sweeper: Sweeper,
        settings: Settings,
    ) -> None:
        self._writer = writer
        self._reads = reads
        self._lists = lists
        self._bank = bank
        self._recorder = recorder
        self._sweeper = sweeper
        self._settings = settings
        self._tasks: asyncio.TaskGroup | None = None
        self._ahead: asyncio.Task[None] | None = None
        self._queried_ahead_at_s = -math.inf
        self.blocked: Mapping[date, int] | None = None
        """The days that are over and that the bank has not cleared, with what it last said that it has to clear of
        each, in fen; 0 of days that it was not asked about, since they come after another. None before it was asked."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Clearing]:
        """Ask for past days in the background, when the settings say so."""
        async with (
            collecting("own funds", self.enter_opening_balance, OPENING_BALANCE_AGAIN_S),
            collecting("clearing", self.clear_past_days, self._settings.clearing.poll_s),
            asyncio.TaskGroup() as tasks,
        ):
            self._tasks = tasks
            try:
                yield self
            finally:
                self._tasks = None
                if self._ahead is not None:
                    self._ahead.cancel()

    async def submit(self, step: Step) -> StepOutcome:
        """Submit a step that opens an operation. Where it lacks withdrawable money the bank is asked for the days that
        are over, what its member has waiting of cleared ones is moved, and the step is judged once more. Raises
        `LedgerError` as the writer does.
        """
        if not any(_debits_withdrawable(leg) for draft in step.pend for leg in draft.legs):
            return await self._writer.submit(step)
        try:
            return await self._writer.submit(replace(step, keeps_refusal=False))
        except FloorBroken as broken:
            if broken.breach.pocket == Kind.WITHDRAWABLE.value:
                await self._query_ahead()
                day = await self._reads.cleared_through()
                if day is not None and (entered := await self._opened_here(day)) is not None:
                    await self._sweeper.sweep_one(entered.id, day, SubAccount(broken.breach.owner))
        return await self._writer.submit(step)

    async def _query_ahead(self) -> None:
        """Enter what the bank has cleared, for everybody who waits for it at once. Raises nothing."""
        if self._ahead is None:
            if self._tasks is None or time.monotonic() < self._queried_ahead_at_s + QUERY_AHEAD_EVERY_S:
                return
            self._queried_ahead_at_s = time.monotonic()
            self._ahead = self._tasks.create_task(self._clear_safely(), name="clearing ahead of its time")
        await asyncio.wait((self._ahead,), timeout=QUERY_AHEAD_WAIT_S)

    async def _clear_safely(self) -> None:
        try:
            await self.clear_past_days()
        except Exception as error:
            events.CLEARING_NOT_ASKED.log_failure(error)
        finally:
            self._ahead = None

    async def clear_past_days(self) -> None:
        """Clear every day before today that has uncleared money, in order, as far as the bank has got."""
        days, cleared = await self._reads.waiting_days(), await self._reads.cleared_through()
        # Where the bank has booked on a later day already, a day is over, whatever our clock says.
        today = max((bank_today(), *(day.bank_day for day in days)))
        # What is left of a day that was entered, perhaps under a caller's request id, is held or stands to another day.
        over = [day.bank_day for day in days if day.bank_day < today and (cleared is None or day.bank_day > cleared)]
        for number, bank_day in enumerate(over):
            status = await self.status(bank_day)
            if status is None or not status.is_cleared:
                shortfall_fen = 0 if status is None else status.total_fen
                self.blocked = {**dict.fromkeys(over[number:], 0), bank_day: shortfall_fen}
                return
            await self.enter(Key.of_bank(f"clearing {bank_day}"), status)
        self.blocked = {}

    async def status(self, bank_day: date) -> BankDayStatus | None:
        """What the bank says of one day; None when it has no record of it. Raises `Problem` when it tells nothing."""
        question = ClearingResult(FunctionFlag="2", StartDate=bank_day, EndDate=bank_day, PageNum=1)
        answer = await self._bank.call(question)
        reply = reply_of(answer, question.code)
        if reply is None or not reply.rows:
            return None
        rows = reply.rows
        # Of several the bank has signed the last alone, and a day has one.
        if len(rows) > 1 or _day_of(rows[0]) != bank_day:
            raise problems.bank_silent(f"6108 answers {len(rows)} rows, not one of {bank_day}")
        row = rows[0]
        message = row.ClearingReturnMsg or ""
        return BankDayStatus(bank_day, row.TotalAmt, row.ClearingState, message, answer.evidence)

    async def enter(self, key: Key, status: BankDayStatus) -> StepOutcome:
        """Enter a cleared day once, then move what waits; a day that is entered already, under whatever request id,
        has the operation that did it. Raises `LedgerError`.
        """
        day = status.bank_day
        # With a space, which no order number of a caller has.
        legs = [Leg(order(f"clearing {day}"), LIMITS, 1)]
        if status.total_fen > 0:
            legs.append(Leg(POOLED, in_transit(day), status.total_fen))
        elif status.total_fen < 0:
            # More was revoked on that day than topped up: the channels get the difference.
            legs.append(Leg(in_transit(day), POOLED, -status.total_fen))
        try:
            outcome = await self._recorder.record(
                CLEARING,
                key,
                Change(state=State.ACCEPTED, evidence=status.evidence, next_ask_in_s=60.0),
                [Draft(tuple(legs), amount_fen=abs(status.total_fen))],
                plan=Stored((), (), (), SweepQuery(day)).to_json(),
                bank_day=day,
                cleared_through=day,
            )
        except FloorBroken:
            entered = await self.entered(day)
            if entered is None:
                raise
            return entered
        if not outcome.did:
            return outcome
        events.DAY_CLEARED.log(bank_day=str(day), total=yuan(status.total_fen))
        if self.blocked is not None:
            self.blocked = {left: fen for left, fen in self.blocked.items() if left > day}
        swept = await self._sweeper.sweep(outcome.operation.id, day)
        return swept._replace(did=True)

    async def entered(self, bank_day: date) -> StepOutcome | None:
        """The operation that entered a day, under whatever request id; None when none has."""
        found = await self._lists.newest(Filter(kinds=frozenset({CLEARING}), days=(bank_day, bank_day)))
        return None if found is None else StepOutcome(found.operation, did=False, parts=found.parts)

    async def _opened_here(self, bank_day: date) -> Operation | None:
        """The clearing of a day whose money still moves; None where there is none that this service has entered."""
        entered = await self.entered(bank_day)
        if entered is None or entered.operation.state.is_final:
            return None
        try:
            query = Stored.from_json(await self._reads.plan(entered.operation)).query
        except OpeningForged as forged:
            events.OPENING_FORGED.log(why=str(forged))
            return None
        return entered.operation if query == SweepQuery(bank_day) else None

    async def enter_opening_balance(self) -> bool:
        """Take over the opening balance of the platform's own funds, once (6010 flag 3); False when the bank is
        away.
        """
        before = await self._reads.operation(request_id=RequestId(OPENING_BALANCE_ID_BEFORE))
        if before is not None and before.kind == OperationKind.OPENING_BALANCE:
            return True
        if await self._reads.operation(request_id=RequestId(OPENING_BALANCE_ID)) is not None:
            return True
        listed = await self._functional()
        if listed is None:
            return False
        rows, evidence = listed
        amount_fen = sum(
            row.AcctAvailBal for row in rows if row.SubAcctProperty == self._settings.rules.own_funds_property
        )
        if amount_fen > STATED_FEN_MAX:
            events.OWN_FUNDS_IMPOSSIBLE.log(amount=yuan(amount_fen))
            return False
        drafts = [Draft((Leg(POOLED, OWN_FUNDS, amount_fen),), amount_fen=amount_fen)] if amount_fen > 0 else []
        message = "the platform's own funds are taken over, as the bank had them at the first start"
        change = Change(state=State.DONE, message=message, evidence=evidence)
        await self._recorder.record(OperationKind.OPENING_BALANCE, Key.of_bank(OPENING_BALANCE_ID), change, drafts)
        events.OWN_FUNDS_TAKEN_OVER.log(amount=yuan(amount_fen))
        return True

    async def functional_accounts(self) -> list[SubAccountBalancesRow] | None:
        """The platform's own accounts at the bank (6010 flag 3), each once; None when it does not tell them so."""
        listed = await self._functional()
        return None if listed is None else listed[0]

    async def _functional(self) -> tuple[list[SubAccountBalancesRow], Evidence] | None:
        listed = await read_list(self._bank, SubAccountBalances(QueryFlag="3"))
        rows, answer = listed.rows, listed.answer
        if answer.reply is None:
            return None
        if len({row.SubAcctNo for row in rows}) != len(rows):
            events.LISTED_TWICE.log()
            return None
        return rows, answer.evidence


def _debits_withdrawable(leg: Leg) -> bool:
    return isinstance(leg.debit, Account) and leg.debit.kind is Kind.WITHDRAWABLE


def _day_of(row: ClearingResultRow) -> date | None:
    try:
        return date.fromisoformat(row.Date)
    except ValueError:
        return None
