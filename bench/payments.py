"""The rows of the whole service: client, service, PostgreSQL and the sandbox bank, each in a process of its own."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import psycopg
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bench import site
from bench.drive import Pair, Seen, drive, in_turn, pair
from bench.rows import Measured, Row, faster, longer
from bench.site import Client, client

READERS = 64
PAYERS = 256
WATCHES = 1_000
ABUSERS = 200
HONEST = 16
PROCESS_PAIRS = 5
CONNECTIONS = {"BANK__MAX_CONNECTIONS": "1000"}
PATIENT_PAYERS = 600
"""Enough that a bank which takes half a second for an answer keeps nobody idle."""
DELAY_S = 0.5
WAITING = 10_000
MIB = 1024 * 1024
PAY = "6034"


async def payments(folder: Path, measured: Measured) -> None:
    """All rows of the service."""
    with site.database(folder) as dsn:
        await _payments_on(dsn, folder, measured)


async def _payments_on(dsn: str, folder: Path, measured: Measured) -> None:
    with site.bank(folder / "bank") as bank:
        metrics = site.free_address()
        with site.collector() as collector:
            exported = {"TELEMETRY__OTLP_ENDPOINT": collector, "TELEMETRY__METRICS_LISTEN": metrics}
            with (
                site.service(dsn, bank, **CONNECTIONS, **exported) as traced,
                site.scraper(metrics),
                site.service(dsn, bank, **CONNECTIONS) as silent,
            ):
                async with client(traced) as one, client(silent) as other:
                    await one.open_market()
                    await drive(one.pay, PAYERS, 3.0)
                    await drive(other.pay, PAYERS, 3.0)
                    measured.rows += [
                        await _balances(other),
                        await _watches(other, silent),
                        await _payments(one),
                        await _abused(other, silent),
                        await _slow_bank(one, bank),
                    ]
                    measured.profile |= await _profile(one, dsn)
            measured.rows.append(await _tracing(dsn, bank, exported))
        measured.rows.append(_startup(dsn, bank))
    measured.rows += await _locks(dsn, folder)
    # A bank of its own, which is left to its slowness.
    with site.bank(folder / "slow-bank") as bank:
        measured.rows.append(await _waiting(site.new_database(dsn, "waiting"), bank))


async def _balances(one: Client) -> Row:
    found = await in_turn(lambda: one.balance, lambda: one.empty, READERS, seconds=1.0, turns=7)
    what = f"balance RPCs a second at {READERS} callers against an empty RPC on the same server"
    return faster("balances", what, 0.7, ("balance", "empty"), found)


async def _beside(
    others: Callable[[], AbstractContextManager[None]],
    driven: Callable[[float], Awaitable[Seen]],
    *,
    leads_s: tuple[float, float],
    turns: int,
) -> Pair:
    """The same driven beside others and alone, in turn, each after its lead."""
    found: list[tuple[Seen, Seen]] = []
    for _ in range(turns):
        with others():
            beside = await driven(leads_s[0])
        found.append((beside, await driven(leads_s[1])))
    return pair(found)


async def _watches(one: Client, target: str) -> Row:
    beside = partial(site.watchers, target, WATCHES)
    found = await _beside(beside, partial(drive, one.balance, READERS, 1.0), leads_s=(0.3, 0.3), turns=7)
    what = f"balance RPCs a second at {READERS} callers while {WATCHES} watches are open and idle, against none"
    return faster("watches", what, 0.95, ("watched", "unwatched"), found)


async def _locks(dsn: str, folder: Path) -> list[Row]:
    """What mutual TLS, rights and MACs cost together; each side has books and a bank of its own."""
    settings, credentials = site.locks(folder / "locks")
    with (
        site.bank(folder / "locked-bank") as bank,
        site.bank(folder / "open-bank") as other_bank,
        site.service(site.new_database(dsn, "locked"), bank, **settings) as locked,
        site.service(site.new_database(dsn, "unlocked"), other_bank) as unlocked,
    ):
        async with client(locked, credentials) as one, client(unlocked) as other:
            for each in (one, other):
                await each.open_market()
                await drive(each.pay, PAYERS, 3.0)
            paid = await in_turn(lambda: one.pay, lambda: other.pay, PAYERS, seconds=2.5, turns=7)
            read = await in_turn(lambda: one.balance, lambda: other.balance, READERS, seconds=1.0, turns=7)
    what = "with mutual TLS, a policy and MACs, against none"
    return [
        faster("locked payments", f"payments a second {what}", 0.95, ("locked", "unlocked"), paid),
        faster("locked balances", f"balance RPCs a second {what}", 0.90, ("locked", "unlocked"), read),
    ]


async def _abused(one: Client, target: str) -> Row:
    # Until each of them has had the refusals that it gets at once.
    leads_s = (20.0, 0.5)
    beside = partial(site.abusers, target, ABUSERS)
    found = await _beside(beside, partial(drive, one.pay, HONEST, 2.5), leads_s=leads_s, turns=3)
    what = f"median time of a payment, {HONEST} callers, beside {ABUSERS} callers that send nonsense, against alone"
    return longer("abusers", what, 2.0, ("beside", "alone"), found)


async def _payments(one: Client) -> Row:
    found = await in_turn(lambda: one.pay, lambda: one.sign_and_call, PAYERS, seconds=2.5, turns=7)
    what = f"payments a second end to end at {PAYERS} callers against an empty RPC with one signature and one bank call"
    return faster("payments", what, 0.6, ("payment", "sign_and_call"), found)


async def _slow_bank(one: Client, bank: Mapping[str, Any]) -> Row:
    turns: list[tuple[Seen, Seen]] = []
    for _ in range(5):
        async with _delayed(bank, DELAY_S):
            slow = await drive(one.pay, PATIENT_PAYERS, 2.5, lead_s=1.5)
        turns.append((slow, await drive(one.pay, PATIENT_PAYERS, 2.5, lead_s=1.5)))
    found = pair(turns)
    what = f"payments a second when the bank takes {DELAY_S * 1000:.0f} ms, against no delay, {PATIENT_PAYERS} callers"
    return faster("slow bank", what, 0.9, ("slow", "no_delay"), found)


async def _tracing(dsn: str, bank: Mapping[str, Any], exported: Mapping[str, str]) -> Row:
    """Each pair of processes is new: two that do the same differ by up to a fifth, for as long as they live."""
    turns: list[tuple[Seen, Seen]] = []
    for number in range(PROCESS_PAIRS):
        # The one that starts first is the one with telemetry every other time.
        settings = [{**CONNECTIONS, **exported}, CONNECTIONS]
        first, second = settings if number % 2 else settings[::-1]
        with (
            site.service(dsn, bank, **first) as early,
            site.service(dsn, bank, **second) as late,
            site.scraper(exported["TELEMETRY__METRICS_LISTEN"]),
        ):
            traced, silent = (early, late) if number % 2 else (late, early)
            async with client(traced) as one, client(silent) as other:
                if not number:
                    await one.open_market()
                await drive(one.pay, PAYERS, 1.5)
                await drive(other.pay, PAYERS, 1.5)
                turns += [(await drive(one.pay, PAYERS, 2.5), await drive(other.pay, PAYERS, 2.5)) for _ in range(2)]
    what = "payments a second with all traces and metrics exported, and the metrics scraped as well, against none"
    return faster("tracing", what, 0.92, ("on", "off"), pair(turns))


async def _profile(one: Client, dsn: str) -> dict[str, float]:
    """Percent of the CPU time that service and PostgreSQL spend, by what it goes to."""
    before_s = _postgres_cpu_s(dsn)
    load = asyncio.create_task(drive(one.pay, PAYERS, 6.0))
    await asyncio.sleep(0.5)
    spent = await one.profile(5.0)
    await load
    spent["PostgreSQL"] = (_postgres_cpu_s(dsn) - before_s) * 5.0 / 6.0
    whole = sum(spent.values())
    return {part: 100 * cpu_s / whole for part, cpu_s in sorted(spent.items(), key=lambda one: -one[1])}


def _postgres_cpu_s(dsn: str) -> float:
    with psycopg.connect(dsn) as connection:
        pids = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity")]
    return sum(site.cpu_s(pid) for pid in pids if Path(f"/proc/{pid}").exists())


def _startup(dsn: str, bank: Mapping[str, Any]) -> Row:
    took_s = []
    for _ in range(3):
        began_s = time.perf_counter()
        with site.service(dsn, bank):
            took_s.append(time.perf_counter() - began_s)
    return Row(
        "start", "from the start of the process until it serves, warm", statistics.median(took_s), "<=", 3.0, "s"
    )


async def _waiting(dsn: str, bank: Mapping[str, Any]) -> Row:
    """Memory of payments that wait for the bank, and that one more is refused before anything is reserved."""
    patience = {"BANK__TIMEOUT_S": "600", "BANK__POOL_TIMEOUT_S": "600", "RESOLVER__ORPHAN_AFTER_S": "3600"}
    one_channel = {"GRPC__STREAMS_MAX": str(2 * WAITING), "DRAIN_S": "1"}
    with site.service(dsn, bank, **patience, CALL_CONCURRENCY=str(WAITING), **one_channel) as target:
        async with client(target) as one:
            await one.open_market()
            await drive(one.pay, PAYERS, 2.0)
            idle = await one.usage()
            async with _delayed(bank, 600.0):
                waiting = [asyncio.create_task(one.pay(600.0)) for _ in range(WAITING)]
                await _until_reserved(dsn, WAITING)
                full = await one.usage()
                retry_s = await _refusal(one)
                reserved = _reserved(dsn)
                for call in waiting:
                    call.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
    if reserved != WAITING:
        raise RuntimeError(f"{reserved} payments are reserved where {WAITING} were let in")
    return Row(
        "waiting payments",
        f"memory of {WAITING} payments that wait for a slow bank; the next is refused with RetryInfo",
        (full["resident_bytes"] - idle["resident_bytes"]) / MIB,
        "<=",
        300.0,
        "MiB",
        detail={"idle_mib": idle["resident_bytes"] / MIB, "retry_after_s": retry_s},
    )


async def _refusal(one: Client) -> float:
    """Seconds after which the next payment is to be tried again."""
    try:
        await one.pay()
    except grpc.aio.AioRpcError as refusal:
        # grpc-stubs knows the calls of the synchronous client only.
        status = rpc_status.from_call(cast(grpc.Call, refusal))
        if refusal.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or status is None:
            raise
        retry = error_details_pb2.RetryInfo()
        if not any(detail.Unpack(retry) for detail in status.details):
            raise
        return float(retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
    raise RuntimeError("one payment more than allowed was let in")


async def _until_reserved(dsn: str, count: int) -> None:
    async with asyncio.timeout(120):
        # Asked of the database, which tells nobody.
        while _reserved(dsn) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


def _reserved(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM operation WHERE state = 'reserved'").fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def _delayed(bank: Mapping[str, Any], seconds: float) -> AsyncIterator[None]:
    """The bank takes its time for payments."""
    faults = f"{bank['base_url']}/control/faults"
    async with httpx.AsyncClient(trust_env=False) as control:
        asked = await control.post(faults, json={"fault": f"delay:{seconds}", "code": PAY, "times": None})
        asked.raise_for_status()
        try:
            yield
        finally:
            (await control.delete(faults)).raise_for_status()
