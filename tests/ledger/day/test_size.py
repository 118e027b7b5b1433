"""What a file costs grows with its lines, whatever is in them and whatever was loaded before."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from datetime import timedelta

from ledger.day import FileType
from ledger.names import MemberCode, Serial
from ledger.rules import Draft
from tests.ledger.bookkeeping import ANN, BOB, DAY, ask, execute, opening, pay
from tests.ledger.day.conftest import Bank
from tests.ledger.day.files import jy, ye

_RETURNED = "SELECT tup_returned FROM pg_stat_database WHERE datname = current_database()"
_LINES = (
    "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'bank_line'"
)
_TELL = "SELECT pg_stat_force_next_flush()"
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def gone_through(bank: Bank, work: Awaitable[object], counted: str = _RETURNED) -> int:
    """How many rows PostgreSQL has gone through for something: a session counts when it has ended, or says so."""
    dsn = bank.mirror.dsn
    ((sessions,),) = ask(dsn, _SESSIONS)
    ((before,),) = ask(dsn, counted)
    await work
    until_s = time.monotonic() + 30
    while ask(dsn, _SESSIONS)[0][0] > sessions and time.monotonic() < until_s:
        pass
    ((after,),) = ask(dsn, counted)
    return int(after - before)


async def loaded(bank: Bank, lines: list[str], day: int) -> int:
    """How many rows that were for a file."""

    async def load() -> None:
        assert (await bank.load(*lines, day=DAY + timedelta(days=day))).did

    return await gone_through(bank, load())


async def costs(bank: Bank, prefix: str, day: int, count: int) -> list[int]:
    """A day of so many payments, and its file: as it is, once more for the day after, where no line belongs, and once
    more for the first day with one line less.
    """
    serials = [f"{prefix}{number}" for number in range(count)]
    drafts = [pay(ANN, BOB, 1, 0, Serial(serial)) for serial in serials]
    named = [Draft(one.legs, one.serial, MemberCode("ann"), MemberCode("bob"), 1, 0) for one in drafts]
    booked = DAY + timedelta(days=day)
    await bank.mirror.do(opening(enter=named, serial=Serial(f"{prefix}-call"), bank_day=booked, kind="BATCH_PAY"))
    # How the day's postings are found follows from what PostgreSQL knows of the journal, as it comes to know by itself.
    execute(bank.mirror.dsn, "ANALYZE operation, transaction, resolution", _TELL)
    lines = [jy(serial, 1, number=number, day=booked) for number, serial in enumerate(serials, start=1)]
    return [
        await loaded(bank, lines, day),
        await loaded(bank, lines, day + 1),
        await loaded(bank, lines[1:], day),
    ]


async def test_ten_times_the_lines_cost_some_ten_times_the_work(bank: Bank) -> None:
    await bank.load(jy("W"))
    few = await costs(bank, "F", 10, 100)
    many = await costs(bank, "M", 20, 1000)
    assert [large < 15 * small for small, large in zip(few, many, strict=True)] == [True] * 3, (few, many)


async def test_balances_are_compared_without_a_look_at_the_lines_of_other_files(bank: Bank) -> None:
    lines = [ye(f"9{number}", 0, number=number) for number in range(1000)]
    await bank.load(*lines, type_=FileType.BALANCES)
    alone = await gone_through(bank, bank.days.match(DAY, FileType.BALANCES), _LINES)
    execute(
        bank.mirror.dsn,
        "INSERT INTO bank_line SELECT (jsonb_populate_record(l, jsonb_build_object('file_id', 1000 + other.id))).*"
        " FROM bank_line l, generate_series(1, 20) other (id)",
        _TELL,
    )
    execute(bank.mirror.dsn, "ANALYZE", _TELL)
    beside = await gone_through(bank, bank.days.match(DAY, FileType.BALANCES), _LINES)
    assert beside < 2 * alone, (alone, beside)
