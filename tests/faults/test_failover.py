"""Two PostgreSQL servers, the standby synchronous: the primary is killed under load, the standby promoted. The service
goes on without a restart, and nothing that a caller was told is missing.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest

from embedded import EmbeddedPostgres, let_service_in
from jzb.v1 import core_pb2, payment_pb2
from ledger import LedgerUnfit, connect, migrate, require_current
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from tests.world.doubts import rested
from tests.world.marketplace import LENIENT, TIMEOUT_S, refusal_of
from tests.world.process import ServiceProcess, orphans_are_due, service_process, shop_on, until
from tests.world.scraping import LISTEN, scrape
from tests.world.standby import STANDBY, execute, pair

CALLERS = 8


def both(primary: EmbeddedPostgres, standby: EmbeddedPostgres) -> str:
    """A DSN that finds whichever takes writes."""
    where = urlsplit(primary.dsn)
    hosts = f"{where.hostname}:{primary.port},{where.hostname}:{standby.port}"
    options = "target_session_attrs=read-write&connect_timeout=2"
    return f"postgresql://{where.username}:{where.password}@{hosts}/jzb?{options}"


def processes(server: EmbeddedPostgres) -> list[int]:
    """The server's own process and its children, each of which leads a session of its own."""
    (first, *_) = (server.data_dir / "cluster" / "postmaster.pid").read_text().splitlines()
    found = [int(first)]
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # What is behind the name, which may hold anything: state, parent.
            parent = status.read_text().rpartition(")")[2].split()[1]
            if parent == first:
                found.append(int(status.parent.name))
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def stopped(server: EmbeddedPostgres) -> Iterator[None]:
    """The server with all its processes stands still: an asynchronous standby would not be missed."""
    pids = processes(server)
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


def kill(server: EmbeddedPostgres) -> None:
    """kill -9 of the server and all its processes at once."""
    send(processes(server), signal.SIGKILL)


class Load:
    """Callers who pay without a pause, and what they were told."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self.done: list[str] = []
        self.failed: Counter[str] = Counter()
        self.without_effect: list[str] = []
        self._is_over = False

    async def run(self, name: int) -> None:
        number = 0
        while not self._is_over:
            number += 1
            request = payment_pb2.PayRequest(
                request_id=f"load-{name}-{number}",
                payer_member_id="buyer",
                payee_member_id="seller",
                amount_fen=100,
                fee_fen=1,
                settlement=payment_pb2.SETTLEMENT_T1,
            )
            try:
                answer = await self._service.payments.Pay(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                self.failed[error.code().name] += 1
                if refusal_of(error).outcome == core_pb2.OUTCOME_NO_EFFECT:
                    self.without_effect.append(request.request_id)
                await asyncio.sleep(0.05)
            else:
                assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
                self.done.append(request.request_id)

    def stop(self) -> None:
        self._is_over = True


async def test_when_the_primary_is_killed_the_service_goes_on_with_the_standby(tmp_path: Path) -> None:
    async with pair(tmp_path) as (primary, standby), Sandbox(SandboxSettings(**LENIENT)) as bank:
        dsn = both(primary, standby)
        async with shop_on(dsn, bank) as shop:
            await shop.buyer("buyer", 10_000_00)
            await shop.merchant("seller")
        async with service_process(dsn, bank) as service:
            load = Load(service)
            callers = [asyncio.create_task(load.run(name)) for name in range(CALLERS)]
            await until(lambda: len(load.done) > 50, "payments are made")
            with stopped(standby):
                # What was on its way has ended: from now on nobody is told of what the standby has not.
                await asyncio.sleep(0.5)
                waiting = len(load.done)
                await asyncio.sleep(1.0)
                assert len(load.done) == waiting
            await until(lambda: len(load.done) > waiting, "payments go on with the standby back")
            kill(primary)
            await asyncio.sleep(0.5)
            before = len(load.done)
            await asyncio.sleep(1.0)
            # All of them wait, or are told that it may have happened.
            assert len(load.done) == before
            with pytest.raises(
                LedgerUnfit, match="transaction_read_only is on and must be off: the server is a standb"
            ):
                await asyncio.to_thread(migrate, standby.dsn)
            reports = connect(standby.dsn, 1)
            await require_current(reports)
            await reports.dispose()
            await execute(standby.dsn, "SELECT pg_promote()")
            await until(lambda: len(load.done) > before + 50, "payments go on with the standby", 60.0)
            load.stop()
            await asyncio.gather(*callers)
        assert set(load.failed) <= {"UNAVAILABLE"}
        await orphans_are_due(standby.dsn)
        async with shop_on(dsn, bank, resolver={"ask_after_s": 0.1}) as shop:
            assert await rested(standby.dsn) == (0, 0)
            async with await psycopg.AsyncConnection.connect(standby.dsn) as connection:
                found = await connection.execute("SELECT request_id FROM operation WHERE state = 'done'")
                kept = {row[0] for row in await found.fetchall()}
            assert set(load.done) <= kept
            assert kept.isdisjoint(load.without_effect)
            await shop.assert_agrees()


async def test_a_service_that_starts_before_its_database_waits_for_it(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as server:
        migrate(server.dsn)
        let_service_in(server.dsn)
        dsn = server.dsn

    async def started(bank: Sandbox) -> str:
        async with service_process(dsn, bank) as service:
            return "".join(service.said)

    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        starting = asyncio.create_task(started(bank))
        await asyncio.sleep(8.0)
        assert not starting.done()
        # On the port that it had before.
        async with EmbeddedPostgres(tmp_path) as server:
            assert server.dsn == dsn
            assert "waits for its database" in await starting


async def test_a_standby_that_replays_nothing_is_shown_as_ever_further_behind(tmp_path: Path) -> None:
    async with (
        pair(tmp_path) as (primary, standby),
        Sandbox(SandboxSettings(**LENIENT)) as bank,
        service_process(primary.dsn, bank, telemetry=LISTEN) as service,
    ):

        async def lags(enough_s: float, most_s: float) -> bool:
            found = (await scrape(service)).values("jzb_replication_lag_seconds", replica=STANDBY)
            return len(found) == 1 and enough_s <= found[0] <= most_s

        await until(partial(lags, 0.0, 10.0), "the standby is shown")
        await execute(standby.dsn, "SELECT pg_wal_replay_pause()")
        await execute(primary.dsn, "CREATE TABLE something AS SELECT 1")
        await until(partial(lags, 1.0, 60.0), "it is behind")
        await execute(standby.dsn, "SELECT pg_wal_replay_resume()")
        await execute(primary.dsn, "DROP TABLE something")
        await until(partial(lags, 0.0, 0.9), "it has caught up")
