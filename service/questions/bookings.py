"""What a booking of the bank is known by: its serial and its bank day (transport.md 4)."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from bankclient import MessageInvalid, booking_date
from ledger import Leg
from ledger.accounts import LIMITS, order
from ledger.names import BankSerial

_SERIAL: Final = re.compile(r"[!-~]{1,52}", re.ASCII)
"""The longest published length; other characters no caller could send back."""


def is_serial(text: str) -> bool:
    """Whether a booking can be entered once only by this serial: it has the form of one, its day in front."""
    return _SERIAL.fullmatch(text) is not None and booked_on(BankSerial(text)) is not None


def booked_on(bank_serial: BankSerial | None, day_text: str | None = None) -> date | None:
    """The bank day of a booking: by its serial, or else by its date (yyyyMMdd). None when neither says it.

    The bank's final word counts whether or not its day can be read.
    """
    for text in (bank_serial or "", (day_text or "").removeprefix("20")):
        try:
            return booking_date(text)
        except MessageInvalid:
            continue
    return None


def once(bank_serial: BankSerial) -> Leg:
    """The one entry of what came in under this serial, whichever list shows it: 6050 has what came back (6048), too,
    and may have it first.
    """
    # With a space, which no order number of a caller has.
    return Leg(order(f"inflow {bank_serial}"), LIMITS, 1)
