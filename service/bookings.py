"""What names a booking of the bank: its serial, and the bank day on which it was made (transport.md 4)."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from bankclient import MessageInvalid, booking_date

_SERIAL: Final = re.compile(r"[!-~]{1,52}", re.ASCII)
"""The longest published length; other characters no caller could send back."""


def is_serial(text: str) -> bool:
    """Whether a booking can be known, and entered once only, by this serial."""
    return _SERIAL.fullmatch(text) is not None


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
