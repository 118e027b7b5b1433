"""What a file costs grows with its lines, whatever is in them and whatever was loaded before."""

from __future__ import annotations

import time
from datetime import timedelta

from ledger.names import MemberCode, Serial
from ledger.rules import Draft
from tests.ledger.bookkeeping import ANN, BOB, DAY, ask, opening, pay
from tests.ledger.day.conftest import Bank
from tests.ledger.day.files import jy

_RETURNED = "SELECT tup_returned FROM pg_stat_database WHERE datname = current_database()"
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def gone_through(bank: Bank, lines: list[str], day: int) -> int:
    """How many rows PostgreSQL has gone through for a file: a session counts when it has ended."""
    dsn = bank.mirror.dsn
    ((sessions,),) = ask(dsn, _SESSIONS)
    ((before,),) = ask(dsn, _RETURNED)
    loaded = await bank.load(*lines, day=DAY + timedelta(days=day))
    assert loaded.did
    until_s = time.monotonic() + 30
    while ask(dsn, _SESSIONS)[0][0] > sessions and time.monotonic() < until_s:
        pass
    ((after,),) = ask(dsn, _RETURNED)
    return int(after - before)


async def costs(bank: Bank, prefix: str, day: int, count: int) -> list[int]:
    """A day of so many payments, and its file: as it is, once more for the day after, where no line belongs, and once
    more for the first day with one line less.
    """
    serials = [f"{prefix}{number}" for number in range(count)]
    drafts = [pay(ANN, BOB, 1, 0, Serial(serial)) for serial in serials]
    named = [Draft(one.legs, one.serial, MemberCode("ann"), MemberCode("bob"), 1, 0) for one in drafts]
    booked = DAY + timedelta(days=day)
    await bank.mirror.do(opening(enter=named, serial=Serial(f"{prefix}-call"), bank_day=booked, kind="BATCH_PAY"))
    lines = [jy(serial, 1, number=number, day=booked) for number, serial in enumerate(serials, start=1)]
    return [
        await gone_through(bank, lines, day),
        await gone_through(bank, lines, day + 1),
        await gone_through(bank, lines[1:], day),
    ]


async def test_ten_times_the_lines_cost_some_ten_times_the_work(bank: Bank) -> None:
    await bank.load(jy("W"))
    few = await costs(bank, "F", 10, 100)
    many = await costs(bank, "M", 20, 1000)
    assert [large < 15 * small for small, large in zip(few, many, strict=True)] == [True] * 3, (few, many)
