"""One seed from its opening to its check."""

from __future__ import annotations

import asyncio
import json
import re
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, Final
from unittest.mock import patch

import grpc
import psycopg

from jzb.v1 import suspense_pb2, suspense_pb2_grpc, withdrawal_pb2, withdrawal_pb2_grpc
from ledger import connect, verify
from ledger.embedded import PostgresNotStarted
from sandbox.faults import Told
from sandbox.records import SUCCEEDED, Withdrawal
from simulate import checker
from simulate.callers import PATIENCE_S, Answer, Callers
from simulate.checker import Sent
from simulate.schedule import BANK_PATIENCE_S, Blow, Point, Schedule
from simulate.site import Site, Stage, stage

REST_S: Final = 40.0
"""How long the services may take, once nothing breaks any more, until nothing is in doubt."""

CALL_S: Final = 4 * BANK_PATIENCE_S + 0.6
"""The longest call: a token is made, refused, made again, and each of four answers is waited for."""

SEED_S: Final = 150.0

LOG_CHARACTERS: Final = 4000

_MARK: Final = re.compile(r"rq:([A-Za-z0-9-]+)")


@dataclass(slots=True)
class Played:
    """What came of a seed: what was counted, and what was wrong."""

    seed: int
    seconds: float = 0.0
    operations: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    blows: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    unknowns: int = 0
    wrong: list[str] = field(default_factory=list)
    log: str = ""
    """The end of what the services logged, when something was wrong."""

    @property
    def lost(self) -> int:
        """Answers that the bank gave and nobody got."""
        return sum(self.faults[name] for name in ("lose_after", "delay", "act_late"))

    @property
    def restarts(self) -> int:
        """Ends of the database."""
        return self.blows[Blow.POSTGRES_KILLED] + self.blows[Blow.POSTGRES_RESTARTED]


async def play(site: Site, schedule: Schedule, mutant: str | None = None, rest_s: float = REST_S) -> Played:
    """Play one seed; whatever goes wrong in it is told, and never raised."""
    played, began_s = Played(schedule.seed), time.monotonic()
    try:
        async with (
            asyncio.timeout(SEED_S),
            stage(site, schedule.services, schedule.deaths, mutant) as on,
        ):
            await _Game(on, schedule, played, rest_s).play()
    except TimeoutError:
        played.wrong.append(f"the seed did not end in {SEED_S:g} s")
    except Exception as failure:
        played.wrong.append(f"the simulator failed: {failure!r}")
        played.log = "".join(traceback.format_exception(failure))
    played.seconds = time.monotonic() - began_s
    return played


