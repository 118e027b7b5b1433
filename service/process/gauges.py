"""What a process shows of itself and of its platform when somebody looks: the observed half of the metrics.

The platform's numbers come from the database, by a statement or two every `TelemetrySettings.metrics_interval_s`; every
process shows the same ones, and none shows them longer than PostgreSQL answers. Nothing here runs while nothing is
exported.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Generic, TypeVar

from bankclient import BankClient, wall_clock
from jzb.v1.names import OperationKind
from ledger import Overview, WorkKind, WorkSum, newest_revision
from ledger.day import BreakKind, DaysOverview, FileType
from service import telemetry
from service.inflows import collector
from service.process.components import Components
from service.process.listening import Certificate
from service.rpc.work import not_collected, patience, sums_of
from service.telemetry import catalogue, events

LOOP_EVERY_S = 0.25
"""How often it is measured how late the event loop wakes up."""
NO_WORK = WorkSum(count=0, amount_fen=0, age_s=0.0)
PATIENCE_S = 5.0
"""How long the platform's numbers may take to be read."""


T = TypeVar("T")


class PlatformNumbers(Generic[T]):
    """What is in the database, as it last showed it; nothing while it does not answer, or while this process does not
    get to ask it: a number that has stood still would hide that the event loop hangs.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], every_s: float) -> None:
        self._read_all = read
        self._every_s = every_s
        self._latest: tuple[T, float] | None = None
        self._good_for_s = 3 * every_s + PATIENCE_S

    async def run(self) -> None:
        """Read again and again."""
        while True:
            await self._read()
            await asyncio.sleep(self._every_s)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await self._read_all()
                self._latest = found, time.monotonic()
        except Exception as failure:
            # Whatever it is, a metric ends no service: payments go on without it.
            if self._latest is not None:
                events.NUMBERS_NOT_READ.log(why=events.why(failure))
            self._latest = None

    def of(self, number: Callable[[T], telemetry.Shown]) -> telemetry.Observed:
        """A gauge of one of the numbers. It is read in another thread than it is written in."""

        def present() -> telemetry.Shown | None:
            if (latest := self._latest) is None:
                return None
            found, read_s = latest
            return number(found) if time.monotonic() - read_s <= self._good_for_s else None

        return present


@asynccontextmanager
async def observing(
    components: Components,
    watches: Callable[[], int],
    noted_age_s: Callable[[], float],
    server_certificate: Certificate | None = None,
) -> AsyncIterator[None]:
    """Show everything that is not counted on the way, for the life of the block.

    ``watches`` are those open, ``noted_age_s`` is how long ago the last digest was noted.
    """
    if not telemetry.is_recording():
        yield
        return
    settings = components.settings
    every_s = settings.telemetry.metrics_interval_s
    overview = partial(components.reads.overview, patience=patience(settings.resolver))
    numbers = PlatformNumbers(overview, every_s)
    days = PlatformNumbers(components.reconciliation.days.overview, every_s)
    gauges = {
        **_of_process(),
        **_of_service(components, server_certificate),
        **_of_platform(numbers, components),
        **_of_days(days),
        catalogue.WATCHES_OPEN: watches,
        catalogue.DIGEST_NOTED_AGE: noted_age_s,
    }
    async with AsyncExitStack() as stack:
        for gauge, present in gauges.items():
            stack.enter_context(gauge.observed(present))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [
            tasks.create_task(numbers.run(), name="platform's numbers"),
            tasks.create_task(days.run(), name="days' numbers"),
            tasks.create_task(_measure_loop(), name="loop lag"),
        ]
        try:
            yield
        finally:
            for one in running:
                one.cancel()


def _of_process() -> dict[telemetry.Observable, telemetry.Observed]:
    build: dict[tuple[str, ...], float] = {(version("jzb-ledger"), newest_revision()): 1.0}
    return {
        catalogue.BUILD: lambda: build,
        catalogue.CPU_TIME: time.process_time,
        catalogue.MEMORY: _resident_bytes,
        catalogue.FILE_DESCRIPTORS: _open_files,
        catalogue.LOG_ERRORS: events.errors_logged,
        catalogue.COLLECTION_AGE: collector.ages_s,
    }


def _of_service(
    components: Components, certificate: Certificate | None
) -> dict[telemetry.Observable, telemetry.Observed]:
    admission, writer, bank = components.admission, components.writer, components.bank
    return {
        catalogue.CALLS_UNDER_WAY: lambda: admission.calls.in_use,
        catalogue.CALLS_LIMIT: lambda: admission.calls.maximum,
        catalogue.BANK_BREAKER: lambda: {interface: float(state) for interface, state in admission.states().items()},
        catalogue.BANK_CONNECTIONS_WAITING: lambda: bank.waiting,
        catalogue.LEDGER_QUEUE: lambda: writer.waiting,
        catalogue.DB_PENDING_REQUESTS: lambda: {pool: usage().waiting for pool, usage in components.pools.items()},
        catalogue.DB_CONNECTIONS: lambda: _connections(components),
        catalogue.CERTIFICATE_REMAINING: lambda: {
            name: (end - wall_clock()).total_seconds() for name, end in certificates_end(bank, certificate).items()
        },
        catalogue.CLEARING_BLOCKED_DAYS: lambda: _blocked(components, len),
        catalogue.CLEARING_SHORTFALL: lambda: _blocked(components, lambda days: sum(days.values())),
    }


def _of_platform(
    numbers: PlatformNumbers[Overview], components: Components
) -> dict[telemetry.Observable, telemetry.Observed]:
    def work(found: Overview) -> Mapping[WorkKind, WorkSum]:
        missing = not_collected((*components.returns.unentered, *components.transfers.unentered))
        # A kind without any is 0, and no gap.
        return {**dict.fromkeys(WorkKind, NO_WORK), **found.work, **sums_of(missing)}

    return {
        catalogue.RESOLVER_LAG: numbers.of(lambda found: found.overdue_s),
        catalogue.DOUBT_OPERATIONS: numbers.of(
            lambda found: {OperationKind(kind).name: one.operations for kind, one in found.in_doubt.items()}
        ),
        catalogue.DOUBT_AMOUNT: numbers.of(
            lambda found: {OperationKind(kind).name: one.amount_fen for kind, one in found.in_doubt.items()}
        ),
        catalogue.DOUBT_AGE: numbers.of(lambda found: found.doubt_age_s),
        catalogue.ACCEPTED_AGE: numbers.of(lambda found: found.accepted_age_s),
        catalogue.ORPHANS: numbers.of(lambda found: found.orphans),
        catalogue.SUSPENSE_AMOUNT: numbers.of(lambda found: found.suspense_fen),
        catalogue.SUSPENSE_AGE: numbers.of(lambda found: found.suspense_age_s),
        catalogue.DIFFERENCE_AMOUNT: numbers.of(lambda found: found.difference_fen),
        catalogue.DIFFERENCE_AGE: numbers.of(lambda found: found.difference_age_s),
        catalogue.WORK_AMOUNT: numbers.of(
            lambda found: {kind.value: one.amount_fen for kind, one in work(found).items()}
        ),
        catalogue.WORK_AGE: numbers.of(lambda found: {kind.value: one.age_s for kind, one in work(found).items()}),
        catalogue.STATEMENTS_LAG: numbers.of(lambda found: found.statements_s),
        catalogue.SEAL_AGE: numbers.of(lambda found: found.sealed_s),
        catalogue.REPLICATION_LAG: numbers.of(lambda found: found.replicas_s),
    }


def _of_days(numbers: PlatformNumbers[DaysOverview]) -> dict[telemetry.Observable, telemetry.Observed]:
    """Each file and type has a number, so that an alert on it ends with it."""

    def of_breaks(number: Callable[[WorkSum], float]) -> telemetry.Observed:
        return numbers.of(
            lambda found: {kind.name: float(number(found.breaks.get(kind, NO_WORK))) for kind in BreakKind}
        )

    return {
        catalogue.DAY_FILES_MISSING: numbers.of(
            lambda found: {one.value: found.missing.get(one, 0) for one in FileType}
        ),
        catalogue.DAY_BREAKS: of_breaks(lambda one: one.count),
        catalogue.DAY_BREAKS_AMOUNT: of_breaks(lambda one: one.amount_fen),
        catalogue.DAY_BREAKS_AGE: of_breaks(lambda one: one.age_s),
        catalogue.DAY_UNSIGNED: numbers.of(lambda found: found.unsigned),
    }


def _connections(components: Components) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for pool, usage in components.pools.items():
        now = usage()
        found |= {(pool, "idle"): now.idle, (pool, "used"): now.used}
    return found


def _blocked(components: Components, number: Callable[[Mapping[date, int]], int]) -> int | None:
    days = components.clearing.blocked
    return None if days is None else number(days)


def certificates_end(bank: BankClient, certificate: Certificate | None) -> dict[str, datetime]:
    """When each certificate that this process uses ends; the server's is renewed while it runs."""
    return {**bank.certificates_end, **({"server": certificate.ends} if certificate else {})}


def _resident_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _open_files() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


async def _measure_loop() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + LOOP_EVERY_S
        await asyncio.sleep(LOOP_EVERY_S)
        catalogue.LOOP_LAG.record(max(0.0, loop.time() - due_s))
