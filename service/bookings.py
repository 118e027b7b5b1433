"""What a booking of the bank is known by: serial and bank day (transport.md 4), amount and sub-accounts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Final

import structlog

from bankclient import MessageInvalid, TransactionStatusReply, booking_date, yuan
from ledger import Operation, Part, Reads

log = structlog.get_logger("jzb.bookings")

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
