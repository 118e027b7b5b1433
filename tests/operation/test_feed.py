"""One reader for all watches: what it gives out, to whom, and what it asks of the database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from ledger import EVERYTHING, Event, Events, LedgerUnavailable, State, Wanted
from ledger.accounts import withdrawable
from ledger.names import SubAccount
from service import feed as feeds
from service.feed import Feed
from service.problems import Problem
from service.settings import WatchSettings
from tests.ledger.bookkeeping import ANN, BOB, opening, pay, posting
from tests.ledger.conftest import Mirror, open_mirror
from tests.world.process import until


class Counted(Events):
    """Events that count how often the database is asked, and do not reach it while ``is_away``."""

    looks = 0
    is_away = False

    async def after(self, *asked: Any, **more: Any) -> Any:
        self.looks += 1
        if self.is_away:
            raise LedgerUnavailable("away")
        return await super().after(*asked, **more)


@pytest.fixture
async def mirror(database: str) -> AsyncIterator[Mirror]:
    async with open_mirror(database) as opened:
        await opened.give(withdrawable(ANN), 100_000)
        yield opened


@asynccontextmanager
async def feed_of(mirror: Mirror, **settings: Any) -> AsyncIterator[tuple[Feed, Counted]]:
    events = Counted(mirror.events._pool, mirror.events._platform)
    async with Feed(events, mirror.reads.last_event, WatchSettings(**settings)).running() as feed:
        yield feed, events


async def trade(mirror: Mirror, times: int = 1, *, payee: str = "") -> None:
    """Two events each time."""
    for _ in range(times):
        step = opening(pay(ANN, BOB, 1), payee=SubAccount(payee))
        await mirror.do(step)
        await mirror.do(posting(step))


async def read(feed: Feed, wanted: Wanted, after: int | None, count: int) -> list[int]:
    """The numbers of the next events."""
    found: list[int] = []
    async with aclosing(feed.follow(wanted, after)) as following:
        async for cursor, event in following:
            if event is not None:
                assert cursor == event.seq
                found.append(cursor)
            if len(found) >= count:
                break
    return found


async def numbers(mirror: Mirror) -> list[int]:
    return [event.seq for event in (await mirror.events.after(0, 10_000)).events]


async def test_however_many_watch_the_database_is_asked_as_often_as_for_one(mirror: Mirror) -> None:
    async with feed_of(mirror) as (feed, events):
        readers = [asyncio.create_task(read(feed, EVERYTHING, None, 6)) for _ in range(200)]
        await until(lambda: sum(map(len, feed._watches.values())) == 200, "all watch")
        before = events.looks
        await asyncio.sleep(1.0)
        assert events.looks - before <= 1.0 / feeds.POLL_S + 1
        await trade(mirror, 3)
        seen = await asyncio.gather(*readers)
        assert {tuple(one) for one in seen} == {tuple((await numbers(mirror))[-6:])}
        assert events.looks - before <= 20


async def test_nobody_watches_and_nothing_is_asked(mirror: Mirror) -> None:
    async with feed_of(mirror) as (feed, events):
        await asyncio.gather(asyncio.create_task(read(feed, EVERYTHING, 0, 1)), asyncio.sleep(0.3))
        before = events.looks
        feed.wake()
        await asyncio.sleep(2 * feeds.POLL_S)
        assert events.looks == before


async def test_who_comes_and_goes_at_any_time_sees_every_event_once_and_in_order(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small pages, so that joining, reading on and catching up meet each other often.
    monkeypatch.setattr(feeds, "PAGE", 3)
    monkeypatch.setattr(feeds, "GATHER_S", 0.001)
    async with feed_of(mirror, lag_max=1000) as (feed, _):

        async def reader(dice: random.Random) -> list[int]:
            found: list[int] = []
            while len(found) < 201:
                found += await read(
                    feed, EVERYTHING, found[-1] if found else 0, min(dice.randint(1, 60), 201 - len(found))
                )
                await asyncio.sleep(dice.choice((0, 0.001, 0.05)))
            return found

        readers = [asyncio.create_task(reader(random.Random(seed))) for seed in range(8)]
        for _ in range(10):
            await asyncio.gather(*(trade(mirror) for _ in range(10)))
            feed.wake()
        everything = await numbers(mirror)
        for one in readers:
            assert await one == everything


async def test_a_watch_from_now_sees_nothing_that_was_committed_before(mirror: Mirror) -> None:
    async with feed_of(mirror) as (feed, _), feed.watching(EVERYTHING):
        # Not read yet by the feed, which only polls here.
        await trade(mirror)
        async with feed.watching(EVERYTHING) as late:
            assert late.position == (await numbers(mirror))[-1]
            assert await late.next(2 * feeds.POLL_S) is None


async def test_the_position_of_a_quiet_watch_moves_on_with_the_events_of_others(mirror: Mirror) -> None:
    async with (
        feed_of(mirror, heartbeat_s=0.05) as (feed, _),
        aclosing(feed.follow(Wanted(member_id="nobody"), None)) as following,
    ):
        first = await anext(following)
        await trade(mirror, 2)
        last = (await numbers(mirror))[-1]
        async for cursor, event in following:
            assert event is None
            if cursor == last:
                break
        assert first == ((await numbers(mirror))[0], None)


async def test_a_reader_that_falls_behind_is_ended_and_what_waited_for_it_is_let_go(mirror: Mirror) -> None:
    async with (
        feed_of(mirror, lag_max=4) as (feed, _),
        feed.watching(EVERYTHING) as slow,
        feed.watching(Wanted(kinds=frozenset({"TOP_UP"}))) as other,
    ):
        await trade(mirror, 2)
        assert isinstance(await slow.next(5.0), Event)
        await trade(mirror, 2)
        await until(lambda: not slow._waiting, "it is given up")
        with pytest.raises(Problem) as told:
            await slow.next(5.0)
        assert (told.value.reason, told.value.metadata) == ("WATCH_TOO_SLOW", {"lag_max": "4"})
        # What another does not want does not count against it.
        assert await other.next(0.0) is None


async def test_a_database_that_is_away_ends_all_watches_and_the_next_one_goes_on(mirror: Mirror) -> None:
    async with feed_of(mirror) as (feed, events):
        async with feed.watching(EVERYTHING) as one, feed.watching(Wanted(member_id="ann")) as other:
            events.is_away = True
            for watch in (one, other):
                with pytest.raises(LedgerUnavailable):
                    await watch.next(5.0)
            events.is_away = False
        start = (await numbers(mirror))[-1]
        reading = asyncio.create_task(read(feed, EVERYTHING, start, 2))
        await trade(mirror)
        assert await reading == (await numbers(mirror))[-2:]


async def test_closing_ends_watches_those_that_join_and_those_that_read_pages(mirror: Mirror) -> None:
    async with (
        feed_of(mirror) as (feed, _),
        aclosing(feed.follow(EVERYTHING, 0)) as reads,
        feed.watching(EVERYTHING) as waits,
    ):
        assert await anext(reads) == (0, None)
        joins = asyncio.create_task(read(feed, EVERYTHING, None, 1))
        await asyncio.sleep(0)
        feed.close()
        for ended in (anext(reads), waits.next(5.0), joins, read(feed, EVERYTHING, None, 1)):
            with pytest.raises(Problem) as told:
                await ended
            assert told.value.reason == "SERVICE_STOPPING"


async def test_a_cursor_ahead_of_the_books_is_refused(mirror: Mirror) -> None:
    async with feed_of(mirror) as (feed, _):
        last = (await numbers(mirror))[-1]
        with pytest.raises(Problem) as told:
            await read(feed, EVERYTHING, last + 1, 1)
        assert (told.value.reason, told.value.metadata) == ("PAGE_TOKEN_INVALID", {"field": "cursor"})


async def test_filters_select_while_reading_pages_and_while_waiting_alike(mirror: Mirror) -> None:
    wanted = Wanted(member_id="bob", states=frozenset({State.DONE}))
    async with feed_of(mirror) as (feed, _):
        await trade(mirror, 2, payee="bob")
        await trade(mirror, 1, payee="cat")
        reading = asyncio.create_task(read(feed, wanted, 0, 4))
        await until(lambda: feed._watches, "it waits")
        await trade(mirror, 1, payee="cat")
        await trade(mirror, 2, payee="bob")
        everything = (await mirror.events.after(0, 100)).events
        assert await reading == [event.seq for event in everything if wanted.takes(event, event.names())]
