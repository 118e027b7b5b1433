"""MACs over openings and seals: what has none, or another's, is not carried on and not built on."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from ledger import (
    Finding,
    LedgerCorrupt,
    Lookups,
    NewOperation,
    OpeningForged,
    Operation,
    Reads,
    ReopeningUnproved,
    SealKeys,
    State,
    Step,
    Writer,
    connect,
    migrate,
    open_pool,
    vouching,
)
from ledger.accounts import withdrawable
from ledger.database import MIGRATIONS
from ledger.macs import _Mac
from tests.ledger.bookkeeping import ANN, BOB, PLATFORM, ask, execute, money, opening, pay, posting, top_up, voiding

OLD, NEW, LOST = bytes(32), b"n" * 32, b"l" * 32


@dataclass
class Books:
    """A writer and reads under some keys."""

    writer: Writer
    reads: Reads

    async def opened(self, words: str = "", fen: int = 5) -> Step:
        """An operation that is not final."""
        step = opening(top_up(ANN, fen), plan={"words": words})
        await self.writer.submit(step)
        return step

    async def found(self, step: Step) -> Operation:
        operation = await self.reads.operation(operation_id=step.operation_id)
        assert operation is not None
        return operation

    async def is_carried_on(self, step: Step) -> bool:
        try:
            await self.reads.plan(await self.found(step))
        except OpeningForged:
            return False
        return True

    async def findings(self) -> list[str]:
        return [found.check async for found in self.reads.audit() if isinstance(found, Finding)]


@asynccontextmanager
async def books(dsn: str, *keys: bytes) -> AsyncIterator[Books]:
    engine = connect(dsn, 2)
    seal = SealKeys(PLATFORM, keys) if keys else None
    try:
        async with open_pool(dsn) as pool, Writer(dsn, PLATFORM, keys=seal).running() as writer:
            yield Books(writer, Reads(engine, Lookups(pool, PLATFORM), seal))
    finally:
        await engine.dispose()


def vouched(dsn: str, *keys: bytes, ids: tuple[Step, ...] = (), last_batch: bool = False) -> vouching.Vouched:
    with vouching.connected(dsn) as connection:
        return vouching.said(
            connection, SealKeys(PLATFORM, keys), {step.operation_id for step in ids}, last_batch=last_batch
        )


def rotated(dsn: str, *keys: bytes) -> vouching.Vouched:
    with vouching.connected(dsn) as connection:
        return vouching.rotated(connection, SealKeys(PLATFORM, keys))


def as_before_macs(dsn: str) -> None:
    """Take the database back to before there were MACs, with its rows."""
    engine = create_engine(make_url(dsn).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0012")
        connection.commit()
    engine.dispose()


@pytest.mark.parametrize("words", ["", "\0", "\ud800", "农业银行𠮷", '\\"\n', "\\u0000"])
async def test_what_was_opened_under_a_key_is_carried_on_under_it(database: str, words: str) -> None:
    async with books(database, OLD) as ours:
        step = await ours.opened(words)
        assert await ours.is_carried_on(step)
        assert await ours.findings() == []
    async with books(database, NEW, OLD) as ours:
        assert await ours.is_carried_on(step)
        await ours.opened(words)
        assert await ours.findings() == []


async def test_another_key_carries_nothing_on_and_books_nothing(database: str) -> None:
    async with books(database, OLD) as ours:
        step = await ours.opened()
    async with books(database, LOST) as others:
        assert not await others.is_carried_on(step)
        with pytest.raises(LedgerCorrupt, match="no MAC under any of JZB_SEAL__KEYS"):
            await others.opened()
        with pytest.raises(LedgerCorrupt, match="number 1"):
            await others.reads.require_ours()
        assert len(await others.findings()) == 2
    assert ask(database, "SELECT count(*) FROM seal") == [(1,)]


async def test_the_mac_of_one_operation_is_not_that_of_another(database: str) -> None:
    async with books(database, OLD) as ours:
        one, other = await ours.opened("a"), await ours.opened("b")
        found = await ours.found(one)
        for change in (
            {"serial": (await ours.found(other)).serial},
            {"plan_text": (await ours.found(other)).plan_text},
            {"id": other.operation_id},
            {"amount_fen": found.amount_fen + 1},
            {"payee": "another"},
            {"request_id": "another"},
            {"kind": "REFUND"},
            {"caller": "another"},
            {"person": "another"},
        ):
            with pytest.raises(OpeningForged):
                await ours.reads.plan(found._replace(**change))
    keys, elsewhere = SealKeys(PLATFORM, [OLD]), SealKeys("8888", [OLD])
    assert not elsewhere.opened(found, [keys.of_opening(found)])


async def test_what_is_opened_again_has_the_mac_of_its_last_opening(database: str) -> None:
    async with books(database, OLD) as ours:
        await ours.writer.submit(opening(enter=[money(withdrawable(ANN), 100)]))
        first = opening(pay(ANN, BOB, 5), plan={"try": 1})
        await ours.writer.submit(first)
        await ours.writer.submit(voiding(first, state=State.RELEASED))
        earlier = await ours.found(first)
        assert isinstance(first.operation, NewOperation)
        again = opening(pay(ANN, BOB, 5), plan={"try": 2}, request_id=first.operation.request_id)
        with pytest.raises(ReopeningUnproved):
            await ours.writer.submit(again)
        await ours.writer.submit(replace(again, reopens=first.operation_id))
        assert await ours.is_carried_on(first)
        with pytest.raises(OpeningForged):
            await ours.reads.plan(earlier)
        assert await ours.findings() == []


async def test_what_was_open_before_there_were_macs_is_carried_on_and_nothing_that_comes_later(database: str) -> None:
    async with books(database) as ours:
        known, ended = await ours.opened("known"), await ours.opened("ended")
        await ours.writer.submit(posting(ended))
    as_before_macs(database)
    migrate(database, keys=(OLD,))
    async with books(database, OLD) as ours:
        assert await ours.is_carried_on(known)
        assert await ours.findings() == []
    # Whoever goes without the keys is not believed, whatever date the rows have.
    async with books(database) as others:
        forged = await others.opened("forged")
    migrate(database, keys=(OLD,))
    execute(database, "UPDATE operation SET created_at = '2020-01-01'")
    async with books(database, OLD) as ours:
        assert await ours.is_carried_on(known)
        assert not await ours.is_carried_on(forged)
        with pytest.raises(LedgerCorrupt):
            await ours.opened()


async def test_a_person_vouches_for_what_is_right_and_for_no_more(database: str) -> None:
    async with books(database, LOST) as lost:
        right, wrong = await lost.opened("right"), await lost.opened("wrong")
    listed = vouched(database, NEW)
    assert {one.id for one in listed.openings} == {right.operation_id, wrong.operation_id}
    assert (listed.last_batch, listed.put) == (2, 0)
    after = vouched(database, NEW, ids=(right,), last_batch=True)
    assert [one.id for one in after.openings] == [wrong.operation_id]
    assert (after.last_batch, after.put) == (None, 2)
    async with books(database, NEW) as ours:
        assert await ours.is_carried_on(right)
        assert not await ours.is_carried_on(wrong)
        await ours.opened()


async def test_a_changed_plan_cannot_be_vouched_for(database: str) -> None:
    async with books(database, OLD) as ours:
        step = await ours.opened()
        execute(database, "UPDATE operation SET plan = '{}'")
        assert [one.id for one in vouched(database, OLD, ids=(step,)).openings] == [step.operation_id]
        assert not await ours.is_carried_on(step)


async def test_after_a_rotation_the_old_key_is_needed_no_more(database: str) -> None:
    async with books(database, OLD) as ours:
        step = await ours.opened()
    assert rotated(database, NEW, OLD) == vouching.Vouched(put=2)
    assert rotated(database, NEW, OLD) == vouching.Vouched(put=0)
    async with books(database, NEW) as ours:
        assert await ours.is_carried_on(step)
        await ours.opened()
        assert await ours.findings() == []


async def test_a_rotation_vouches_for_nothing_that_no_key_has_made(database: str) -> None:
    async with books(database) as others:
        step = await others.opened()
    left = rotated(database, NEW, OLD)
    assert ([one.id for one in left.openings], left.last_batch, left.put) == ([step.operation_id], 1, 0)


async def test_books_of_a_service_with_keys_are_whole_to_one_without(database: str) -> None:
    async with books(database, OLD) as ours:
        step = await ours.opened()
    async with books(database) as others:
        assert await others.is_carried_on(step)
        await others.opened()
        assert await others.findings() == []


@pytest.mark.parametrize("keys", [(), (b"short",)])
def test_what_is_no_key_is_refused(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SealKeys(PLATFORM, keys)


@pytest.mark.parametrize("length", [0, 1, 55, 64, 200])
def test_a_mac_is_hmac_sha256(length: int) -> None:
    content = bytes(range(length))
    assert _Mac(NEW).over(content) == hmac.digest(NEW, content, "sha256")
