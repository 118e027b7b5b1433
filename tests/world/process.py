"""The service as a process of its own, to be killed, frozen and asked to stop, and what helps to do so at a given step.

The sandbox bank lives in the test's process and outlives it. No code of the service knows about tests: a step is held
by what the service itself waits for, a lock in PostgreSQL or the bank's answer.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg

from embedded import as_service
from jzb.v1 import operation_pb2_grpc, payment_pb2_grpc
from sandbox.server import Sandbox
from service.process.server import running
from tests.world.marketplace import PATIENT, QUICK, SEAL_KEY, VAULT_KEY, Marketplace, service_settings

ROOT = Path(__file__).parents[2]
START_S = 30.0

_instances = itertools.count(1)


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition, given as a function or a coroutine function."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                held = condition()
                if await held if inspect.isawaitable(held) else held:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s} s in vain: {what}") from None


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of the service."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("JZB_") and name != "DATABASE_URL"}
    return {**ours, **more}


def as_environment(settings: Mapping[str, Any], prefix: str = "JZB_") -> dict[str, str]:
    """Nested settings as the environment has them: JZB_BANK__UID and so on."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        key = f"{prefix}{name.upper()}"
        if isinstance(value, Mapping) and prefix == "JZB_":
            found |= as_environment(value, f"{key}__")
        else:
            found[key] = value if isinstance(value, str) else json.dumps(value, default=str)
    return found


class ServiceProcess:
    """A running `jzb serve`."""

    def __init__(self, process: Process, channel: grpc.aio.Channel, said: list[str], target: str) -> None:
        self._process = process
        self.pid = process.pid
        self.target = target
        self.said = said
        self.payments = payment_pb2_grpc.PaymentServiceStub(channel)
        self.operations = operation_pb2_grpc.OperationServiceStub(channel)
        self.channel = channel

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._process.kill()
        await self._process.wait()

    async def ended(self, timeout_s: float = 20.0) -> int:
        """Wait for the end; returns the exit status."""
        return await asyncio.wait_for(self._process.wait(), timeout_s)


@asynccontextmanager
async def service_process(
    dsn: str, sandbox: Sandbox, *, environment: Mapping[str, str] | None = None, **settings: Any
) -> AsyncIterator[ServiceProcess]:
    """`jzb serve` with the quick settings of the tests; killed at the end if it still runs."""
    given = {
        "database_url": as_service(dsn),
        "bank": {**sandbox.client_settings, "timeout_s": 5.0, "connect_timeout_s": 1.0, **settings.pop("bank", {})},
        "listen": "127.0.0.1:0",
        "resolver": {**QUICK, **settings.pop("resolver", {})},
        "vault": {"keys": [VAULT_KEY]},
        "seal": {"keys": [SEAL_KEY]},
        "drain_s": 5.0,
        "grpc": {**PATIENT, **settings.pop("grpc", {})},
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.process.cli", "serve"),
        cwd=ROOT,
        env=clean_environment(**as_environment(given), **(environment or {})),
        stdout=PIPE,
        stderr=STDOUT,
    )
    said: list[str] = []
    listens: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said.append(line.decode())
            if "gRPC listens" in said[-1] and (found := re.search(r"port\D+(\d+)", said[-1])):
                listens.set_result(int(found.group(1)))
        if not listens.done():
            listens.set_exception(AssertionError(f"the service ended before it listened: {''.join(said)}"))

    reading = asyncio.create_task(read())
    try:
        port = await asyncio.wait_for(listens, START_S)
        target = f"127.0.0.1:{port}"
        async with grpc.aio.insecure_channel(target) as channel:
            yield ServiceProcess(process, channel, said, target)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def orphans_are_due(dsn: str) -> None:
    """As if ``orphan_after_s`` had passed: reservations are taken for orphaned."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "UPDATE due SET ask_at = now() FROM operation o WHERE o.id = due.operation_id AND o.state = 'reserved'"
        )


@asynccontextmanager
async def shop_on(dsn: str, sandbox: Sandbox, **settings: Any) -> AsyncIterator[Marketplace]:
    """A service in this process, on a database and a bank that may have served others before."""
    async with (
        running(service_settings(dsn, sandbox, **settings)) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        await until(service.components.clearing.enter_opening_balance, "the opening balances are taken over")
        shop = Marketplace(dsn, sandbox, service, channel)
        # Request ids that no earlier instance has used.
        shop._numbers = itertools.count(1_000_000 * next(_instances))
        yield shop


class Held:
    """A lock that the service needs; `is_awaited` once it stands before it."""

    def __init__(self, watcher: psycopg.AsyncConnection[Any]) -> None:
        self._watcher = watcher

    async def is_awaited(self) -> bool:
        """Whether anybody waits for a lock in this database."""
        found = await self._watcher.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = pg_locks.database"
            " WHERE NOT granted AND datname = current_database()"
        )
        row = await found.fetchone()
        assert row is not None
        return bool(row[0])


@asynccontextmanager
async def _locked(dsn: str, statement: str, *values: str) -> AsyncIterator[Held]:
    async with (
        await psycopg.AsyncConnection.connect(dsn) as holder,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher,
    ):
        await holder.execute(statement, values)
        yield Held(watcher)
        await holder.rollback()


def writer_held(dsn: str, platform: str) -> AbstractAsyncContextManager[Held]:
    """Hold the lock that a batch of the ledger takes before it reads: no step goes on."""
    return _locked(dsn, "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", platform)


def legs_held(dsn: str) -> AbstractAsyncContextManager[Held]:
    """Hold the table that a posting writes to: the batch that settles stands in the middle, its COMMIT sent behind."""
    return _locked(dsn, "LOCK TABLE leg IN EXCLUSIVE MODE")


class Wire:
    """The line between the service and the bank. While `is_cut` is set, what the service sends is swallowed."""

    def __init__(self) -> None:
        self.url = ""
        self.is_cut = False
        self.swallowed = 0

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_the_bank: bool) -> None:
        try:
            while data := await reader.read(65_536):
                if to_the_bank and self.is_cut:
                    self.swallowed += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def wire_to(sandbox: Sandbox) -> AsyncIterator[Wire]:
    """A line to the sandbox that can be cut."""
    wire = Wire()
    host, port = sandbox.url.removeprefix("http://").split(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bank_reader, bank_writer = await asyncio.open_connection(host, int(port))
        async with asyncio.TaskGroup() as both:
            both.create_task(wire._carry(reader, bank_writer, to_the_bank=True))
            both.create_task(wire._carry(bank_reader, writer, to_the_bank=False))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
