"""Withdrawals that came back: found by 6048 and entered once each (quick start: 查询银行提现退单信息).

The receiving bank may send a withdrawal back after its success. The withdrawal stays DONE; the money is a new inflow
that the bank credits to the member, and that enters the mirror as one step, on the
day of the return. The bank's serial of that credit makes it once only, however often the days are asked for.

On the day itself the bank does not say yet which withdrawal came back (catalogue 6048). The money is entered all the
same; the operation stays ACCEPTED until the bank has named it, and the name is a part of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum
from typing import ClassVar, Final
from uuid import UUID

from bankclient import REQUEST_FEN_MAX, BankClient, Evidence, ReturnedWithdrawals, ReturnedWithdrawalsRow, yuan
from jzb.v1.names import OperationKind
from ledger import (
    Change,
    Draft,
    FloorBroken,
    Member,
    OpeningForged,
    Operation,
    Reads,
    State,
    Step,
    StepOutcome,
    Writer,
)
from ledger.names import BankSerial, RequestId, Serial, SubAccount
from service.bankday import days_now
from service.inflows.collector import Unentered, collect_all, last_days
from service.inflows.recorder import Key, Recorder
from service.inflows.withdrawable import credit
from service.plans.plan import Stored
from service.questions.bookings import booked_on, is_serial, once
from service.questions.calls import reply_of
from service.questions.query import Query
from service.settings import ReturnsSettings
from service.telemetry import events

WITHDRAWALS: Final = "1"


class ProblemReason(Enum):
    """Why a row cannot be entered."""

    MEMBER_UNKNOWN = "no member of this platform has the sub-account"
    AMOUNT_INVALID = "the amount is not above 0, or longer than any that can be sent"
    SERIAL_MISSING = "there is no serial by which it could be entered once only"
    CHANGED = "it was entered with another amount or for another member"
    ENTERED_AS_TRANSFER = "6050 had it before 6048 did, so it was entered as a transfer; the money is there once"


@dataclass(frozen=True, slots=True)
class NotEntered:
    """A row that could not be entered, of the day that was asked for."""

    day: date
    row: ReturnedWithdrawalsRow
    reason: ProblemReason


@dataclass(slots=True)
class Collected:
    """A page of returns as they stand, ``entered`` of them new; ``next`` is the day and bank serial to go on behind."""

    outcomes: list[StepOutcome] = field(default_factory=list)
    problems: list[NotEntered] = field(default_factory=list)
    entered: int = 0
    next: str = ""


def problem_of(row: ReturnedWithdrawalsRow, member: Member | None, known: Operation | None) -> ProblemReason | None:
    """What stands against entering a row; ``known`` is what was entered under its serial."""
    if not is_serial(row.PayeeFrontSeqNo):
        return ProblemReason.SERIAL_MISSING
    if not 0 < row.RejectInAcctTranAmt <= REQUEST_FEN_MAX:
        return ProblemReason.AMOUNT_INVALID
    if member is None:
        return ProblemReason.MEMBER_UNKNOWN
    if known is not None and (known.amount_fen, known.payee) != (row.RejectInAcctTranAmt, member.member_id):
        return ProblemReason.CHANGED
    return None


def request_id(bank_serial: BankSerial) -> RequestId:
    """The request id of what was entered under a bank serial: with a space, which no request id of a caller has."""
    return RequestId(f"return {bank_serial}")


@dataclass(frozen=True, slots=True)
class ReturnQuery(Query):
    """Asks 6048 which withdrawal came back on ``bank_day`` with this bank serial: on the day itself it does not say."""

    by: ClassVar[str] = "return"

    bank_day: date
    bank_serial: BankSerial


class Returns:
    """Asks for returned withdrawals and enters them. One instance a process; any process may ask for any day."""

    def __init__(
        self, writer: Writer, reads: Reads, bank: BankClient, recorder: Recorder, settings: ReturnsSettings
    ) -> None:
        self._writer = writer
        self._reads = reads
        self._bank = bank
        self._recorder = recorder
        self._settings = settings
        self.unentered: tuple[Unentered, ...] = ()
        """What the last whole collection could not enter."""

    async def collect_last_days(self) -> None:
        """Enter what came back on the last days, today included."""
        found: list[NotEntered] = []
        await collect_all(self.collect, *last_days(self._settings.days), lambda page: found.extend(page.problems))
        self.unentered = tuple(
            Unentered("returns", one.day, one.row.PayeeFrontSeqNo, one.row.RejectInAcctTranAmt, one.reason.name)
            for one in found
        )

    async def collect(self, first: date, last: date, after: str, limit: int) -> Collected:
        """Enter up to ``limit`` returns of these days, oldest first, behind ``after``; problems count as well.

        Raises `Problem`.
        """
        behind_day, _, behind_serial = after.partition(" ")
        page = Collected()
        day = max(first, date.fromisoformat(behind_day)) if behind_day else first
        while day <= last:
            earliest, latest = days_now()
            listed, evidence = await self.listed_day(day, is_refusal_empty=earliest < day <= latest)
            rows = [row for row in listed if (str(day), row.PayeeFrontSeqNo) > (behind_day, behind_serial)]
            members = await self._reads.members_by_sub_account({SubAccount(row.PayeeWitnessSubAcctNo) for row in rows})
            for row in rows:
                # Rows of one serial, which are problems but for one, stand on one page.
                is_same = (str(day), row.PayeeFrontSeqNo) == (behind_day, behind_serial)
                if len(page.outcomes) + len(page.problems) >= limit and not is_same:
                    page.next = f"{behind_day} {behind_serial}"
                    return page
                await self._enter_row(page, day, row, members.get(SubAccount(row.PayeeWitnessSubAcctNo)), evidence)
                behind_day, behind_serial = str(day), row.PayeeFrontSeqNo
            day += timedelta(days=1)
        return page

    async def _enter_row(
        self, page: Collected, day: date, row: ReturnedWithdrawalsRow, member: Member | None, evidence: Evidence
    ) -> None:
        known = await self._reads.operation(request_id=request_id(BankSerial(row.PayeeFrontSeqNo)))
        reason = problem_of(row, member, known)
        outcome = None
        if reason is None and known is not None:
            outcome = await self._enter_again(known, day, row, evidence)
        elif reason is None and member is not None:
            try:
                outcome = await self._enter(day, row, member, evidence)
            except FloorBroken:
                reason = ProblemReason.ENTERED_AS_TRANSFER
        if reason is not None:
            bank_serial = row.PayeeFrontSeqNo
            events.RETURN_NOT_ENTERED.log(reason=reason.name, bank_serial=bank_serial, bank_day=str(day))
            page.problems.append(NotEntered(day, row, reason))
        elif outcome is not None:
            page.entered += outcome.did and known is None
            page.outcomes.append(outcome)

    async def carry_on(self, query: ReturnQuery, operation: Operation) -> StepOutcome:
        """Ask once more which withdrawal an entered return was. Raises `Problem` when the bank does not answer."""
        rows, evidence = await self.listed_day(query.bank_day)
        query_attempts = operation.query_attempts + 1
        for row in rows:
            if row.PayeeFrontSeqNo == query.bank_serial and row.OldMarketSeqNo:
                return await self._name(operation.id, query.bank_day, row.OldMarketSeqNo, query_attempts, evidence)
        return await self._writer.submit(
            Step(
                operation=operation.id,
                change=Change(
                    state=State.ACCEPTED,
                    message="the bank has not named the withdrawal yet",
                    evidence=evidence,
                    next_ask_in_s=self._settings.name_after_s,
                    query_attempts=query_attempts,
                ),
                bank_day=query.bank_day,
                expects=frozenset({State.ACCEPTED}),
            )
        )

    async def listed_day(
        self, day: date, *, is_refusal_empty: bool = False
    ) -> tuple[list[ReturnedWithdrawalsRow], Evidence]:
        """What came back on a day, by the bank serial of the credit, and the answer's evidence. Raises `Problem`.

        ``is_refusal_empty`` is for a day that may not have begun at the bank.
        """
        question = ReturnedWithdrawals(FunctionFlag=WITHDRAWALS, StartDate=day, EndDate=day)
        answer = await self._bank.call(question)
        reply = reply_of(answer, question.code, is_refusal_empty=is_refusal_empty)
        rows = () if reply is None else reply.TranItemArray
        return sorted(rows, key=lambda row: row.PayeeFrontSeqNo), answer.evidence

    async def _enter_again(
        self, known: Operation, day: date, row: ReturnedWithdrawalsRow, evidence: Evidence
    ) -> StepOutcome:
        if known.state is State.ACCEPTED and row.OldMarketSeqNo and await self._is_opened_here(known):
            return await self._name(known.id, day, row.OldMarketSeqNo, known.query_attempts, evidence)
        operation, parts = (await self._reads.full_operations([known.id]))[known.id]
        return StepOutcome(operation, did=False, parts=parts)

    async def _is_opened_here(self, known: Operation) -> bool:
        try:
            await self._reads.plan(known)
        except OpeningForged as forged:
            events.OPENING_FORGED.log(why=str(forged))
            return False
        return True

    async def _enter(self, day: date, row: ReturnedWithdrawalsRow, member: Member, evidence: Evidence) -> StepOutcome:
        """Raises `FloorBroken` when it was entered as a transfer."""
        amount_fen, original = row.RejectInAcctTranAmt, row.OldMarketSeqNo or ""
        booked_day = booked_on(BankSerial(row.PayeeFrontSeqNo)) or day
        legs, balance_evidence = await credit(self._bank, self._reads, member.sub_account, amount_fen, booked_day)
        draft = Draft(
            (once(BankSerial(row.PayeeFrontSeqNo)), *legs),
            serial=Serial(original),
            payee=member.member_id,
            amount_fen=amount_fen,
            bank_serial=BankSerial(row.PayeeFrontSeqNo),
        )
        outcome = await self._recorder.record(
            OperationKind.WITHDRAWAL_RETURN,
            Key.of_bank(request_id(BankSerial(row.PayeeFrontSeqNo))),
            Change(
                state=State.DONE if original else State.ACCEPTED,
                message="the receiving bank sent a withdrawal back",
                bank_message=row.RejectBillReason or "",
                bank_serial=BankSerial(row.PayeeFrontSeqNo),
                evidence=Evidence.of_all((evidence, balance_evidence)),
                next_ask_in_s=None if original else self._settings.name_after_s,
            ),
            [draft],
            plan=Stored((), (), (), ReturnQuery(day, BankSerial(row.PayeeFrontSeqNo))).to_json(),
            payee=member.member_id,
            bank_day=booked_day,
        )
        if outcome.did:
            events.WITHDRAWAL_RETURNED.log(
                operation_id=str(outcome.operation.id),
                withdrawal=original,
                amount=yuan(amount_fen),
                bank_serial=row.PayeeFrontSeqNo,
            )
        return outcome

    async def _name(
        self, operation_id: UUID, day: date, original: str, query_attempts: int, evidence: Evidence
    ) -> StepOutcome:
        message = "the bank has named the withdrawal"
        return await self._writer.submit(
            Step(
                operation=operation_id,
                change=Change(state=State.DONE, message=message, evidence=evidence, query_attempts=query_attempts),
                bank_day=day,
                enter=(Draft((), serial=Serial(original)),),
                expects=frozenset({State.ACCEPTED}),
            )
        )
