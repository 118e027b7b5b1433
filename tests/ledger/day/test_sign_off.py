"""A day is signed by two identities as it stands, and what changes it afterwards asks for two again."""

from __future__ import annotations

import asyncio
import hashlib
import json

import psycopg
import pytest

from ledger.day import (
    DayChanged,
    DayNotReady,
    FileState,
    FileType,
    Signatory,
    SignedBySame,
    SignOff,
    signature,
)
from tests.ledger.bookkeeping import ANN, BOB, DAY, DAY_AFTER, DAY_BEFORE, execute
from tests.ledger.day.conftest import Bank, signed
from tests.ledger.day.files import jy, ye

CLERK, CHIEF = Signatory("console", "clerk@example.com"), Signatory("console", "chief@example.com")


async def ready(bank: Bank) -> None:
    """A day with one payment that the bank has as well, and one break."""
    await bank.posted("S1")
    for type_ in FileType:
        if type_ not in (FileType.TRANSACTIONS, FileType.BALANCES):
            await bank.days.tried(DAY, type_, FileState.NONE, "nothing happened")
    await bank.load(jy("S1"), jy("S2", 300, number=2))


async def whole(bank: Bank) -> None:
    await ready(bank)
    await bank.load(ye(ANN, 98_700), ye(BOB, 1300, member="bob", number=2), type_=FileType.BALANCES)


async def test_a_day_is_signed_by_two_and_sealed_with_its_digest(bank: Bank) -> None:
    await whole(bank)
    first = await bank.days.sign(DAY, CLERK, "checked")
    assert (first.place, (await bank.days.day(DAY)).is_signed) == (1, False)
    second = await bank.days.sign(DAY, CHIEF)
    day = await bank.days.day(DAY)
    assert (second.place, second.digest, day.is_signed) == (2, first.digest, True)
    assert {one.state for one in day.files} == {FileState.SIGNED}
    assert first.digest == hashlib.sha256(first.statement.encode()).digest()
    assert [one.mac for one in day.signatures] == [signed(signature(one)) for one in day.signatures]
    statement = json.loads(first.statement)
    (transactions,) = [one for one in statement["files"] if one["type"] == "JY"]
    assert (transactions["rows"], transactions["amount_fen"]) == (2, 1300)
    assert statement["journal"][0]["batch"] > 0
    assert {(one["type"], one["kind"], one["is_open"]) for one in statement["breaks"]} == {
        ("JY", "missing-here", True),
        ("YE", "balance", False),
    }


async def test_one_identity_cannot_sign_twice(bank: Bank) -> None:
    await whole(bank)
    await bank.days.sign(DAY, CLERK)
    with pytest.raises(SignedBySame):
        await bank.days.sign(DAY, Signatory("another-caller", "clerk@example.com"))
    assert not (await bank.days.day(DAY)).is_signed


async def test_a_signature_has_the_place_that_its_signatory_has_seen_or_none(bank: Bank) -> None:
    await whole(bank)
    # Both have seen the day without a signature: who comes second has not agreed to the first one.
    found = await asyncio.gather(
        *(bank.days.sign(DAY, who, under=b"") for who in (CLERK, CHIEF)), return_exceptions=True
    )
    assert {type(one) for one in found} == {SignOff, DayChanged}
    with pytest.raises(DayChanged):
        await bank.days.sign(DAY, Signatory("third"), under=b"")
    (first,) = (await bank.days.day(DAY)).signatures
    with pytest.raises(DayChanged):
        await bank.days.sign(DAY, Signatory("third"), under=bytes(32))
    assert not (await bank.days.day(DAY)).is_signed
    assert (await bank.days.sign(DAY, Signatory("third"), under=first.digest)).place == 2


