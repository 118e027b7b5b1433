"""Looks for lost payments in the bank's list of successes (6072), where 6110 does not promise to know them: 6031, 6052,
6120, 6133 (notes.md 5).

The list does not carry CnsmrSeqNo, and sources disagree on its Remark: the note that was sent, or the order number.
So the note that is sent begins with the order number and the serial (`plan.noted`), and a row counts as a part's
own when it carries that serial, or else when the order number stands there alone and the list has more such rows of
the same kind and amount than the mirror can explain. Other calls may have the same order number, direct payments any
number of times: their rows are known by the bank's serial, and where that is missing the list proves nothing. Promises
that one row never makes two parts done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from bankclient import NO_RECORD, SUCCESS_CODE, BankClient, SubAccountTransactions, SubAccountTransactionsRow
from jzb.v1.names import OperationKind
from ledger import Leased, Part, Reads
from service.bankday import days_around, days_now
from service.plans.plan import BookedAsk, Word
from service.plans.settlement import Told, together
from service.questions.bookings import booked_on, contradiction, status_of
from service.questions.lists import read_list

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
class Sought:
    """A part whose outcome is not known."""

    serial: str
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
    return booked_on(row.FrontSeqNo, row.TranDate)


def _carries(row: SubAccountTransactionsRow, part: Sought) -> bool:
    booking_type, order_no, amount_fen = part.like
    return (
        row.BookingType == booking_type
        and row.TranAmt == amount_fen
        and (row.Remark or "").split()[:2] == [order_no, part.serial]
    )


async def ask(bank: BankClient, reads: Reads, leased: Leased, booked: BookedAsk, parts: Sequence[Part]) -> list[Told]:
    """What the bank says of each of an operation's open parts."""
    operation = leased.operation
    if operation.kind in OF_ONE:
        told = await _status(bank, reads, leased, parts)
        if told is not None:
            return [told]
    present = SubAccountTransactions(FunctionFlag="1", SubAcctNo=booked.sub_account, QueryFlag="1")
    questions = [present]
    if (ended := ended_days(operation.created_at, leased.at, days_now())) is not None:
        first, last = ended
        questions.append(present.model_copy(update={"FunctionFlag": "2", "StartDate": first, "EndDate": last}))
    rows: list[SubAccountTransactionsRow] = []
    evidence: list[bytes] = []
    for question in questions:
        listed = await read_list(bank, question)
        if not listed.is_complete:
            answer, detail = listed.answer, f"6072: {listed.answer.detail}"
            told = Told(Word.SILENT, answer.code, answer.message, detail, evidence=answer.evidence)
            return [told]
        # A day that ended between the two questions is in both lists.
        rows += (Counter(listed.rows) - Counter(rows)).elements()
        evidence += [page.evidence for page in listed.answers]
    booking_type = BOOKING_TYPES[operation.kind]
    sought = [
        Sought(part.serial, (booking_type, part.order_no or operation.order_no, part.amount_fen)) for part in parts
    ]
    posted: Counter[tuple[Likeness, date]] = Counter()
    ahead: Counter[Likeness] = Counter()
    known = await reads.known_under({part.like[1] for part in sought}, list(BOOKING_TYPES), before=operation.id)
    for kind, order_no, amount_fen, bank_day, count in known:
        like = (BOOKING_TYPES[kind], order_no, amount_fen)
        if bank_day is None:
            ahead[like] += count
        else:
            posted[like, bank_day] += count
    beside: set[Likeness] = set()
    serials: set[str] = set()
    for kind, order_no, amount_fen, bank_serial in await reads.payments_under(
        {p.like[1] for p in sought}, list(BESIDE)
    ):
        if bank_serial:
            serials.add(bank_serial)
        else:
            beside.add((BESIDE[kind], order_no, amount_fen))
    rows = [row for row in rows if row.FrontSeqNo not in serials]
    # Which of these the mirror has posted already cannot be told, so that one might be the part's own.
    undated = {_like(row) for row in rows if _day(row) is None}
    found, said = find(sought, rows, posted, ahead), together(evidence)
    return [
        Told(Word.SILENT, detail="a row of 6072 that may be it has no day")
        if row is None and part.like in undated
        else Told(Word.SILENT, detail="a row of 6072 that may be it may be another call's under the same order number")
        if row is not None and part.like in beside and not _carries(row, part)
        else _told(row, said)
        for part, row in zip(sought, found, strict=True)
    ]


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


async def _status(bank: BankClient, reads: Reads, leased: Leased, parts: Sequence[Part]) -> Told | None:
    """What 6110 says, should it know the call after all; only a final word counts."""
    operation = leased.operation
    answer = await status_of(bank, "2", leased, operation.serial)
    reply = answer.reply
    if reply is None or reply.TranStatus not in ("0", "1"):
        return None
    if reply.TranStatus == "0" and (odd := await contradiction(reads, operation, parts, reply)):
        return Told(Word.SILENT, code=answer.code, detail=odd)
    return Told(
        Word.DONE if reply.TranStatus == "0" else Word.REFUSED,
        code=answer.code,
        message=reply.FailMsg or "",
        detail=f"6110 says TranStatus {reply.TranStatus}",
        bank_serial=reply.OldTranFrontSeqNo or "",
        bank_day=booked_on(reply.OldTranFrontSeqNo, reply.TranDate),
        evidence=answer.evidence,
    )


def _told(row: SubAccountTransactionsRow | None, evidence: bytes) -> Told:
    if row is None:
        return Told(Word.NOT_FOUND, code=NO_RECORD, detail="6072 does not list it", evidence=evidence)
    return Told(
        Word.DONE,
        code=SUCCESS_CODE,
        detail="6072 lists it",
        bank_serial=row.FrontSeqNo,
        bank_day=_day(row),
        evidence=evidence,
    )
