"""Transfers into the pooled account: found by 6050 and entered once each (catalogue 6050; quick start: 挂账处理).

The bank credits a transfer from a bound card to its member, and puts every other one into suspense. Either enters the
mirror as a single-step transaction on the day of the booking; the bank's serial makes it once only, however often the
days are asked for. Money in suspense has an account for each transfer, so that it can be cleared to its owner in parts.

The list also shows money that enters in another way: the channels' clearing principal (6108), credits of acquired
orders, and withdrawals that came back (6048). Such rows are skipped and counted. Nothing is dropped silently: what
cannot be entered is told each time it is found. Names and accounts of payers are handed on and never kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum
from typing import Final

from bankclient import NO_EVIDENCE, REQUEST_FEN_MAX, BankClient, Evidence, TransfersIn, TransfersInRow, yuan
from jzb.v1.names import OperationKind
from ledger import (
    Change,
    Draft,
    FloorBroken,
    Leg,
    Member,
    Operation,
    Reads,
    State,
    StepOutcome,
)
from ledger.accounts import POOLED, suspense, withdrawable
from ledger.names import NO_MEMBER_CODE, BankSerial, RequestId, SubAccount
from service.bankday import days_now
from service.inflows import returns
from service.inflows.collector import Unentered, collect_all, last_days
from service.inflows.recorder import Key, Recorder
from service.inflows.returns import Returns
from service.inflows.withdrawable import credit
from service.questions.bookings import booked_on, is_serial, once
from service.questions.lists import read_list
from service.settings import Settings
from service.telemetry import events

TO_MEMBER: Final = "02"
TO_SUSPENSE: Final = "03"
CLEARING_PRINCIPAL: Final = "跨行支付本金清算"
ACQUIRED: Final = "见证+收单充值"
ACQUIRED_ORDER: Final = ",ORDER"


class Skip(Enum):
    """Why a row enters in another way."""

    CLEARING_PRINCIPAL = "the clearing of its day enters it"
    ACQUIRING = "acquiring enters it"
    WITHDRAWAL_RETURN = "the collection of returns enters it"


class ProblemReason(Enum):
    """Why a row cannot be entered."""

    MEMBER_UNKNOWN = "no member of this platform has the sub-account"
    TYPE_UNKNOWN = "InAcctType is neither 02 nor 03"
    AMOUNT_INVALID = "the amount is not above 0, or longer than any that can be sent"
    SERIAL_MISSING = "there is no serial by which it could be entered once only"
    CHANGED = "it was entered with another amount or to another account"


@dataclass(frozen=True, slots=True)
class Entered:
    """A transfer in the mirror, and the bank's row, which says from whom it came."""

    outcome: StepOutcome
    row: TransfersInRow


@dataclass(frozen=True, slots=True)
class NotEntered:
    """A row that could not be entered, of the day that was asked for."""

    day: date
    row: TransfersInRow
    reason: ProblemReason


@dataclass(slots=True)
class Collected:
    """A page of transfers, ``entered`` of them new; ``next`` is the day and bank serial to go on behind."""

    transfers: list[Entered] = field(default_factory=list)
    problems: list[NotEntered] = field(default_factory=list)
    entered: int = 0
    skipped: Counter[Skip] = field(default_factory=Counter)
    skipped_fen: Counter[Skip] = field(default_factory=Counter)
    next: str = ""

    def skip(self, why: Skip, row: TransfersInRow) -> None:
        """Count a row that enters in another way."""
        self.skipped[why] += 1
        self.skipped_fen[why] += row.TranAmt


def skip_of(row: TransfersInRow, returned: Collection[str]) -> Skip | None:
    """Whether a row enters in another way; ``returned`` are the bank serials of returns: the day's (6048), and those
    that were entered.
    """
    remark = (row.Remark or "").strip()
    if row.InAcctType == TO_SUSPENSE and CLEARING_PRINCIPAL in remark:
        return Skip.CLEARING_PRINCIPAL
    if ACQUIRED in remark or remark.endswith(ACQUIRED_ORDER):
        return Skip.ACQUIRING
    return Skip.WITHDRAWAL_RETURN if row.FrontSeqNo in returned else None


def problem_of(row: TransfersInRow, member: Member | None, known: Operation | None) -> ProblemReason | None:
    """What stands against entering a row; ``known`` is what was entered under its serial."""
    if not is_serial(row.FrontSeqNo):
        return ProblemReason.SERIAL_MISSING
    if row.InAcctType not in (TO_MEMBER, TO_SUSPENSE):
        return ProblemReason.TYPE_UNKNOWN
    if not 0 < row.TranAmt <= REQUEST_FEN_MAX:
        return ProblemReason.AMOUNT_INVALID
    if row.InAcctType == TO_MEMBER and member is None:
        return ProblemReason.MEMBER_UNKNOWN
    payee = member.member_id if member is not None and row.InAcctType == TO_MEMBER else ""
    if known is not None and (known.amount_fen, known.payee) != (row.TranAmt, payee):
        return ProblemReason.CHANGED
    return None


def request_id(bank_serial: BankSerial) -> RequestId:
    """The request id of what was entered under a bank serial."""
    return RequestId(f"transfer {bank_serial}")


