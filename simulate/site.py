"""Where a seed is played: one PostgreSQL for all seeds, and for each a database, a line to it, a bank and services.

The bank lives in this process and outlives its callers. Services are forked from a process that has everything loaded,
so that one that was killed is back within a few tenths of a second.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest.mock import patch

import grpc
import psycopg
from psycopg import sql

from bankclient.settings import DEFAULT_PUBLIC_FIELDS
from embedded import EmbeddedPostgres, as_service, let_service_in
from ledger import migrate
from sandbox.records import SUCCEEDED, Withdrawal
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process import certificates
from service.vault import new_key
from simulate import worker
from simulate.forks import Forks
from simulate.line import Line
from simulate.schedule import BANK_PATIENCE_S, PROOFS, SENDER, Blow, Death, Point, Schedule

POSTGRES = {
    # What is killed is a process, never the machine: its files survive.
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "2GB",
}
TEMPLATE = "template_of_seeds"
START_S = 60.0

PORTS: Final = range(10_000, 32_000)
"""Below those that the system gives to whoever connects: a service that was killed finds its own again."""

KEPT_BACK_S: Final = 1.5
"""How long a day's clearing stays 3: longer than the services' pause between two questions about it."""

LEAVE_S: Final = 0.3
"""For how long a service that stops still answers those who have not gone elsewhere."""

SERVICE_IDS: Final = {"6133": "BatchByPassword", "6134": "FreezeByPassword", "6165": "PayFrozenByPassword"}
"""Of the interfaces that have no public one; bank and services are told the same."""

CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
]
"""A caller that finds its service again as soon as it is back."""


MARKET: Final = "spiffe://simulate/market"
"""The caller that all requests are made by."""

POLICY: Final = f"""
[callers."{MARKET}"]
scopes = [
    "money.pay", "money.refund", "money.withdraw", "member.write", "card.write", "manual", "read.all", "audit", "files",
    "admin",
]
namespace = ""
members = ["*"]
amount_per_call_fen = 1_000_000_000_000
amount_per_day_fen = 1_000_000_000_000_000
"""

VALID_BEFORE: Final = timedelta(hours=1)
"""By how much longer than usual a certificate is valid already: clocks are off by ten minutes."""


class Locks:
    """What every service is locked with: mutual TLS and a policy."""

    def __init__(self, folder: Path) -> None:
        with patch.object(certificates, "BEFORE", VALID_BEFORE):
            ca = certificates.make_ca(folder)
            server, market = (certificates.issue(folder, name, days=2) for name in ("localhost", MARKET))
        policy = folder / "policy.toml"
        policy.write_text(POLICY, "utf-8")
        self.settings: dict[str, Any] = {
            "tls_certificate": server.certificate,
            "tls_key": server.key,
            "tls_client_ca": ca.certificate,
            "policy": policy,
        }
        trusted = ca.certificate.read_bytes()
        self.credentials = grpc.ssl_channel_credentials(
            trusted, market.key.read_bytes(), market.certificate.read_bytes()
        )


class Site:
    """What all seeds share: the PostgreSQL server, the locks, and the process that services are forked from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = EmbeddedPostgres(folder / "postgres", settings=POSTGRES)
        self.locks = Locks(folder / "locks")
        self.forks = Forks("simulate.worker")
        self._numbers = itertools.count(1)
        self._restarting = asyncio.Lock()

    async def open(self) -> None:
        """Start the server and make the database that those of the seeds are copies of."""
        await self.server.start_async()
        template = self.server.create_database(TEMPLATE)
        migrate(template)
        let_service_in(template)

    async def close(self) -> None:
        """Stop the server."""
        await self.server.stop_async()

    async def restart_postgres(self, *, kill: bool) -> None:
        """Restart the server; with ``kill`` it ends as in a crash, and recovers."""
        # A blow that falls while PostgreSQL comes back from the last one waits for it.
        async with self._restarting:
            if kill:
                pid = int((self.server.data_dir / "cluster" / "postmaster.pid").read_text().split("\n", 1)[0])
                os.kill(pid, signal.SIGQUIT)
            await self.server.stop_async()
            await self.server.start_async()

    def new_database(self) -> str:
        """A database with the schema and nothing in it; its name."""
        name = f"seed_{next(self._numbers)}"
        self.server.create_database(name, TEMPLATE)
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is connected."""
        with psycopg.connect(self.server.dsn_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Site]:
    """A site for the life of the block."""
    site = Site(folder)
    try:
        await site.open()
        yield site
    finally:
        await site.close()


class Service:
    """A service that is started again whenever it has been killed. Its callers keep one channel."""

    def __init__(self, site: Site, orders: worker.Orders, moment: worker.Moment) -> None:
        self._site = site
        self._orders = orders
        self._moment = moment
        self._process: ForkServerProcess | None = None
        self._up = asyncio.Event()
        self._deaths: list[Death] = []
        self.port = _free_port()
        self.channel = grpc.aio.secure_channel(f"127.0.0.1:{self.port}", site.locks.credentials, CHANNEL)
        self.killed: Counter[str] = Counter()
        self.killed_at: datetime | None = None
        self.sent = 0
        """Requests of it that reached the bank and would change something, since it has been worth counting."""
        self.broke = ""
        self._is_stopping = False

    async def run(self, deaths: list[Death]) -> None:
        """Keep it alive until cancelled; each of ``deaths`` strikes once, whichever comes first."""
        self._deaths = deaths
        try:
            while True:
                await self._live()
        finally:
            self.kill()
            await self.channel.close(grace=None)

    async def is_up(self) -> None:
        """Wait until it takes calls."""
        await self._up.wait()

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """SIGTERM: it ends what is under way, and is started again."""
        if self._process is not None and self._up.is_set():
            self._is_stopping = True
            self._process.terminate()

    def has_sent(self) -> None:
        """One more of its requests has reached the bank: perhaps its last."""
        self.sent += 1
        for death in [one for one in self._deaths if one.point is Point.AFTER_SEND and one.nth <= self.sent]:
            self._dies(death)
            self.kill()

    def _dies(self, death: Death) -> None:
        self._deaths.remove(death)
        self.killed[death.point] += 1
        self.killed_at = datetime.now(UTC)

    async def _live(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        settings = {**self._orders.settings, "listen": f"127.0.0.1:{self.port}"}
        orders = self._orders._replace(settings=settings, deaths=tuple(self._deaths))
        forks = self._site.forks
        process = forks.process(worker.serve, orders, self._moment, theirs)
        deaths = self.killed.total()
        try:
            await asyncio.to_thread(forks.start, process)
            self._process = process
            theirs.close()
            # Both have let go of their descriptors when the block ends; one that let go later could meet a new socket
            # under the same number.
            async with asyncio.TaskGroup() as watchers:
                said = watchers.create_task(_readable(ours.fileno()))
                ended = watchers.create_task(_readable(process.sentinel))
                await asyncio.wait((said, ended), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
                if said.done():
                    self._listen(ours)
                await ended
                said.cancel()
            self._up.clear()
            self._listen(ours)
            status = forks.status(process)
            if status == 0 and self._is_stopping:
                self._is_stopping = False
            elif status != -signal.SIGKILL:
                self.broke = f"a service ended with status {status}, see its log"
            elif self.killed.total() == deaths:
                self.broke = "a service was killed, and not by the schedule"
        finally:
            process.kill()
            forks.status(process)
            ours.close()

    def _listen(self, line: Connection) -> None:
        """It says when it is up, and what it dies of."""
        with suppress(EOFError, OSError):
            while line.poll():
                said = line.recv()
                if isinstance(said, Death):
                    self._dies(said)
                else:
                    self._up.set()


async def _readable(descriptor: int) -> None:
    loop, seen = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, seen.set)
    try:
        await seen.wait()
    finally:
        loop.remove_reader(descriptor)


def _free_port() -> int:
    dice = Random()
    while True:
        port = dice.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Stage:
    """One seed's marketplace."""

    def __init__(
        self,
        site: Site,
        database: str,
        line: Line,
        sandbox: Sandbox,
        services: list[Service],
        moment: worker.Moment,
        log: Path,
        seed: int,
    ) -> None:
        self.site = site
        self.database = database
        self.line = line
        self.sandbox = sandbox
        self.services = services
        self.moment = moment
        self.log = log
        self.trace: list[str] = []
        self._dice = Random(seed)
        self._blows: Counter[str] = Counter()
        self._began_s = time.monotonic()

    @property
    def dsn(self) -> str:
        """The database, past the line that may be cut."""
        return self.site.server.dsn_of(self.database)

    @property
    def blows(self) -> Counter[str]:
        """What has struck, by kind; a connection as often as it was cut."""
        return self._blows + Counter({str(how): count for how, count in self.line.cuts.items()})

    def note(self, what: str) -> None:
        """Write down what happened, for whoever has to find out why."""
        self.trace.append(f"{time.monotonic() - self._began_s:7.3f} {what}")

    def end_day(self, *, returns: bool = True) -> None:
        """The next day begins, at the bank and for the services; in its morning some withdrawals come back."""
        self.sandbox.bank.move_clock(1)
        self.moment.days.value += 1
        for withdrawal in self.sandbox.bank.store.all(Withdrawal):
            is_there = withdrawal.status == SUCCEEDED and not withdrawal.returned_day and not withdrawal.return_due
            if returns and is_there and self._dice.random() < 0.3:
                self.sandbox.bank.decide_withdrawal(withdrawal.serial, "return")
                self._blows["withdrawal returned a day later"] += 1

    async def strike(self, blow: Blow) -> None:
        """Let a blow fall."""
        self.note(blow)
        bank = self.sandbox.bank
        match blow:
            case Blow.POSTGRES_KILLED | Blow.POSTGRES_RESTARTED:
                await self.site.restart_postgres(kill=blow is Blow.POSTGRES_KILLED)
            case Blow.CUT_BEFORE_COMMIT | Blow.CUT_IN_COMMIT | Blow.CUT_AFTER_COMMIT:
                self.line.cut_next(blow)
                return
            case Blow.TOKENS_EXPIRE:
                self.sandbox.gateway.expire_tokens()
            case Blow.CLEARING_HELD | Blow.CLEARING_FREE:
                bank.hold_clearing(blow is Blow.CLEARING_HELD)
            case Blow.DAY_ENDS:
                self.end_day()
            case Blow.CLEARING_STAYS:
                bank.hold_clearing(True)
                self.end_day()
                await asyncio.sleep(KEPT_BACK_S)
                bank.hold_clearing(False)
            case Blow.SERVICE_STOPS:
                self.services[0].stop()
        self._blows[blow] += 1


