"""Fixtures of the mirror's tests: a writer and reads on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger import (
    Account,
    Entries,
    Events,
    Lists,
    Lookups,
    Reads,
    Step,
    StepOutcome,
    Writer,
    connect,
    open_pool,
    verify,
)
from tests.ledger.bookkeeping import PLATFORM, money, opening, stored


@dataclass(frozen=True, slots=True)
class Mirror:
    """One platform's mirror on a fresh database."""

    dsn: str
    writer: Writer
    reads: Reads
    lists: Lists
    events: Events
    entries: Entries
    engine: AsyncEngine
    batches: list[int]

    async def do(self, step: Step) -> StepOutcome:
        return await self.writer.submit(step)

    async def together(self, *steps: Step) -> list[StepOutcome | BaseException]:
        """What comes of steps that arrive at the same time, in this order."""
        return await asyncio.gather(*(self.writer.submit(step) for step in steps), return_exceptions=True)

    async def give(self, account: Account, fen: int) -> None:
        await self.do(opening(enter=[money(account, fen)]))

    def standing(self) -> dict[str, tuple[int, int]]:
        return stored(self.dsn)

    async def assert_whole(self) -> None:
        """The journal replays to the balances."""
        assert await verify(self.engine, PLATFORM) == []

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Another process has the platform's lock: what is submitted here waits until the block ends."""
        async with await psycopg.AsyncConnection.connect(self.dsn) as other:
            await other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [PLATFORM])
            yield


@pytest.fixture
async def mirror(database: str) -> AsyncIterator[Mirror]:
    """A running mirror with nothing in it."""
    async with open_mirror(database) as opened:
        yield opened


@asynccontextmanager
async def open_mirror(dsn: str, *, queue_max: int = 20_000) -> AsyncIterator[Mirror]:
    """A running mirror; ``queue_max`` is how many steps may wait for its writer."""
    batches: list[int] = []
    engine = connect(dsn, 4)
    try:
        async with (
            open_pool(dsn) as pool,
            Writer(
                dsn, PLATFORM, on_batch=lambda origins, _: batches.append(len(origins)), queue_max=queue_max
            ).running() as writer,
        ):
            reads = Reads(engine, Lookups(pool, PLATFORM))
            lists, events, entries = Lists(pool, PLATFORM), Events(pool, PLATFORM), Entries(pool, PLATFORM)
            yield Mirror(dsn, writer, reads, lists, events, entries, engine, batches)
    finally:
        await engine.dispose()
