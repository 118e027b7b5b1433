"""Files that come again, changed or not, and what was decided of their lines."""

from __future__ import annotations

import asyncio
import zlib
from datetime import date, timedelta

import pytest

from bankclient import LineReader
from ledger.day import (
    BreakClosed,
    BreakEventKind,
    BreakFilter,
    BreakKind,
    BreakState,
    BreakUnknown,
    CloseReason,
    FileState,
    FileType,
    ListLine,
    NewFile,
    Signatory,
    decision,
    written,
)
from ledger.day.matching import matching
from ledger.names import Serial
from tests.ledger.bookkeeping import DAY, DAY_AFTER, PLATFORM, ask, new_id
from tests.ledger.day.conftest import Bank, sealed, signed
from tests.ledger.day.files import jy

CLERK = Signatory("console", "clerk@example.com")


async def test_the_same_file_again_does_nothing(bank: Bank) -> None:
    await bank.posted("S1")
    first = await bank.load(jy("S1"), jy("S2"))
    again = await bank.load(jy("S1"), jy("S2"))
    assert (again.did, again.file) == (False, first.file)
    (found,) = await bank.breaks()
    assert len(await bank.days.events(found.break_id)) == 1


async def test_a_changed_file_supersedes_and_decisions_stay_with_lines_of_the_same_bytes(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.load(jy("S1"), jy("S2", 500, number=2), jy("S3", 700, number=3))
    kept, gone = sorted(await bank.breaks(), key=lambda one: one.line or 0)
    await bank.mirror.reads.say(
        f"break:{kept.break_id}", owner="clerk@example.com", note="asks the bank", caller="console", person=""
    )
    second = await bank.load(jy("S0", 100, number=9), jy("S1"), jy("S2", 500, number=2), jy("S3", 701, number=3))
    assert (second.did, second.file.version) == (True, 2)
    found = {str(one.serial): one for one in await bank.breaks()}
    assert found.keys() == {"S0", "S2", "S3"}
    # The same break, at its new line.
    assert (found["S2"].break_id, found["S2"].line, found["S2"].owner) == (kept.break_id, 3, "clerk@example.com")
    assert (found["S3"].bank_fen, found["S3"].break_id != gone.break_id) == (701, True)
    closed = await bank.days.break_(gone.break_id)
    assert (closed.close_reason, closed.line) == (CloseReason.SUPERSEDED, None)
    first, latest = reversed(await bank.days.files(DAY))
    assert (first.is_current, latest.is_current) == (False, True)


async def test_what_a_file_had_settled_of_the_day_before_is_open_again_when_a_changed_one_does_not(bank: Bank) -> None:
    await bank.posted("S1", 1000)
    await bank.posted("S2", 2000)
    await bank.load(jy("S1"))
    await bank.load(jy("S2", 2000, day=DAY_AFTER), day=DAY_AFTER)
    assert await bank.breaks(BreakState.OPEN, BreakState.CARRIED) == []
    # The bank takes the line back: it is on neither day now.
    await bank.load(jy("S9", 500, day=DAY_AFTER), day=DAY_AFTER)
    found = await bank.breaks(BreakState.OPEN, BreakState.CARRIED)
    assert [(one.bank_day, one.kind, one.serial) for one in found] == [
        (DAY, BreakKind.MISSING_THERE, "S2"),
        (DAY_AFTER, BreakKind.MISSING_HERE, "S9"),
    ]


async def test_a_decided_break_stays_closed_and_one_that_closed_by_itself_comes_again(bank: Bank) -> None:
    await bank.load(jy("S1", 500), jy("S2", 700, number=2))
    decided, other = sorted(await bank.breaks(), key=lambda one: one.line or 0)
    await bank.days.close(decided.break_id, CLERK, "the bank's own test")
    await bank.load(jy("S1", 500))
    assert await bank.breaks() == []
    await bank.load(jy("S1", 500), jy("S2", 700, number=2))
    (found,) = await bank.breaks()
    assert found.break_id == other.break_id
    kinds = [one.kind for one in await bank.days.events(other.break_id)]
    assert kinds == [BreakEventKind.OPENED, BreakEventKind.CLOSED, BreakEventKind.OPENED]


async def test_a_file_with_fewer_rows_than_stated_is_kept_and_not_matched(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.posted("S2")
    cut = await bank.load(jy("S1"), stated=2)
    assert (cut.file.state, await bank.breaks()) == (FileState.LOADED, [])
    whole = await bank.load(jy("S1"), jy("S2", number=2), stated=2)
    assert whole.file.state is FileState.CLEAN


async def test_what_a_file_held_can_be_read_again_with_the_key_alone(bank: Bank) -> None:
    content = (jy("S1") + "\n" + jy("S2", number=2) + "\n").encode("gb18030")
    loaded = await bank.load_bytes(content)
    pieces = [one async for one in bank.days.content(loaded.file.file_id)]
    plain = b"".join(zlib.decompress(bytes(byte ^ 0x5A for byte in one.content)) for one in pieces)
    assert plain == content
    # No table has a name.
    for table in ("bank_line", "bank_file", "break"):
        (row,) = ask(bank.mirror.dsn, f"SELECT coalesce(string_agg(t::text, ''), '') FROM {table} t")
        assert not {"甲", "乙", "备注"} & set(row[0])


async def test_a_content_that_fails_half_way_leaves_nothing(bank: Bank) -> None:
    def content() -> object:
        yield jy("S1").encode("gb18030") + b"\n"
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="ends here"):
        await bank.days.load(
            NewFile(bank_day=DAY, type=FileType.TRANSACTIONS, name="x"),
            content,  # type: ignore[arg-type]  # a generator is what it returns
        )
    assert await bank.days.files(DAY) == []
    assert ask(bank.mirror.dsn, "SELECT count(*) FROM bank_line") == [(0,)]


async def test_decisions_are_events_with_a_mac_and_the_state_follows_from_them(bank: Bank) -> None:
    await bank.load(jy("S1", 500))
    (found,) = await bank.breaks()
    who = {"caller": "console", "person": "clerk@example.com"}
    await bank.mirror.reads.say(f"break:{found.break_id}", owner=None, note="asked the bank", **who)
    assert (await bank.days.break_(found.break_id)).note == "asked the bank"
    assert (await bank.days.hold(found.break_id, CLERK, date(2126, 1, 1), "until it answers")).state is BreakState.HELD
    assert (await bank.days.hold(found.break_id, CLERK, date(2026, 1, 1), "now")).state is BreakState.OPEN
    closed = await bank.days.close(found.break_id, CLERK, "entered")
    assert (closed.state, closed.close_reason, closed.note) == (BreakState.CLOSED, CloseReason.DECIDED, "entered")
    events = await bank.days.events(found.break_id)
    assert [(one.kind.value, one.person) for one in events] == [
        ("opened", ""),
        ("noted", "clerk@example.com"),
        ("held", "clerk@example.com"),
        ("held", "clerk@example.com"),
        ("closed", "clerk@example.com"),
    ]
    assert all(one.mac == signed(decision(one)) for one in events[2:])
    with pytest.raises(BreakClosed):
        await bank.days.hold(found.break_id, CLERK, date(2126, 1, 1), "again")
    with pytest.raises(BreakUnknown):
        await bank.days.close(new_id(), CLERK, "nothing")
    assert (await bank.days.files(DAY))[0].state is FileState.CLEAN


async def test_breaks_are_read_page_by_page(bank: Bank) -> None:
    await bank.load(*(jy(f"S{number}", number=number) for number in range(1, 26)))
    seen, after = [], None
    while page := await bank.days.breaks(BreakFilter(kinds=[BreakKind.MISSING_HERE]), after, 10):
        seen += page
        after = page[-1].break_id
    assert sorted(one.line or 0 for one in seen) == list(range(1, 26))


async def test_a_list_is_a_file_of_lines_and_its_charges_are_outside_of_the_books(bank: Bank) -> None:
    lines = (
        ListLine(amount_fen=-150, day=DAY, booking="outside"),
        ListLine(amount_fen=70, day=DAY, bank_serial="F7", member="a&b"),
    )
    new = NewFile(bank_day=DAY, type=FileType.CHARGES, name="6109", stated_rows=2)
    loaded = await bank.days.load(new, lambda: iter(written(lines)))
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_fen, found.member) == (BreakKind.MISSING_HERE, 70, "ab")
    assert loaded.file.amount_fen == -80
    assert Serial(found.serial) == ""


async def test_a_file_that_is_kept_unmatched_is_in_nobodys_way(bank: Bank) -> None:
    await bank.posted("S1")
    content = jy("S1").encode("gb18030") + b"\n"
    with matching(bank.mirror.dsn, PLATFORM, timedelta(hours=1)) as (_, matcher):
        for stated, day in ((2, DAY), (1, DAY_AFTER)):
            new = NewFile(bank_day=day, type=FileType.TRANSACTIONS, name="file.txt", stated_rows=stated)
            matcher.load(new, lambda: iter([content]), LineReader("JY"), sealed)
    files = [(await bank.days.files(day))[0] for day in (DAY, DAY_AFTER)]
    assert [one.state for one in files] == [FileState.LOADED, FileState.MATCHED]


async def test_of_a_load_that_is_given_up_before_it_has_a_connection_nothing_stays(bank: Bank) -> None:
    task = asyncio.create_task(bank.load(jy("S1")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await bank.days.files(DAY) == []