@asynccontextmanager
async def stage(site: Site, schedule: Schedule, mutant: str | None) -> AsyncIterator[Stage]:
    """A marketplace of its own for the life of the block, with its services up."""
    chosen = SandboxSettings(
        bound_cards_only=False,
        withdrawal_delay_s=0.2,
        own_funds_fen=schedule.own_funds_fen,
        spend_order=schedule.night.spends,
        service_ids=SERVICE_IDS,
    )
    moment = worker.Moment(days=site.forks.number(), is_hostile=site.forks.number())
    async with AsyncExitStack() as stack:
        database = await asyncio.to_thread(site.new_database)
        stack.push_async_callback(asyncio.to_thread, site.drop_database, database)
        line = await stack.enter_async_context(Line(lambda: site.server.port).open())
        sandbox = await stack.enter_async_context(Sandbox(chosen))
        dsn = _through(site.server.dsn_of(database), line.port)
        log = site.folder / f"{database}.log"
        log.touch()
        services = []
        for number in range(schedule.services):
            settings = {**_settings(dsn, sandbox, number, schedule.night.spends), **site.locks.settings}
            orders = worker.Orders(settings, log, (), mutant, schedule.clocks_s[number])
            services.append(Service(site, orders, moment))
        lives = await stack.enter_async_context(asyncio.TaskGroup())
        for number, service in enumerate(services):
            deaths = [death for death in schedule.deaths if death.service == number]
            life = lives.create_task(service.run(deaths))
            stack.callback(life.cancel)
        yield Stage(site, database, line, sandbox, services, moment, log, schedule.seed)