async def test_postgresql_refuses_a_second_signature_that_names_another_first(bank: Bank) -> None:
    await whole(bank)
    await bank.days.sign(DAY, CLERK)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        execute(
            bank.mirror.dsn,
            "INSERT INTO sign_off (platform, bank_day, digest, place, caller, person, note, statement, first_place,"
            " first_caller, first_person, mac) SELECT platform, bank_day, digest, 2, caller, person, '', statement, 1,"
            " 'console', 'nobody', '' FROM sign_off",
        )


async def test_a_day_without_all_its_files_cannot_be_signed(bank: Bank) -> None:
    await ready(bank)
    with pytest.raises(DayNotReady, match="YE is expected"):
        await bank.days.sign(DAY, CLERK)


async def test_a_later_file_asks_for_two_signatures_again(bank: Bank) -> None:
    await whole(bank)
    await bank.days.sign(DAY, CLERK)
    await bank.days.sign(DAY, CHIEF)
    # A break that is closed later is a later fix: the day stays signed.
    (found,) = await bank.breaks()
    await bank.days.close(found.break_id, CHIEF, "the bank has taken it back")
    assert (await bank.days.day(DAY)).is_signed
    await bank.load(jy("S1"))
    assert not (await bank.days.day(DAY)).is_signed
    again = await bank.days.sign(DAY, CHIEF)
    assert again.place == 1


async def test_each_sub_accounts_day_is_proved_from_the_journal_beside_the_banks_balance(bank: Bank) -> None:
    await whole(bank)
    await bank.posted("S3", 200, day=DAY_AFTER)
    pooled, ann, bob = await bank.days.proof(DAY)
    assert (pooled.sub_account, pooled.opening_fen, pooled.closing_fen, pooled.is_proved) == (
        "",
        100_000,
        100_000,
        True,
    )
    assert (ann.opening_fen, ann.credit_fen, ann.debit_fen, ann.closing_fen) == (100_000, 0, 1000, 99_000)
    assert (bob.member, bob.opening_fen, bob.credit_fen, bob.closing_fen, bob.bank_fen) == ("bob", 0, 1000, 1000, 1300)
    assert ann.is_proved
    assert bob.is_proved
    assert [one.sub_account for one in await bank.days.proof(DAY, after=ANN)] == [BOB]


async def test_a_leg_that_was_put_in_by_hand_breaks_the_proof(bank: Bank) -> None:
    await whole(bank)
    execute(bank.mirror.dsn, "UPDATE account SET balance_fen = balance_fen + 7 WHERE name = 'withdrawable:1001'")
    rows = {one.sub_account: one.is_proved for one in await bank.days.proof(DAY)}
    assert rows == {"": True, ANN: False, BOB: True}


async def test_the_proof_is_the_same_however_far_statements_have_been_made(bank: Bank) -> None:
    await whole(bank)
    days = (DAY_BEFORE, DAY, DAY_AFTER)
    for serial, day in (("S3", DAY_AFTER), ("S4", DAY_BEFORE)):
        await bank.posted(serial, 200, day=day)
    without = [await bank.days.proof(day) for day in days]
    await bank.mirror.entries.fill()
    assert [await bank.days.proof(day) for day in days] == without
    # What is posted on each day since then is not in them yet.
    for serial, day in (("S5", DAY_BEFORE), ("S6", DAY), ("S7", DAY_AFTER)):
        await bank.posted(serial, 300, day=day)
    behind = [await bank.days.proof(day) for day in days]
    await bank.mirror.entries.fill()
    assert [await bank.days.proof(day) for day in days] == behind
    assert [one.closing_fen for one in behind[1] if one.sub_account == ANN] == [98_200]
    assert all(one.is_proved for page in behind for one in page)
    execute(
        bank.mirror.dsn, f"UPDATE balance_day SET uncleared_fen = uncleared_fen + 7 WHERE bank_day = '{DAY_BEFORE}'"
    )
    assert {one.sub_account: one.is_proved for one in await bank.days.proof(DAY)} == {"": True, ANN: False, BOB: False}
