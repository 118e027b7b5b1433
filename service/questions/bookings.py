"""What a booking of the bank is known by: serial and bank day (transport.md 4), amount and sub-accounts; and the
question about one (6110).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final, Literal

import structlog

from bankclient import (
    Answer,
    BankClient,
    MessageInvalid,
    TransactionStatus,
    TransactionStatusReply,
    booking_date,
    days_of_serial,
    yuan,
)
from ledger import Leased, Leg, Operation, Part, Reads
from ledger.accounts import LIMITS, order

log = structlog.get_logger("jzb.bookings")

OLD: Final = timedelta(days=3)
"""From this age on 6110 wants a call's day."""

_SERIAL: Final = re.compile(r"[!-~]{1,52}", re.ASCII)
"""The longest published length; other characters no caller could send back."""


def is_serial(text: str) -> bool:
    """Whether a booking can be entered once only by this serial: it has the form of one, its day in front."""
    return _SERIAL.fullmatch(text) is not None and booked_on(text) is not None


def booked_on(bank_serial: str | None, day_text: str | None = None) -> date | None:
    """The bank day of a booking: by its serial, or else by its date (yyyyMMdd). None when neither says it.

    The bank's final word counts whether or not its day can be read.
    """
    for text in (bank_serial or "", (day_text or "").removeprefix("20")):
        try:
            return booking_date(text)
        except MessageInvalid:
            continue
    return None


def once(bank_serial: str) -> Leg:
    """The one entry of what came in under this serial, whichever list shows it: 6050 has what came back (6048), too,
    and may have it first.
    """
    # With a space, which no order number of a caller has.
    return Leg(order(f"inflow {bank_serial}"), LIMITS, 1)


async def contradiction(
    reads: Reads, operation: Operation, parts: Sequence[Part], reply: TransactionStatusReply, part: Part | None = None
) -> str:
    """How 6110 tells of another booking than the operation, or the part, that it was asked for; empty when it does not.

    TranAmt has the fee in it (catalogue 6110). Sources disagree where a fee comes on top and where it is a part
    (notes.md 9.1), so each way is let pass. Of sub-accounts those count that are a member's here: the bank has accounts
    of its own between the two sides.
    """
    amount_fen, fee_fen = (operation.amount_fen, operation.fee_fen) if part is None else (part.amount_fen, part.fee_fen)
    if reply.TranAmt not in (amount_fen, amount_fen + fee_fen, amount_fen - fee_fen):
        told = f"6110 tells of {yuan(reply.TranAmt)}, the request is for {yuan(amount_fen)} with fee {yuan(fee_fen)}"
    else:
        own = {operation.payer, operation.payee, *(side for one in parts for side in (one.payer, one.payee))}
        named = {one for one in (reply.InSubAcctNo, reply.OutSubAcctNo) if one}
        strangers = {one.member_id for one in (await reads.members_by_sub_account(named)).values()} - own
        told = f"6110 tells of {', '.join(sorted(strangers))}, who have no part in the request" if strangers else ""
    if told:
        log.error("the bank contradicts the mirror", operation_id=str(operation.id), serial=operation.serial, told=told)
    return told


def asked_days(serial: str, opened_at: datetime, now: datetime) -> tuple[date | None, ...]:
    """The days with which 6110 is asked about a call in turn, until one is found; as a rule it is asked without.

    It wants the day of what is older than three days (notes.md 9.14), by its own calendar. Ours is in the serial; the
    bank's may be the day after, or the day before where the clock of the machine that sent it was fast.
    """
    return days_of_serial(serial) if now - opened_at >= OLD else (None,)


async def status_of(
    bank: BankClient, flag: Literal["2", "3", "4"], leased: Leased, serial: str
) -> Answer[TransactionStatusReply]:
    """What 6110 answers about the call, or the row of a call, with this serial."""
    first, *others = asked_days(serial, leased.operation.created_at, leased.at)
    answer = await _asked(bank, flag, serial, first)
    for day in others:
        if not answer.is_no_record:
            break
        answer = await _asked(bank, flag, serial, day)
    return answer


async def _asked(
    bank: BankClient, flag: Literal["2", "3", "4"], serial: str, day: date | None
) -> Answer[TransactionStatusReply]:
    return await bank.call(TransactionStatus(FunctionFlag=flag, TranNetSeqNo=serial, TranDate=day))
