"""Looks for lost payments in the bank's list of successes (6072), where 6110 does not promise to know them: 6031, 6052,
6120, 6133 (notes.md 5).

The list does not carry CnsmrSeqNo, and sources disagree on its Remark: the note that was sent, or the order number.
So the note that is sent begins with the order number and the serial (`noted`), and a row counts as a part's
own when it carries that serial, or else when the order number stands there alone and the list has more such rows of
the same kind and amount than the mirror can explain. Other calls may have the same order number, direct payments any
number of times: their rows are known by the bank's serial, and where that is missing the list proves nothing. Promises
that one row never makes two parts done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import ClassVar, Final

from bankclient import NO_RECORD, SUCCESS_CODE, Evidence, SubAccountTransactions, SubAccountTransactionsRow
from jzb.v1.names import OperationKind
from ledger import Operation, Reads
from ledger.names import BankSerial, Serial, SubAccount
from service.bankday import days_around, days_now
from service.questions.bookings import booked_on
from service.questions.conflicts import response_mismatch
from service.questions.lists import read_list
from service.questions.query import OutcomeQuery, QueryContext
from service.questions.results import BankResult, Verdict
from service.questions.status import reply_result, status_of

BOOKING_TYPES: Final[dict[str, str]] = {
    OperationKind.SETTLE_CONFIRM: "7",
    OperationKind.SETTLE_CANCEL: "8",
    OperationKind.BATCH_PREPAY: "6",
    OperationKind.BATCH_CONFIRM: "7",
    OperationKind.BATCH_PAY: "1",
}
"""BookingType of 6072 by the kind of operation (catalogue, booking_type_6072)."""

OF_ONE: Final = frozenset({OperationKind.SETTLE_CONFIRM, OperationKind.SETTLE_CANCEL})
"""The kinds that 6110 is asked for as well. Of a batch it would have one word for all rows, should it know one, and the
bank may have done a part of them.
"""

BESIDE: Final[dict[str, str]] = {
    OperationKind.PREPAY_ORDER: "6",
    OperationKind.CONFIRM_ORDER: "7",
    OperationKind.CANCEL_ORDER: "8",
    OperationKind.PAY_T1: "1",
    OperationKind.PAY_T0: "1",
}
"""The same of what 6110 knows: never looked for here, but listed with the others."""

Likeness = tuple[str, str, int]
"""What rows that look alike share: booking type, order number, amount in fen."""


@dataclass(frozen=True, slots=True)
class BookedQuery(OutcomeQuery):
    """Looks for the parts in the payer's list of successes (6072): for 6031 and the batches, which 6110 does not
    promise to know.
    """

    by: ClassVar[str] = "booked"

    sub_account: SubAccount

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        operation, parts = context.operation, context.pending
        if operation.kind in OF_ONE and (final := await _status_result(context)) is not None:
            return [final]
        rows: list[SubAccountTransactionsRow] = []
        evidence: list[Evidence] = []
        for question in self._questions(context):
            listed = await read_list(context.bank, question)
            if not listed.is_complete:
                answer = listed.answer
                result = BankResult.of_question(Verdict.INCONCLUSIVE, answer)
                return [replace(result, detail=f"6072: {answer.detail}")]
            # A day that ended between the two questions is in both lists.
            rows += (Counter(listed.rows) - Counter(rows)).elements()
            evidence += [page.evidence for page in listed.answers]
        booking_type = BOOKING_TYPES[operation.kind]
        sought = [
            Sought(part.serial, (booking_type, part.order_no or operation.order_no, part.amount_fen)) for part in parts
        ]
        mirror = await _Mirror.of(context.reads, operation, {part.like[1] for part in sought})
        rows = [row for row in rows if row.FrontSeqNo not in mirror.serials]
        # Which of these the mirror has posted already cannot be told, so that one might be the part's own.
        undated = {_like(row) for row in rows if _day(row) is None}
        found, digest = find(sought, rows, mirror.posted, mirror.ahead), Evidence.of_all(evidence)
        return [
            BankResult(Verdict.INCONCLUSIVE, detail="a row of 6072 that may be it has no day")
            if row is None and part.like in undated
            else BankResult(
                Verdict.INCONCLUSIVE,
                detail="a row of 6072 that may be it may be another call's under the same order number",
            )
            if row is not None and part.like in mirror.beside and not _carries(row, part)
            else _row_result(row, digest)
            for part, row in zip(sought, found, strict=True)
        ]

    def _questions(self, context: QueryContext) -> list[SubAccountTransactions]:
        present = SubAccountTransactions(FunctionFlag="1", SubAcctNo=self.sub_account, QueryFlag="1")
        if (ended := ended_days(context.operation.created_at, context.leased.at, days_now())) is None:
            return [present]
        first, last = ended
        return [present, present.model_copy(update={"FunctionFlag": "2", "StartDate": first, "EndDate": last})]


def noted(order_no: str, serial: Serial, remark: str) -> str:
    """The Remark by which `BookedQuery` finds a part again: order number, serial, and the caller's note."""
    return f"{order_no} {serial} {remark}".rstrip()


