"""Lines of the bank's files against the journal: what agrees, and each way in which they can disagree."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from ledger.accounts import withdrawable
from ledger.day import BreakFilter, BreakKind, BreakState, CloseReason, FileState, FileType, LineState, Signatory
from ledger.names import MemberCode, Serial
from ledger.rules import Draft
from tests.ledger.bookkeeping import ANN, BOB, DAY, DAY_AFTER, DAY_BEFORE, execute, opening, pay, posting, voiding
from tests.ledger.day.conftest import Bank
from tests.ledger.day.files import jy, ye


async def test_a_day_on_which_the_bank_says_what_we_have_is_clean(bank: Bank) -> None:
    for number in range(1, 21):
        await bank.posted(f"S{number}", 100 * number, number)
    lines = [jy(f"S{number}", 100 * number, number, number=number) for number in range(1, 21)]
    loaded = await bank.load(*lines, stated=20)
    assert loaded.did
    assert (loaded.file.state, loaded.file.rows, loaded.file.bad_rows) == (FileState.CLEAN, 20, 0)
    assert (loaded.file.amount_fen, loaded.file.fee_fen) == (21_000, 210)
    assert await bank.days.breaks(BreakFilter()) == []
    lines_read = await bank.days.lines(loaded.file.file_id, 0, 100)
    assert [one.state for one in lines_read] == [LineState.MATCHED] * 20


async def test_a_line_without_a_posting_is_missing_here(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.load(jy("S1"), jy("S2", 2500, number=2))
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_fen, found.ledger_fen, found.line) == (BreakKind.MISSING_HERE, 2500, None, 2)
    assert found.difference_fen == 2500


async def test_a_posting_without_a_line_is_missing_there(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.posted("S2", 2500)
    await bank.load(jy("S1"))
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_fen, found.ledger_fen) == (BreakKind.MISSING_THERE, None, 2500)
    assert (found.serial, found.operation_kind, found.member, found.sub_account) == ("S2", "PAY_T1", "bob", BOB)


@pytest.mark.parametrize(
    ("line", "kind", "bank_fen", "ledger_fen"),
    [
        (jy("S1", 1001, 10), BreakKind.AMOUNT, 1001, 1000),
        (jy("S1", 1000, 11), BreakKind.FEE, 11, 10),
        (jy("S1", 1000, 10, payee="cat"), BreakKind.MEMBER, 1000, 1000),
        (jy("S1", 1000, 10, payer="cat"), BreakKind.MEMBER, 1000, 1000),
    ],
)
async def test_what_differs_of_a_matched_line_is_typed(
    bank: Bank, line: str, kind: BreakKind, bank_fen: int, ledger_fen: int
) -> None:
    await bank.posted("S1", 1000, 10)
    loaded = await bank.load(line)
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_fen, found.ledger_fen, found.serial) == (kind, bank_fen, ledger_fen, "S1")
    assert loaded.file.state is FileState.BREAKS


@pytest.mark.parametrize(("payee", "agrees"), [("", True), ("ann", True), (BOB, True), ("cat", False)])
async def test_a_posting_of_one_member_is_no_other_members_in_the_file(bank: Bank, payee: str, agrees: bool) -> None:
    draft = pay(ANN, BOB, 1000, serial=Serial("S1"))
    frozen = Draft(draft.legs, draft.serial, payer=MemberCode("ann"), amount_fen=1000)
    await bank.mirror.do(opening(enter=[frozen], serial=Serial("S1-call"), bank_day=DAY, kind="FREEZE"))
    # The account that is no member's has no code, or its number for one.
    await bank.load(jy("S1", payee=payee))
    assert [one.detail for one in await bank.breaks()] == (
        [] if agrees else ["the bank has ann and cat, we have ann alone"]
    )


async def test_a_line_of_a_refused_operation_is_a_state(bank: Bank) -> None:
    step = opening(pay(ANN, BOB, 700, serial=Serial("S1")), kind="PAY_T1")
    await bank.mirror.do(step)
    await bank.mirror.do(voiding(step))
    await bank.load(jy("S1", 700, payer="", payee=""))
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_fen, found.ledger_fen, found.detail) == (
        BreakKind.STATE,
        700,
        0,
        "it was refused",
    )


async def test_a_break_of_an_open_operation_closes_when_it_ends(bank: Bank) -> None:
    step = opening(pay(ANN, BOB, 700, serial=Serial("S1")), kind="PAY_T1")
    await bank.mirror.do(step)
    line = jy("S1", 700, payer=ANN, payee=BOB)
    await bank.load(line)
    (found,) = await bank.breaks()
    assert (found.kind, found.detail) == (BreakKind.STATE, "the operation is reserved")
    await bank.mirror.do(posting(step))
    await bank.days.match(DAY, FileType.TRANSACTIONS)
    (closed,) = await bank.days.breaks(BreakFilter())
    assert (closed.state, closed.close_reason) == (BreakState.CLOSED, CloseReason.ENDED)


async def test_a_row_that_comes_twice_is_a_duplicate(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.load(jy("S1"), jy("S1", number=2))
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_fen, found.ledger_fen, found.line) == (BreakKind.DUPLICATE, 1000, 0, 2)


@pytest.mark.parametrize("times", [2, 3, 5])
async def test_all_rows_of_a_posting_but_the_first_are_duplicates(bank: Bank, times: int) -> None:
    for serial in ("S1", "S2"):
        await bank.posted(serial)
    rows = [jy("S1", number=number) for number in range(1, times)]
    await bank.load(*rows, jy("S2"), jy("S1", number=times))
    later = [*range(2, times), times + 1]
    found = sorted(await bank.breaks(), key=lambda one: one.line or 0)
    assert [(one.line, one.kind) for one in found] == [(line, BreakKind.DUPLICATE) for line in later]


async def test_of_rows_that_come_twice_and_were_read_one_by_one_each_is_known_by_its_bytes(bank: Bank) -> None:
    rows = []
    for serial in ("S1", "S2"):
        await bank.posted(serial)
        rows.append(jy(serial).replace("&备注&", "&备\0注&"))
    loaded = await bank.load(*rows, *rows)
    found = {one.line: one for one in await bank.breaks()}
    assert {line: one.kind for line, one in found.items()} == {3: BreakKind.DUPLICATE, 4: BreakKind.DUPLICATE}
    digests = {line: hashlib.sha256(row.encode("gb18030")).digest() for line, row in zip((3, 4), rows, strict=True)}
    lines = await bank.days.lines(loaded.file.file_id, 0, 10)
    assert {one.line: bytes(one.digest) for one in lines if one.line > 2} == digests


async def test_the_same_bytes_twice_are_a_duplicate_as_well(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.load(jy("S1"), jy("S1"))
    (found,) = await bank.breaks()
    assert (found.kind, found.line) == (BreakKind.DUPLICATE, 2)


async def test_a_row_that_cannot_be_read_is_put_aside_and_hides_no_other(bank: Bank) -> None:
    await bank.posted("S1")
    loaded = await bank.load(jy("S1"), jy("S2").replace("10.00", "ten"))
    assert (loaded.file.rows, loaded.file.bad_rows, loaded.file.amount_fen) == (2, 1, 1000)
    (found,) = await bank.breaks()
    assert (found.kind, found.line, found.detail) == (BreakKind.UNREADABLE, 2, "amount is no amount")


async def test_a_name_with_an_ampersand_is_read_from_both_ends(bank: Bank) -> None:
    await bank.posted("S1")
    loaded = await bank.load(jy("S1").replace("&1001&甲&", "&993000000000&甲&乙&").replace("&1002&", "&993000000001&"))
    assert (loaded.file.repaired_rows, loaded.file.state) == (1, FileState.CLEAN)


async def test_a_line_is_found_by_the_banks_serial_where_it_has_none_of_ours(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.load(jy("", bank_serial="F1"))
    assert {one.kind for one in await bank.breaks()} == {BreakKind.MISSING_HERE, BreakKind.MISSING_THERE}
    # As 0.2.0 has it: the operation by `booking`, and no serial of the part.
    execute(
        bank.mirror.dsn,
        "INSERT INTO booking SELECT platform, id, '2026-11-23', 'F1' FROM operation WHERE serial = 'S1-call'",
    )
    await bank.days.match(DAY, FileType.TRANSACTIONS)
    assert await bank.breaks() == []


async def test_a_posting_near_midnight_is_carried_until_the_next_file_has_it(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.posted("S2", day=DAY_AFTER)
    # The bank has booked S2 on the day before.
    await bank.load(jy("S1"), jy("S2", number=2, time="235959"))
    (found,) = await bank.breaks()
    assert (found.kind, found.state, found.bank_fen, found.ledger_fen) == (
        BreakKind.DATE_SHIFTED,
        BreakState.CARRIED,
        1000,
        1000,
    )
    await bank.posted("S3", day=DAY_AFTER)
    await bank.load(jy("S3", day=DAY_AFTER), day=DAY_AFTER)
    assert await bank.breaks() == []
    (closed,) = await bank.days.breaks(BreakFilter())
    assert (closed.bank_day, closed.close_reason) == (DAY, CloseReason.NEXT_FILE)


async def test_a_posting_that_the_next_file_has_is_a_shift(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.posted("S2")
    await bank.load(jy("S1"))
    (found,) = await bank.breaks()
    assert found.kind is BreakKind.MISSING_THERE
    await bank.load(jy("S2", day=DAY_AFTER, time="000001"), day=DAY_AFTER)
    assert await bank.breaks() == []
    found_all = {one.kind: one for one in await bank.days.breaks(BreakFilter())}
    assert found_all[BreakKind.MISSING_THERE].close_reason is CloseReason.NEXT_FILE
    assert found_all[BreakKind.DATE_SHIFTED].close_reason is CloseReason.NEXT_FILE
    assert found_all[BreakKind.DATE_SHIFTED].bank_day == DAY_AFTER


async def test_a_line_near_midnight_that_the_next_day_does_not_have_is_raised(bank: Bank) -> None:
    await bank.load(jy("S2", time="235959"))
    (found,) = await bank.breaks()
    assert (found.kind, found.state) == (BreakKind.MISSING_HERE, BreakState.CARRIED)
    (file,) = await bank.days.files(DAY)
    assert file.state is FileState.MATCHED, "what lies near midnight may be in the next file"
    await bank.posted("S3", day=DAY_AFTER)
    await bank.load(jy("S3", day=DAY_AFTER), day=DAY_AFTER)
    (found,) = await bank.breaks()
    assert found.state is BreakState.OPEN
    assert [one.kind.value for one in await bank.days.events(found.break_id)] == ["opened", "carried", "raised"]
    (file,) = await bank.days.files(DAY)
    assert file.state is FileState.BREAKS


async def test_both_files_with_one_posting_are_a_duplicate(bank: Bank) -> None:
    await bank.posted("S1", day=DAY_BEFORE)
    await bank.load(jy("S1", day=DAY_BEFORE), day=DAY_BEFORE)
    await bank.load(jy("S1"), day=DAY)
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_day, found.bank_fen) == (BreakKind.DUPLICATE, DAY, 1000)


async def test_balances_are_compared_with_the_end_of_the_day(bank: Bank) -> None:
    await bank.posted("S1", 1000)
    await bank.posted("S2", 500, day=DAY_AFTER)
    loaded = await bank.load(ye(ANN, 99_000), ye(BOB, 1000, member="bob", number=2), type_=FileType.BALANCES)
    assert (loaded.file.state, loaded.file.rows) == (FileState.CLEAN, 2)


async def test_a_balance_that_differs_is_a_break(bank: Bank) -> None:
    await bank.posted("S1", 1000)
    await bank.load(ye(ANN, 99_000), ye(BOB, 1001, member="bob", number=2), type_=FileType.BALANCES)
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_fen, found.ledger_fen, found.member) == (BreakKind.BALANCE, 1001, 1000, "bob")


async def test_a_balance_without_a_line_is_a_break(bank: Bank) -> None:
    await bank.posted("S1", 1000)
    await bank.load(ye(ANN, 99_000), type_=FileType.BALANCES)
    (found,) = await bank.breaks()
    assert (found.kind, found.bank_fen, found.ledger_fen, found.sub_account) == (BreakKind.BALANCE, None, 1000, BOB)


async def test_a_balance_is_explained_by_the_members_open_breaks(bank: Bank) -> None:
    await bank.load(jy("S9", 700, 50))
    await bank.load(ye(ANN, 99_300), ye(BOB, 650, member="bob", number=2), type_=FileType.BALANCES)
    (found,) = await bank.breaks()
    assert found.kind is BreakKind.MISSING_HERE
    closed = await bank.breaks(BreakState.CLOSED)
    assert {(one.kind, one.close_reason, one.difference_fen) for one in closed} == {
        (BreakKind.BALANCE, CloseReason.EXPLAINED, -700),
        (BreakKind.BALANCE, CloseReason.EXPLAINED, 650),
    }
    # An adjustment is posted on a later day: the balances of this one still differ, and by the same.
    await bank.days.close(found.break_id, Signatory("console", "ann"), "adjusted today")
    await bank.days.match(DAY, FileType.TRANSACTIONS)
    await bank.days.match(DAY, FileType.BALANCES)
    assert await bank.breaks() == []


async def test_an_open_break_explains_the_balances_of_later_days_until_it_is_adjusted(bank: Bank) -> None:
    balances = (ye(ANN, 99_300), ye(BOB, 650, member="bob", number=2))
    await bank.load(jy("S9", 700, 50))
    for day in (DAY, DAY_AFTER):
        await bank.load(*balances, type_=FileType.BALANCES, day=day)
    (found,) = await bank.breaks()
    assert found.kind is BreakKind.MISSING_HERE
    # Two days later the journal follows the bank: its balances agree from then on, and differ as before on both days.
    settled = DAY_AFTER + timedelta(days=1)
    await bank.adjusted(found, withdrawable(BOB), 650, settled)
    await bank.adjusted(found, withdrawable(ANN), -700, settled)
    await bank.load(*balances, type_=FileType.BALANCES, day=settled)
    for day in (DAY, DAY_AFTER):
        await bank.days.match(day, FileType.BALANCES)
    assert await bank.breaks() == []
    # Whatever else differs on a later day is a break.
    await bank.load(ye(ANN, 99_301), ye(BOB, 650, member="bob", number=2), type_=FileType.BALANCES, day=DAY_AFTER)
    assert [(one.kind, one.bank_day, one.sub_account) for one in await bank.breaks()] == [
        (BreakKind.BALANCE, DAY_AFTER, ANN)
    ]


async def test_of_a_break_that_was_adjusted_on_one_side_the_other_still_explains_balances(bank: Bank) -> None:
    balances = (ye(ANN, 99_300), ye(BOB, 650, member="bob", number=2))
    one, other = DAY_AFTER + timedelta(days=1), DAY_AFTER + timedelta(days=2)
    await bank.load(jy("S9", 700, 50))
    (found,) = await bank.breaks()
    await bank.adjusted(found, withdrawable(BOB), 650, one)
    await bank.load(*balances, type_=FileType.BALANCES, day=one)
    assert await bank.breaks() == []
    await bank.adjusted(found, withdrawable(ANN), -700, other)
    for day in (DAY_AFTER, one, other):
        await bank.load(*balances, type_=FileType.BALANCES, day=day)
        await bank.days.match(day, FileType.BALANCES)
    assert await bank.breaks() == []
    # Nothing more is explained by it.
    await bank.load(ye(ANN, 98_600), ye(BOB, 1_300, member="bob", number=2), type_=FileType.BALANCES, day=other)
    assert sorted(one.difference_fen for one in await bank.breaks(day=other)) == [-700, 650]


async def test_a_file_that_is_late_explains_the_balances_of_the_next_day(bank: Bank) -> None:
    await bank.load(ye(ANN, 99_300), ye(BOB, 650, member="bob", number=2), type_=FileType.BALANCES, day=DAY_AFTER)
    assert len(await bank.breaks()) == 2
    await bank.load(jy("S9", 700, 50))
    assert [one.kind for one in await bank.breaks()] == [BreakKind.MISSING_HERE]


async def test_a_day_of_nothing_leaves_each_posting_without_its_line(bank: Bank) -> None:
    await bank.posted("S1")
    await bank.days.tried(DAY, FileType.TRANSACTIONS, FileState.NONE, "nothing happened")
    (found,) = await bank.breaks()
    assert (found.kind, found.ledger_fen, found.line) == (BreakKind.MISSING_THERE, 1000, None)
    assert (await bank.days.day(DAY)).files[2].state is FileState.NONE


async def test_a_line_of_balances_that_cannot_be_read_is_nothing_else(bank: Bank) -> None:
    loaded = await bank.load(ye(ANN, 100_000), "2&&1004&x&&", type_=FileType.BALANCES)
    found = [(one.state, one.booking) for one in await bank.days.lines(loaded.file.file_id, 0, 10)]
    assert found == [(LineState.MATCHED, ""), (LineState.UNREADABLE, "")]
