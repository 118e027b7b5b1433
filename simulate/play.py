"""One seed from its opening to its check."""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from unittest.mock import patch

import grpc
import psycopg

from embedded import PostgresNotStarted
from jzb.v1 import suspense_pb2, suspense_pb2_grpc, withdrawal_pb2, withdrawal_pb2_grpc
from ledger import connect, verify
from sandbox.control import books_view
from sandbox.faults import FaultPlan
from sandbox.records import SUCCEEDED, Trade, Withdrawal
from simulate import bankcheck, checker
from simulate.bankcheck import BankLog
from simulate.callers import PATIENCE_S, Callers
from simulate.days import Days
from simulate.latecomers import may_differ
from simulate.market import BUYERS, MERCHANTS, Cast
from simulate.schedule import Blow, Schedule
from simulate.site import LEAVE_S, Site, Stage, stage

REST_S: Final = 40.0
"""How long the services may take, once nothing breaks any more, until nothing is in doubt."""

SEED_S: Final = 150.0
DAYS_S: Final = 150.0
"""How much longer it may take with its days reconciled."""

LOG_CHARACTERS: Final = 6000

REFUND: Final = "6164"

_IN_DOUBT: Final = "SELECT count(*) FROM due JOIN operation o ON o.id = due.operation_id WHERE true"

FORESEEN: Final = re.compile(
    r"^(psycopg\.|psycopg_pool\.|sqlalchemy\.|ledger\.errors\.LedgerUnavailable|bankclient\.errors\.BankUnavailable"
    r"|service\.problems\.Problem|TimeoutError|ConnectionError|ConnectionResetError|OSError"
    r"|grpc\._cython\.cygrpc\.ExecuteBatchError)"
)
"""What a service may log with its traceback: PostgreSQL or the bank was away, or gRPC met a caller who had left."""
_RAISED: Final = re.compile(r"(?:\\n|\n)(?:\s*\| )*([A-Za-z_][\w.]*)(?=:|'|\"|\\n)")
"""The last such name of a traceback, as it stands in one line of the log, is what was raised in the end; in a group of
errors, behind bars, what was raised last.
"""


@dataclass(slots=True)
class Played:
    """What came of a seed: what was counted, and what was wrong."""

    seed: int
    seconds: float = 0.0
    operations: int = 0
    did: Counter[str] = field(default_factory=Counter)
    refunds: Counter[str] = field(default_factory=Counter)
    """By source of 6164."""
    proofs: Counter[str] = field(default_factory=Counter)
    """What is done and was authorised by its payer, by how."""
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    days: Counter[str] = field(default_factory=Counter)
    """What was put into the bank's files of a day, and found."""
    kills: Counter[str] = field(default_factory=Counter)
    blows: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Answers about money that the bank gave and nobody got."""
    days_kept_back: int = 0
    """Answers of the bank that a day's clearing stands at 3."""
    spent_late: int = 0
    """Sub-accounts that spent uncleared money of a day on a later one."""
    unknowns: int = 0
    repeats: Counter[str] = field(default_factory=Counter)
    """Of what had had its answer."""
    clocks_off: int = 0
    """Services whose clock is not the bank's and PostgreSQL's."""
    wrong: list[str] = field(default_factory=list)
    log: str = ""
    """The end of what the services logged, when something was wrong."""
    trace: Sequence[str] = ()
    """What happened when, likewise."""

    @property
    def restarts(self) -> int:
        """Ends of the database."""
        return self.blows[Blow.POSTGRES_KILLED] + self.blows[Blow.POSTGRES_RESTARTED]


