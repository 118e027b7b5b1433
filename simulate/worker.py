"""One service in a process of its own, as `jzb serve` runs it, that dies where it is told to.

The product knows nothing of this: the steps on the way are wrapped here, in the process that is to die. Its clock is
wrong by what the schedule says, and the days that have gone by at the bank are added to it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import structlog
import uvloop

from bankclient import BankClient, wall_clock
from ledger import NewOperation, State, Step, StepOutcome, Writer, journal
from service import bankday
from service.path.resolver import Resolver
from service.process.server import running, tune_garbage_collector
from service.settings import from_environment
from simulate.mutants import MUTANTS
from simulate.schedule import Death, Point
from simulate.skew import clock_ahead

_is_resolving: ContextVar[bool] = ContextVar("is_resolving", default=False)


@dataclass(frozen=True, slots=True)
class Moment:
    """What the simulator tells its services while they run."""

    days: Synchronized[int]
    """How many days the bank's day is ahead of the machine's."""
    is_hostile: Synchronized[int]
    """Whether deaths strike; not while the market opens."""


class Orders(NamedTuple):
    """What a service is to be: its settings, where it writes its log, what it may die of and how it is broken."""

    settings: dict[str, Any]
    log: Path
    deaths: tuple[Death, ...]
    mutant: str | None
    ahead_s: float = 0.0
    """How fast its clock is; slow, below 0."""


def serve(orders: Orders, moment: Moment, line: Connection) -> None:
    """The process's main: says over ``line`` when it is up and what it dies of, and lives until that closes."""
    for name in [name for name in os.environ if name.startswith("JZB_") or name == "DATABASE_URL"]:
        del os.environ[name]
    log = orders.log.open("a")
    logging.basicConfig(level="WARNING", stream=log, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(log),
    )
    # What nobody caught would go to the terminal.
    sys.stderr = log
    ExitStack().enter_context(clock_ahead(orders.ahead_s))
    _pass_days(moment.days)
    if orders.mutant is not None:
        MUTANTS[orders.mutant]()
    _arm(orders.deaths, moment.is_hostile, line)
    uvloop.run(_serve(orders.settings, line))


async def _serve(settings: dict[str, Any], line: Connection) -> None:
    ends = asyncio.Event()
    loop = asyncio.get_running_loop()
    # The simulator has gone: nobody is there to drain for, nor to start for.
    loop.add_reader(line.fileno(), os._exit, 0)
    loop.add_signal_handler(signal.SIGTERM, ends.set)
    async with running(from_environment(**settings)) as service:
        tune_garbage_collector()
        line.send(service.port)
        await ends.wait()


def _pass_days(days: Synchronized[int]) -> None:
    def later() -> datetime:
        return wall_clock() + timedelta(days=days.value)

    patch.object(bankday, "wall_clock", later).start()


def _arm(deaths: Sequence[Death], is_hostile: Synchronized[int], line: Connection) -> None:
    passed: Counter[Point] = Counter()

    def pass_by(point: Point) -> None:
        if not is_hostile.value:
            return
        passed[point] += 1
        for death in deaths:
            if death.point is point and death.nth == passed[point]:
                if death.late_s:
                    asyncio.get_running_loop().call_later(death.late_s, die, death)
                else:
                    die(death)

    def die(death: Death) -> None:
        line.send(death)
        os.kill(os.getpid(), signal.SIGKILL)

    _watch_writer(pass_by)
    _watch_bank(pass_by)


def _watch_writer(pass_by: Callable[[Point], None]) -> None:
    submit, send = Writer.submit, journal.send
    settling = 0

    async def watched_submit(self: Writer, step: Step) -> StepOutcome:
        nonlocal settling
        opens = isinstance(step.operation, NewOperation) and step.change.state is State.RESERVED
        if opens:
            pass_by(Point.BEFORE_RESERVE)
        elif step.post or step.void:
            settling += 1
        outcome = await submit(self, step)
        if opens:
            pass_by(Point.AFTER_RESERVE)
        return outcome

    async def watched_send(*given: Any) -> None:
        nonlocal settling
        await send(*given)
        if settling:
            settling = 0
            pass_by(Point.IN_SETTLE)

    patch.object(Writer, "submit", watched_submit).start()
    patch.object(journal, "send", watched_send).start()


def _watch_bank(pass_by: Callable[[Point], None]) -> None:
    call, resolve = BankClient.call, Resolver.resolve

    async def watched_call(self: BankClient, request: Any, serial: str | None = None) -> Any:
        answer = await call(self, request, serial)
        if _is_resolving.get():
            pass_by(Point.IN_RESOLVE)
        elif request.changes:
            pass_by(Point.AFTER_ANSWER)
        return answer

    async def watched_resolve(*given: Any) -> Any:
        mark = _is_resolving.set(True)
        try:
            return await resolve(*given)
        finally:
            _is_resolving.reset(mark)

    patch.object(BankClient, "call", watched_call).start()
    patch.object(Resolver, "resolve", watched_resolve).start()
