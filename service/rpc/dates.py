"""The bank's days and times as callers give and get them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from google.protobuf.timestamp_pb2 import Timestamp

from bankclient import BANK_ZONE, booking_date
from jzb.v1.names import ErrorReason
from ledger.names import BankSerial
from service import problems, view
from service.bankday import days_now


def day_range(first: str, last: str) -> tuple[date, date]:
    """A range of bank days of a request, not reversed. Raises `Problem`."""
    began, ended = bank_day("first_bank_day", first), bank_day("last_bank_day", last)
    if began > ended:
        raise problems.invalid(
            "last_bank_day", f"{ended} is before first_bank_day {began}", ErrorReason.BANK_DAY_INVALID
        )
    return began, ended


def days(first: str, last: str) -> tuple[date, date]:
    """A range of bank days, not in the future: the bank is asked about them. Raises `Problem`."""
    began, ended = day_range(first, last)
    if ended > days_now()[1]:
        raise problems.invalid("last_bank_day", f"{ended} is in the future", ErrorReason.BANK_DAY_INVALID)
    return began, ended


def booked_at(day_text: str, time_text: str) -> Timestamp | None:
    """The bank's date and time (yyyyMMdd, HHmmss) as a moment; None for what is none."""
    try:
        day = date(int(day_text[:4]), int(day_text[4:6]), int(day_text[6:8]))
        clock = time(int(time_text[:2]), int(time_text[2:4]), int(time_text[4:6]))
        return view.timestamp(datetime.combine(day, clock, BANK_ZONE))
    except (ValueError, OverflowError):
        # The first hours of the year 1 in Shanghai are before it in UTC.
        return None


def booking_day_text(bank_serial: BankSerial, day_text: str) -> str:
    """The bank day of a booking, YYYY-MM-DD: by its serial, or else by its date."""
    try:
        return booking_date(bank_serial).isoformat()
    except ValueError:
        return iso_day(day_text)


def iso_day(text: str) -> str:
    """The bank's yyyyMMdd or yyMMdd as YYYY-MM-DD; as it came when it is neither."""
    digits = f"20{text}" if len(text) == 6 else text
    if len(digits) != 8 or not digits.isdigit():
        return text
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"


def moment(field: str, stamp: Timestamp) -> datetime:
    """A time of a request, within this century. Raises `Problem`."""
    try:
        found = stamp.ToDatetime(UTC).astimezone(BANK_ZONE)
    except (ValueError, OverflowError):
        found = None
    if found is None or not 2000 <= found.year < 2100:
        raise problems.invalid(field, "is not within 2000 and 2099", rule="timestamp.within")
    return found


def bank_day(field: str, text: str, reason: ErrorReason = ErrorReason.BANK_DAY_INVALID) -> date:
    """A day as the contract writes it. Raises `Problem`.

    Only of this century: the bank's serials write a year in two digits.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise problems.invalid(field, f"{text!r} is no day of the calendar", reason) from None
    if not 2000 <= day.year < 2100:
        raise problems.invalid(field, f"{text} is not within 2000 and 2099", reason)
    return day