class _Game:
    def __init__(self, on: Stage, schedule: Schedule, played: Played, rest_s: float) -> None:
        self._on = on
        self._rest_s = rest_s
        self._schedule = schedule
        self._played = played
        self._sent: list[Sent] = []
        self._received = 0
        self._strikes = list(schedule.strikes)
        self._sends_to_die = [death for death in schedule.deaths if death.point is Point.AFTER_SEND]
        self._changes = 0
        self._striking: set[asyncio.Task[None]] = set()
        self._watch_bank()

    async def play(self) -> None:
        on, schedule = self._on, self._schedule
        callers = Callers(on, schedule.seed)
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
            await self._rest(callers)
        finally:
            time_passes.cancel()
        await self._check(callers.answers, callers.wrong)

    def _watch_bank(self) -> None:
        on, bank, handle = self._on, self._on.sandbox.bank, self._on.sandbox.bank.handle

        def watched(service_id: str, body: Mapping[str, Any], told: Told = Told()) -> dict[str, object]:  # noqa: B008
            answer = handle(service_id, body, told)
            self._received += on.moment.is_hostile.value
            if bank.route(service_id).changes:
                mark = _MARK.search(json.dumps(body))
                self._sent.append(Sent(str(body["CnsmrSeqNo"]), mark[1] if mark else ""))
                self._changes += on.moment.is_hostile.value
                self._die_after_send()
            self._strike()
            return answer

        faults, take = self._on.sandbox.faults, self._on.sandbox.faults.take

        def counted(*delivery: str) -> Told:
            told = take(*delivery)
            self._played.faults.update(fault.name for fault in told.faults)
            return told

        patch.object(bank, "handle", watched).start()
        patch.object(faults, "take", counted).start()

    def _die_after_send(self) -> None:
        for death in [one for one in self._sends_to_die if one.nth <= self._changes]:
            self._sends_to_die.remove(death)
            self._on.services[death.service].kill()

    def _strike(self) -> None:
        while self._strikes and self._strikes[0].after <= self._received:
            task = asyncio.get_running_loop().create_task(self._on.strike(self._strikes.pop(0).blow))
            self._striking.add(task)

    async def _rest(self, callers: Callers) -> None:
        """The faults stop, a day or two go by, and nothing is in doubt any more."""
        on = self._on
        self._strikes.clear()
        self._sends_to_die.clear()
        # A blow that could not fall, such as a PostgreSQL that did not come back, ends the seed.
        await asyncio.gather(*self._striking)
        on.sandbox.faults.clear()
        on.sandbox.bank.hold_clearing(False)
        on.line.heal()
        ends_s = time.monotonic() + self._rest_s
        for day in range(2):
            on.end_day()
            if day == 0:
                self._send_back()
            await self._collect(callers, f"{self._schedule.seed}-night-{day}")
        while time.monotonic() < ends_s and not await self._is_at_rest():
            await asyncio.sleep(0.1)
            await self._collect(callers, f"{self._schedule.seed}-night-late")

    async def _time_passes(self) -> None:
        """As if the minutes had gone by that make an orphan of a reservation, or of a clearing whose service died
        before it had moved all that waited; no call of a living process takes so long in here.
        """
        while True:
            await asyncio.sleep(0.3)
            with suppress(psycopg.OperationalError, PostgresNotStarted):
                async with await psycopg.AsyncConnection.connect(self._on.dsn, autocommit=True) as connection:
                    await connection.execute(
                        "UPDATE due SET ask_at = now() FROM operation o"
                        " WHERE o.id = due.operation_id AND (o.state = 'reserved' OR o.kind = 'CLEARING')"
                        " AND o.updated_at < now() - make_interval(secs => %s)"
                        " AND due.ask_at > now() + interval '3 s'",
                        [CALL_S],
                    )

    def _send_back(self) -> None:
        """A withdrawal that had succeeded comes back a day later."""
        bank, dice = self._on.sandbox.bank, Random(self._schedule.seed)
        succeeded = [one for one in bank.store.all(Withdrawal) if one.status == SUCCEEDED and not one.returned_day]
        for withdrawal in succeeded:
            if dice.random() < 0.3 and not withdrawal.return_due:
                bank.decide_withdrawal(withdrawal.serial, "return")
                self._played.faults["withdrawal returned a day later"] += 1

    async def _collect(self, callers: Callers, request_id: str) -> None:
        """What operators ask for, beside what the services ask for by themselves."""
        service = self._on.services[0]
        today = self._on.sandbox.clock.today()
        first, last = str(today - timedelta(days=3)), str(today)
        try:
            transfers = suspense_pb2.CollectTransfersRequest(first_bank_day=first, last_bank_day=last)
            await suspense_pb2_grpc.SuspenseServiceStub(service.channel).CollectTransfers(transfers, timeout=PATIENCE_S)
            returns = withdrawal_pb2.CollectReturnsRequest(first_bank_day=first, last_bank_day=last)
            await withdrawal_pb2_grpc.WithdrawalServiceStub(service.channel).CollectReturns(returns, timeout=PATIENCE_S)
        except grpc.aio.AioRpcError:
            return
        await callers.clear_days(request_id)

    async def _is_at_rest(self) -> bool:
        """Nothing waits for a question, and every past day that the bank has cleared is cleared here."""
        async with await psycopg.AsyncConnection.connect(self._on.dsn) as connection:
            found = await connection.execute(
                "SELECT (SELECT count(*) FROM due)"
                " + (SELECT count(*) FROM account WHERE kind = 'waiting' AND balance_fen > 0 AND ref < %s)",
                [f"{self._on.sandbox.clock.today():%Y%m%d}"],
            )
            row = await found.fetchone()
            return row is not None and row[0] == 0

    async def _check(self, answers: Sequence[Answer], seen: Sequence[str]) -> None:
        on, played = self._on, self._played
        journal = await checker.read(on.dsn)
        played.wrong += seen
        played.wrong += [service.broke for service in on.services if service.broke]
        log = on.log.read_text()
        if "event='unforeseen'" in log:
            played.wrong.append("a service met what nobody had foreseen, see its log")
        played.wrong += checker.wrong(journal, on.sandbox.bank, self._sent, answers)
        engine = connect(on.dsn, 1)
        try:
            findings = await verify(engine, on.sandbox.settings.mrch_code)
        finally:
            await engine.dispose()
        played.wrong += [f"jzb verify finds: {finding}" for finding in findings]
        if played.wrong:
            played.log = log[-LOG_CHARACTERS:]
        played.operations = len(journal.operations)
        played.unknowns = journal.once_unknown
        played.states.update(operation.state for operation in journal.operations.values())
        played.answers.update(f"{answer.verdict} {answer.reason}".strip() for answer in answers)
        played.blows.update(on.blows)
        for service in on.services:
            played.kills.update(service.killed)
