"""Coalesced look-ups: one query for many callers, nobody reads what is older than his question."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from ledger import coalesce
from ledger.coalesce import Coalesced


class FileStore:
    """A slow store that notes what it was asked for."""

    def __init__(self) -> None:
        self.content = {"a": 1, "b": 2, "c": 3}
        self.asked: list[set[str]] = []
        self.failures = 0

    async def fetch(self, keys: Collection[str]) -> dict[str, int]:
        self.asked.append(set(keys))
        seen = {key: value for key, value in self.content.items() if key in keys}
        await asyncio.sleep(0.01)
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        return seen


async def test_a_lone_caller_waits_for_nobody() -> None:
    shelf = FileStore()
    assert await Coalesced(shelf.fetch).get(["a", "missing"]) == {"a": 1}
    assert shelf.asked == [{"a", "missing"}]


async def test_what_arrives_while_one_query_is_under_way_shares_the_next() -> None:
    shelf = FileStore()
    lookups = Coalesced(shelf.fetch)
    answers = await asyncio.gather(lookups.get(["a"]), *(lookups.get([key]) for key in ("b", "c", "b")))
    assert answers == [{"a": 1}, {"b": 2}, {"c": 3}, {"b": 2}]
    assert len(shelf.asked) <= 2


async def test_everybody_reads_his_own_writes() -> None:
    shelf = FileStore()
    lookups = Coalesced(shelf.fetch)
    first = asyncio.create_task(lookups.get(["a"]))
    await asyncio.sleep(0.005)
    shelf.content["a"] = 7
    assert await lookups.get(["a"]) == {"a": 7}
    assert await first == {"a": 1}


async def test_a_failure_is_told_to_all_who_share_it_and_to_nobody_else() -> None:
    shelf = FileStore()
    shelf.failures = 1
    lookups = Coalesced(shelf.fetch)
    results = await asyncio.gather(lookups.get(["a"]), lookups.get(["b"]), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    assert await lookups.get(["a"]) == {"a": 1}


async def test_a_caller_who_gave_up_holds_up_nobody() -> None:
    shelf = FileStore()
    lookups = Coalesced(shelf.fetch)
    impatient = asyncio.create_task(lookups.get(["a"]))
    patient = asyncio.create_task(lookups.get(["b"]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == {"b": 2}


async def test_in_company_a_query_waits_for_those_who_keep_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    # A rest of 100 ms for each caller who has come, while one comes every 5 ms.
    monkeypatch.setattr(coalesce, "REST", 10)
    monkeypatch.setattr(coalesce, "REST_MAX_S", 0.4)
    monkeypatch.setattr(coalesce, "CROWD", 1000)
    shelf = await callers(100)
    assert len(shelf.asked) <= 10


async def test_a_crowd_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "REST", 1000)
    monkeypatch.setattr(coalesce, "REST_MAX_S", 100.0)
    shelf = await twenty_rounds("abc" * 20)
    assert len(shelf.asked) <= 40


async def test_without_a_rest_the_same_callers_need_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "COMPANY", float("inf"))
    shelf = await callers(100)
    assert len(shelf.asked) > 20


async def test_no_rest_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "REST", 10_000)
    monkeypatch.setattr(coalesce, "CROWD", 1000)
    async with asyncio.timeout(10):
        await callers(100)


async def test_calls_one_after_the_other_never_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "REST", 10_000)
    monkeypatch.setattr(coalesce, "REST_MAX_S", 100.0)
    shelf = await twenty_rounds("a")
    assert len(shelf.asked) == 20


async def twenty_rounds(keys: str) -> FileStore:
    """Callers of these keys at once, and again when all are answered; the store after twenty rounds."""
    shelf = FileStore()
    lookups = Coalesced(shelf.fetch)
    async with asyncio.timeout(50):
        for _ in range(20):
            await asyncio.gather(*(lookups.get([key]) for key in keys))
    return shelf


async def callers(count: int) -> FileStore:
    """So many callers, one every 5 ms; the store when all are answered."""
    shelf = FileStore()
    lookups = Coalesced(shelf.fetch)
    waits = []
    for _ in range(count):
        waits.append(asyncio.create_task(lookups.get(["a"])))
        await asyncio.sleep(0.005)
    assert await asyncio.gather(*waits) == [{"a": 1}] * count
    return shelf