def _through(dsn: str, port: int) -> str:
    """The same database, over another port."""
    before, _, database = dsn.rpartition("/")
    return f"{before.rpartition(':')[0]}:{port}/{database}"


_VAULT_KEY = new_key()
_SEAL_KEY = new_key()


def _settings(dsn: str, sandbox: Sandbox, number: int, spends: str) -> dict[str, Any]:
    """A service whose patience is tenths of a second where production has seconds, and minutes for questions."""
    return {
        "database_url": as_service(dsn),
        "bank": {
            **sandbox.client_settings,
            "service_ids": SERVICE_IDS,
            "extra_public_fields": {**DEFAULT_PUBLIC_FIELDS, SENDER: str(number)},
            "timeout_s": BANK_PATIENCE_S,
            "connect_timeout_s": 0.3,
            "connect_tries": 2,
            "pool_timeout_s": 1.0,
            "token_retry_s": 0.2,
        },
        "breaker": {"failures": 5, "open_s": 0.3},
        "resolver": {
            "orphan_after_s": 9.0,
            "ask_after_s": 0.3,
            "not_found_interval_s": 0.5,
            "not_found_times": 4,
            "in_process_interval_s": 0.1,
            "send_again_interval_s": 0.2,
            "silent_interval_s": 0.2,
            "poll_s": 0.1,
        },
        "clearing": {"poll_s": 0.7},
        "returns": {"poll_s": 0.7, "name_after_s": 0.3},
        "transfers": {"poll_s": 0.7},
        "rules": {
            "batch_direct_pay": True,
            "order_in_parts": True,
            "top_up_amount_confirmed": True,
            "close_while_refundable": True,
            "spend_order": spends,
            "verification": PROOFS,
        },
        "vault": {"keys": [_VAULT_KEY]},
        "seal": {"keys": [_SEAL_KEY]},
        "grpc": {"leave_s": LEAVE_S},
        "drain_s": 2.0,
    }