@dataclass(frozen=True, slots=True)
class Sought:
    """A part whose outcome is not known."""

    serial: Serial
    like: Likeness


def find(
    sought: Sequence[Sought],
    rows: Sequence[SubAccountTransactionsRow],
    posted: Mapping[tuple[Likeness, date], int],
    ahead: Mapping[Likeness, int],
) -> list[SubAccountTransactionsRow | None]:
    """Each part's row, or None. ``sought`` must not look alike.

    ``posted`` counts by bank day what the mirror has posted already; ``ahead`` what is in doubt since before this
    operation and would be given such a row first.
    """
    found: list[SubAccountTransactionsRow | None] = []
    for part in sought:
        own = next((row for row in rows if _carries(row, part)), None)
        if own is None:
            by_day: dict[date, list[SubAccountTransactionsRow]] = {}
            for row in rows:
                if _like(row) == part.like and (day := _day(row)) is not None:
                    by_day.setdefault(day, []).append(row)
            left = [row for day, alike in sorted(by_day.items()) for row in alike[posted.get((part.like, day), 0) :]]
            left = left[ahead.get(part.like, 0) :]
            own = left[0] if left else None
        found.append(own)
    return found


def _like(row: SubAccountTransactionsRow) -> Likeness:
    return row.BookingType, row.Remark or "", row.TranAmt


def _day(row: SubAccountTransactionsRow) -> date | None:
    return booked_on(BankSerial(row.FrontSeqNo), row.TranDate)


def _carries(row: SubAccountTransactionsRow, part: Sought) -> bool:
    booking_type, order_no, amount_fen = part.like
    return (
        row.BookingType == booking_type
        and row.TranAmt == amount_fen
        and (row.Remark or "").split()[:2] == [order_no, part.serial]
    )


@dataclass(frozen=True, slots=True)
class _Mirror:
    """What the mirror knows of payments under the order numbers in question.

    ``posted`` counts by bank day what it has posted, ``ahead`` what is in doubt since before the operation. ``serials``
    are the bank's serials of other calls under them; ``beside`` are those calls of which it has none.
    """

    posted: Counter[tuple[Likeness, date]]
    ahead: Counter[Likeness]
    serials: set[BankSerial]
    beside: set[Likeness]

    @classmethod
    async def of(cls, reads: Reads, operation: Operation, order_nos: set[str]) -> _Mirror:
        mirror = cls(Counter(), Counter(), set(), set())
        known = await reads.known_under(order_nos, list(BOOKING_TYPES), before=operation.id)
        for kind, order_no, amount_fen, bank_day, count in known:
            like = (BOOKING_TYPES[kind], order_no, amount_fen)
            if bank_day is None:
                mirror.ahead[like] += count
            else:
                mirror.posted[like, bank_day] += count
        for kind, order_no, amount_fen, bank_serial in await reads.payments_under(order_nos, list(BESIDE)):
            if bank_serial:
                mirror.serials.add(bank_serial)
            else:
                mirror.beside.add((BESIDE[kind], order_no, amount_fen))
        return mirror


def ended_days(opened_at: datetime, leased_at: datetime, here: tuple[date, date]) -> tuple[date, date] | None:
    """The first and last of the days on which an operation may have been booked and which may have ended at the bank
    since; None when there is none. No day is among them that has not begun there, which it would refuse to list.

    ``opened_at`` and ``leased_at`` are PostgreSQL's times, ``here`` is what this machine takes for the bank's day
    (`days_now`); none of them is the bank's. A day too many is listed in vain, and one too few would make a payment
    that the bank has made look as if it had not.
    """
    first = days_around(opened_at)[0]
    begun, latest = max(days_around(leased_at), here)
    return (first, begun) if first < latest else None


async def _status_result(context: QueryContext) -> BankResult | None:
    """What 6110 says, should it know the call after all; only a final word counts."""
    operation = context.operation
    answer = await status_of(context.bank, "2", context.leased, operation.serial)
    reply = answer.reply
    if reply is None or reply.TranStatus not in ("0", "1"):
        return None
    if reply.TranStatus == "0" and (
        mismatch := await response_mismatch(context.reads, operation, context.pending, reply)
    ):
        return BankResult(Verdict.INCONCLUSIVE, code=answer.code, detail=mismatch)
    return reply_result(answer, reply)


def _row_result(row: SubAccountTransactionsRow | None, evidence: Evidence) -> BankResult:
    if row is None:
        return BankResult(Verdict.NOT_FOUND, code=NO_RECORD, detail="6072 does not list it", evidence=evidence)
    return BankResult(
        Verdict.DONE,
        code=SUCCESS_CODE,
        detail="6072 lists it",
        bank_serial=BankSerial(row.FrontSeqNo),
        bank_day=_day(row),
        evidence=evidence,
    )