async def play(
    site: Site, schedule: Schedule, mutant: str | None = None, rest_s: float = REST_S, *, is_reconciled: bool = False
) -> Played:
    """Play one seed, and reconcile its days if that is wanted; what goes wrong in it is told, and never raised."""
    played, began_s = Played(schedule.seed), time.monotonic()
    limit_s = SEED_S + DAYS_S if is_reconciled else SEED_S
    try:
        async with asyncio.timeout(limit_s), stage(site, schedule, mutant) as on:
            await _Game(on, schedule, played, rest_s, is_reconciled=is_reconciled).play()
    except TimeoutError:
        played.wrong.append(f"the seed did not end in {limit_s:g} s")
    except Exception as failure:
        played.wrong.append(f"the simulator failed: {failure!r}")
        played.log = "".join(traceback.format_exception(failure))
    played.seconds = time.monotonic() - began_s
    return played


class _Game:
    def __init__(self, on: Stage, schedule: Schedule, played: Played, rest_s: float, *, is_reconciled: bool) -> None:
        self._on = on
        self._rest_s = rest_s
        self._schedule = schedule
        self._played = played
        self._received = 0
        self._strikes = list(schedule.strikes)
        self._striking: set[asyncio.Task[None]] = set()
        self._log = BankLog(on.sandbox.bank, self._reached)
        self._callers = Callers(on, schedule.seed, rest_s)
        self._first_day = on.sandbox.clock.today()
        self._is_reconciled = is_reconciled
        self._count_faults()

    async def play(self) -> None:
        on, schedule, callers = self._on, self._schedule, self._callers
        await asyncio.gather(*(service.is_up() for service in on.services))
        await callers.open_market()
        on.end_day()
        await callers.clear_days(f"{schedule.seed}-opening")
        on.moment.is_hostile.value = 1
        for question in schedule.questions:
            on.sandbox.faults.add(question.fault, code=question.code, after=question.after)
        time_passes = asyncio.create_task(self._time_passes())
        try:
            await asyncio.gather(*(callers.run(number, actions) for number, actions in enumerate(schedule.callers)))
            await self._rest()
            await self._ask_again()
            if self._is_reconciled:
                await self._reconcile()
        finally:
            time_passes.cancel()
            for task in self._striking:
                task.cancel()
            await asyncio.gather(*self._striking, return_exceptions=True)
        for service in on.services:
            self._played.kills.update(service.killed)
            if service.broke:
                self._played.wrong.append(service.broke)
        await self._check()

    def _count_faults(self) -> None:
        faults, take = self._on.sandbox.faults, self._on.sandbox.faults.take

        def counted(service_id: str, code: str, serial: str, text: str) -> FaultPlan:
            told = take(service_id, code, serial, text)
            named = {fault.name for fault in told.faults}
            self._played.faults.update(named)
            if named:
                self._on.note(f"bank: {code} {serial} with {', '.join(sorted(named))}")
            changes = service_id != "approveDev" and self._on.sandbox.bank.route(service_id).changes
            self._played.lost += bool(changes and named & {"lose_after", "delay", "act_late"})
            return told

        patch.object(faults, "take", counted).start()

    def _reached(self, sender: str, is_change: bool) -> None:
        """A request has been acted on at the bank; its answer is on its way."""
        if self._on.moment.is_hostile.value:
            self._received += 1
            if is_change:
                self._on.services[int(sender)].has_sent()
        while self._strikes and self._strikes[0].after <= self._received:
            task = asyncio.get_running_loop().create_task(self._strike(self._strikes.pop(0).blow))
            self._striking.add(task)

    async def _strike(self, blow: Blow) -> None:
        await self._on.strike(blow)
        if blow is Blow.SERVICE_STOPS:
            await self._callers.repeat_at(0, LEAVE_S)

    async def _rest(self) -> None:
        """The faults stop, a day or two go by, and nothing is in doubt any more."""
        on, callers = self._on, self._callers
        self._strikes.clear()
        # A blow that could not fall, such as a PostgreSQL that did not come back, ends the seed.
        await asyncio.gather(*self._striking)
        on.sandbox.faults.clear()
        on.sandbox.bank.hold_clearing(False)
        on.line.heal()
        on.moment.is_hostile.value = 0
        ends_s = time.monotonic() + self._rest_s
        await callers.record_orders()
        # What came back is named a day later, and a day is cleared when it has ended.
        await self._until(
            ends_s,
            f"{_IN_DOUBT} AND o.kind NOT IN ('WITHDRAWAL_RETURN', 'CLEARING')",
        )
        on.end_day()
        await self._collect("night-0")
        await self._night(ends_s)
        while time.monotonic() < ends_s and not await self._is_at_rest():
            await asyncio.sleep(0.1)
            await self._collect("night-late")

    async def _night(self, ends_s: float) -> None:
        """The bank clears a day, and members spend before the services hear of it; then both books are the same."""
        on, callers, night = self._on, self._callers, self._schedule.night
        cast = Cast(BUYERS[self._schedule.seed % len(BUYERS)], MERCHANTS[self._schedule.seed % len(MERCHANTS)])
        await callers.play(night.evening, "evening", cast)
        on.sandbox.faults.add("http500", code="6108", times=None)
        on.sandbox.bank.hold_clearing(bool(night.cleared_after))
        on.end_day()
        await callers.play(night.morning[: night.cleared_after], "dawn", cast)
        on.sandbox.bank.hold_clearing(False)
        await callers.play(night.morning[night.cleared_after :], "morning", cast)
        on.sandbox.faults.clear()
        await self._collect("night-1")
        await self._until(ends_s, f"{_IN_DOUBT} AND o.kind <> 'WITHDRAWAL_RETURN'")
        journal = await checker.read(on.dsn)
        self._played.spent_late = len(bankcheck.spent_late(journal))
        otherwise = may_differ(journal, bankcheck.booked(self._log), night.spends)
        self._played.wrong += bankcheck.pockets(journal, books_view(on.sandbox.bank), otherwise)
        # When that day is cleared as well nothing may differ any more.
        on.end_day(returns=False)

    async def _ask_again(self) -> None:
        """Whoever asks later gets the same answer, and the bank hears nothing of it."""
        journal, sent = await checker.read(self._on.dsn), self._sent()
        await self._callers.repeat_all({name: one.state for name, one in journal.operations.items()})
        if self._sent() != sent:
            self._played.wrong.append(f"repetitions in the end had {self._sent() - sent} requests sent again")
        books = books_view(self._on.sandbox.bank)
        await self._callers.look_at_all(books["sub_accounts"])  # type: ignore[arg-type]  # the view is JSON

    async def _reconcile(self) -> None:
        """Every day that has ended is closed, at first without a break."""
        days = Days(self._on.sandbox, self._on.services[0].channel, self._schedule.seed, self._first_day)
        self._played.wrong += await days.play(self._played.days)

    def _sent(self) -> int:
        """Requests that the services have sent to change something; a late copy is none of theirs."""
        sandbox = self._on.sandbox
        services = (one.service_id for one in sandbox.requests if one.service_id != "approveDev")
        return sum(sandbox.bank.route(service_id).changes for service_id in services)

    async def _time_passes(self) -> None:
        """As if the minutes had gone by that make an orphan of what a killed service had reserved, and of a clearing
        whose service died before it had moved all that waited.

        Where two services share the books nobody can tell whose a reservation is: then it takes its time.
        """
        while True:
            await asyncio.sleep(0.3)
            services = self._on.services
            killed_at = services[0].killed_at if len(services) == 1 else None
            with suppress(psycopg.OperationalError, PostgresNotStarted):
                async with await psycopg.AsyncConnection.connect(self._on.dsn, autocommit=True) as connection:
                    await connection.execute(
                        "UPDATE due SET ask_at = now() FROM operation o"
                        " WHERE o.id = due.operation_id AND due.ask_at > now() + interval '3 s' AND ("
                        " o.state = 'reserved' AND o.updated_at < %s"
                        " OR o.kind = 'CLEARING' AND o.updated_at < now() - interval '3 s')",
                        [killed_at or datetime.fromtimestamp(0, UTC)],
                    )

    async def _until(self, ends_s: float, query: str) -> None:
        while await self._count(query):
            if time.monotonic() > ends_s:
                return
            await asyncio.sleep(0.1)

    async def _count(self, query: str) -> int:
        async with await psycopg.AsyncConnection.connect(self._on.dsn) as connection:
            found = await (await connection.execute(query.encode())).fetchone()
            return int(found[0]) if found else 0

    async def _collect(self, name: str) -> None:
        """What operators ask for, beside what the services ask for by themselves."""
        service = self._on.services[0]
        today = self._on.sandbox.clock.today()
        first, last = str(today - timedelta(days=6)), str(today)
        with suppress(grpc.aio.AioRpcError):
            transfers = suspense_pb2.CollectTransfersRequest(first_bank_day=first, last_bank_day=last)
            await suspense_pb2_grpc.SuspenseServiceStub(service.channel).CollectTransfers(transfers, timeout=PATIENCE_S)
            returns = withdrawal_pb2.CollectReturnsRequest(first_bank_day=first, last_bank_day=last)
            await withdrawal_pb2_grpc.WithdrawalServiceStub(service.channel).CollectReturns(returns, timeout=PATIENCE_S)
            await self._callers.clear_days(f"{self._schedule.seed}-{name}")

    async def _is_at_rest(self) -> bool:
        """Nothing waits for a question, and every day that has passed is cleared."""
        today = f"{self._on.sandbox.clock.today():%Y%m%d}"
        bank = self._on.sandbox.bank
        if any(one.returned_day == today for one in bank.store.all(Withdrawal)):
            # The bank names what came back a day later.
            self._on.end_day(returns=False)
            return False
        waits = "SELECT (SELECT count(*) FROM due) + (SELECT count(*) FROM account"
        if await self._count(f"{waits} WHERE kind = 'waiting' AND balance_fen > 0 AND ref < '{today}')"):
            return False
        return not list(bankcheck.not_entered(await checker.read(self._on.dsn), bank))

    async def _check(self) -> None:
        on, played, callers = self._on, self._played, self._callers
        journal = await checker.read(on.dsn)
        played.wrong += callers.wrong
        log = on.log.read_text()
        played.wrong += sorted(set(surprises(log)))
        members = bankcheck.members_of(on.sandbox.bank)
        played.wrong += checker.wrong(journal, callers.records, callers.answers, members)
        played.wrong += bankcheck.differences(journal, self._log, self._schedule.night.spends)
        engine = connect(on.dsn, 1)
        try:
            findings = await verify(engine, on.sandbox.settings.mrch_code)
        finally:
            await engine.dispose()
        played.wrong += [f"jzb verify finds: {finding}" for finding in findings]
        if played.wrong:
            played.log, played.trace = log[-LOG_CHARACTERS:], on.trace
        played.operations = len(journal.operations)
        played.unknowns = journal.once_unknown
        played.clocks_off = sum(map(bool, self._schedule.clocks_s))
        played.days_kept_back = self._log.days_kept_back
        played.did.update(callers.did)
        played.repeats.update(callers.repeats)
        done = {name for name, one in journal.operations.items() if one.state == "done"}
        played.proofs.update(mode for request_id, mode in callers.proofs.items() if request_id in done)
        refunds = [one for one in on.sandbox.bank.store.all(Trade) if one.code == REFUND and one.status == SUCCEEDED]
        played.refunds.update(one.function_flag for one in refunds)
        played.states.update(operation.state for operation in journal.operations.values())
        played.answers.update(f"{answer.verdict} {answer.reason}".strip() for answer in callers.answers)
        played.blows.update(on.blows)


def surprises(log: str) -> Sequence[str]:
    """Errors in the services' log that neither PostgreSQL's nor the bank's absence explains."""
    entries = [entry for entry in log.split("event=") if "Traceback" in entry]
    raised = [(_RAISED.findall(entry) or [f"what cannot be read: {entry[-300:]}"])[-1] for entry in entries]
    unforeseen = ["a service met what nobody had foreseen, see its log"] if "event='unforeseen'" in log else []
    return [*unforeseen, *(f"a service logged {one}, see its log" for one in raised if not FORESEEN.match(one))]