class Transfers:
    """Asks for transfers and enters them. One instance a process; any process may ask for any day."""

    def __init__(
        self, reads: Reads, bank: BankClient, recorder: Recorder, returns: Returns, settings: Settings
    ) -> None:
        self._reads = reads
        self._bank = bank
        self._recorder = recorder
        self._returns = returns
        self._settings = settings
        self.unentered: tuple[Unentered, ...] = ()
        """What the last whole collection could not enter."""

    async def collect_last_days(self) -> None:
        """Enter what came in on the last days, today included."""
        found: list[NotEntered] = []
        await collect_all(
            self.collect, *last_days(self._settings.transfers.days), lambda page: found.extend(page.problems)
        )
        self.unentered = tuple(
            Unentered("transfers", one.day, one.row.FrontSeqNo, one.row.TranAmt, one.reason.name) for one in found
        )

    async def collect(self, first: date, last: date, after: str, limit: int) -> Collected:
        """Enter up to ``limit`` transfers of these days, oldest first, behind ``after``; problems count as well.

        Raises `Problem`.
        """
        behind_day, _, behind_serial = after.partition(" ")
        page = Collected()
        day = max(first, date.fromisoformat(behind_day)) if behind_day else first
        while day <= last:
            listed, evidence = await self.listed_day(day)
            rows = [row for row in listed if (str(day), row.FrontSeqNo) > (behind_day, behind_serial)]
            returned = {row.PayeeFrontSeqNo for row in (await self._returns.listed_day(day))[0]} if rows else set()
            members = await self._reads.members_by_sub_account({SubAccount(row.SubAcctNo) for row in rows})
            names = {name(BankSerial(row.FrontSeqNo)) for row in rows for name in (request_id, returns.request_id)}
            known = await self._reads.operations_by_request(names)
            returned |= {row.FrontSeqNo for row in rows if returns.request_id(BankSerial(row.FrontSeqNo)) in known}
            for row in rows:
                is_same = (str(day), row.FrontSeqNo) == (behind_day, behind_serial)
                if len(page.transfers) + len(page.problems) >= limit and not is_same:
                    page.next = f"{behind_day} {behind_serial}"
                    return page
                await self._enter_row(page, day, row, returned, members.get(SubAccount(row.SubAcctNo)), known, evidence)
                behind_day, behind_serial = str(day), row.FrontSeqNo
            day += timedelta(days=1)
        return page

    async def _enter_row(
        self,
        page: Collected,
        day: date,
        row: TransfersInRow,
        returned: Collection[str],
        member: Member | None,
        known: dict[RequestId, Operation],
        evidence: Evidence,
    ) -> None:
        skip = skip_of(row, returned)
        if skip is not None:
            page.skip(skip, row)
            return
        earlier = known.get(request_id(BankSerial(row.FrontSeqNo)))
        reason = problem_of(row, member, earlier)
        if reason is not None:
            events.TRANSFER_NOT_ENTERED.log(reason=reason.name, bank_serial=row.FrontSeqNo, bank_day=str(day))
            page.problems.append(NotEntered(day, row, reason))
        elif earlier is not None:
            operation, parts = (await self._reads.full_operations([earlier.id]))[earlier.id]
            page.transfers.append(Entered(StepOutcome(operation, did=False, parts=parts), row))
        else:
            try:
                outcome = await self._enter(day, row, member, evidence)
            except FloorBroken:
                # The collection of returns was there first.
                page.skip(Skip.WITHDRAWAL_RETURN, row)
                return
            known[outcome.operation.request_id] = outcome.operation
            page.entered += outcome.did
            page.transfers.append(Entered(outcome, row))

    async def _enter(self, day: date, row: TransfersInRow, member: Member | None, evidence: Evidence) -> StepOutcome:
        """Raises `FloorBroken` when it was entered as a return."""
        payee, balance_evidence = NO_MEMBER_CODE, NO_EVIDENCE
        booked_day = booked_on(BankSerial(row.FrontSeqNo)) or day
        legs: tuple[Leg, ...] = (Leg(POOLED, suspense(BankSerial(row.FrontSeqNo)), row.TranAmt),)
        if row.InAcctType == TO_MEMBER and member is not None:
            payee = member.member_id
            if self._settings.rules.transferred_money == "withdrawable":
                legs = (Leg(POOLED, withdrawable(member.sub_account), row.TranAmt),)
            else:
                legs, balance_evidence = await credit(
                    self._bank, self._reads, member.sub_account, row.TranAmt, booked_day
                )
        outcome = await self._recorder.record(
            OperationKind.TRANSFER_IN,
            Key.of_bank(request_id(BankSerial(row.FrontSeqNo))),
            Change(
                state=State.DONE,
                message="a transfer came in" if payee else "a transfer came in and lies in suspense",
                bank_serial=BankSerial(row.FrontSeqNo),
                evidence=Evidence.of_all((evidence, balance_evidence)),
            ),
            [
                Draft(
                    (once(BankSerial(row.FrontSeqNo)), *legs),
                    payee=payee,
                    amount_fen=row.TranAmt,
                    bank_serial=BankSerial(row.FrontSeqNo),
                )
            ],
            payee=payee,
            bank_day=booked_day,
        )
        if outcome.did:
            events.TRANSFER_CAME_IN.log(
                operation_id=str(outcome.operation.id),
                amount=yuan(row.TranAmt),
                bank_serial=row.FrontSeqNo,
                is_in_suspense=not payee,
            )
        return outcome

    async def listed_day(self, day: date) -> tuple[Sequence[TransfersInRow], Evidence]:
        """The rows of a day, by bank serial, and their evidence: a day is either the bank's present one or history."""
        rows: list[TransfersInRow] = []
        may_be_present = day >= days_now()[0]
        if may_be_present:
            listed = await read_list(self._bank, TransfersIn(FunctionFlag="1", StartDate=day, EndDate=day))
            rows = [row for row in listed.required() if row.AccountingDate == f"{day:%Y%m%d}"]
        if not rows:
            listed = await read_list(self._bank, TransfersIn(FunctionFlag="0", StartDate=day, EndDate=day))
            rows = listed.required(is_refusal_empty=may_be_present)
        return sorted(rows, key=lambda row: row.FrontSeqNo), listed.answer.evidence
