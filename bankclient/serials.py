"""Serial numbers: ours to the bank, and the booking date out of its own (transport.md 4).

Promises the exact lengths the bank checks (22 for a request, 20 for a row of a batch), made of
digits after the user's prefix so that no letter case can differ. The running number comes from
outside, from a sequence that survives restarts: this module keeps no counter and must never invent
a number.
"""

import re
from datetime import date, timedelta
from typing import Final

from bankclient.errors import MessageInvalid

UID_LENGTH: Final = 6
CONSUMER_SERIAL_LENGTH: Final = 22
ROW_SERIAL_LENGTH: Final = 20

_UID: Final = re.compile(r"[0-9A-Za-z]{6}", re.ASCII)
_CONSUMER_SERIAL: Final = re.compile(r"[0-9A-Za-z]{22}", re.ASCII)
_BOOKING_DATE: Final = re.compile(r"[0-9]{6}", re.ASCII)


def consumer_serial(uid: str, day: date, number: int) -> str:
    """Make a CnsmrSeqNo: 6 characters of uid, yyMMdd and a 10-digit running number."""
    if _UID.fullmatch(uid) is None:
        raise MessageInvalid("uid is six letters or digits")
    return f"{uid}{day:%y%m%d}{_digits(number, 10)}"


def row_serial(day: date, number: int) -> str:
    """Make the serial of one row in a batch (TranSeqNo): yyMMdd and a 14-digit running number."""
    return f"{day:%y%m%d}{_digits(number, 14)}"


def days_of_serial(serial: str) -> tuple[date, date, date]:
    """The days on which the bank may have booked what was sent with a serial of ours, the likeliest first.

    A serial carries the day on which it was made, by the clock of the machine that sent it.
    """
    day = booking_date(serial[-16:] if len(serial) == CONSUMER_SERIAL_LENGTH else serial)
    return day, day + timedelta(days=1), day - timedelta(days=1)


def is_consumer_serial(serial: str, uid: str) -> bool:
    """Tell whether a text has the form the bank accepts as CnsmrSeqNo of this user."""
    return _CONSUMER_SERIAL.fullmatch(serial) is not None and serial.startswith(uid)


def booking_date(front_seq_no: str) -> date:
    """Read the bank's booking date from a FrontSeqNo: its first six digits are yyMMdd."""
    head = front_seq_no[:6]
    if _BOOKING_DATE.fullmatch(head) is None:
        raise MessageInvalid("the FrontSeqNo does not begin with six digits")
    try:
        return date.fromisoformat(f"20{head}")
    except ValueError:
        raise MessageInvalid("the FrontSeqNo does not begin with a date") from None


def _digits(number: int, width: int) -> str:
    if not 0 <= number < 10**width:
        raise MessageInvalid(f"the running number does not fit into {width} digits")
    return f"{number:0{width}d}"
