"""Asks the bank about every operation that is not final, until it is (quick start: 6110).

Takes unknown outcomes, acceptances, and reservations that nobody settled, from `due`, which has a row for each open
operation: that table is the queue, a lease on its row keeps two processes from asking about the same one, and the
journal's terminal key would stop them if they did. Nothing expires on a timer.

When an operation is due is PostgreSQL's to say, by whose clock it was written (`ledger.Leased`); this machine's clock
has no say in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar
from uuid import UUID

from bankclient import BankClient
from ledger import (
    Cards,
    Change,
    Leased,
    LedgerError,
    OpeningForged,
    Operation,
    Reads,
    State,
    Step,
    StepOutcome,
    Writer,
)
from service import telemetry
from service.bankday import bank_today
from service.path.runner import Settled
from service.plans.plan import Stored
from service.plans.settlement import settle
from service.questions.conflicts import without_foreign_bookings
from service.questions.query import OutcomeQuery, Query, QueryContext
from service.recorded import SERVICE_FAULT
from service.settings import Settings
from service.telemetry import events
from service.vault import Vault

FORGED = "it is not as the service opened it: somebody else has written to the database. It is not carried on"
"""What is said of an operation that has no right MAC, or another plan than it was opened with."""
FORGED_AGAIN_S = 3600.0
"""How often it is looked at again by itself; a person may have it looked at at any time."""

Q_contra = TypeVar("Q_contra", bound=Query, contravariant=True)


class Carrier(Protocol[Q_contra]):
    """Carries on the operations of an inflow, whose answers enter parts by themselves (`service.inflows`)."""

    async def carry_on(self, query: Q_contra, operation: Operation) -> StepOutcome:
        """Go on as far as the bank allows. Raises `Problem` when it does not answer."""


class Resolver:
    """One instance a process; any number of processes."""

    def __init__(
        self,
        writer: Writer,
        reads: Reads,
        bank: BankClient,
        cards: Cards,
        vault: Vault,
        carriers: Mapping[type[Query], Carrier[Any]],
        settings: Settings,
    ) -> None:
        self._writer = writer
        self._reads = reads
        self._bank = bank
        self._cards = cards
        self._vault = vault
        self._carriers = carriers
        self._settings = settings
        self._lease_s = 3 * (settings.bank.timeout_s + settings.bank.connect_timeout_s)
        self._running_queries: dict[UUID, asyncio.Event] = {}
        self._is_resting = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Resolver]:
        """Resolve in the background for the life of the block."""
        async with asyncio.TaskGroup() as tasks:
            loop = tasks.create_task(self._run(), name="resolver")
            try:
                yield self
            finally:
                loop.cancel()

    def rest(self) -> None:
        """Take no more operations, whose leases would outlive this process; questions under way may still end."""
        self._is_resting = True

    async def _run(self) -> None:
        settings = self._settings.resolver
        while not self._is_resting:
            try:
                due = await self._reads.lease_due(settings.concurrency, self._lease_s)
                await asyncio.gather(*(self._resolve_due(leased) for leased in due))
                if len(due) == settings.concurrency:
                    continue
            except Exception as error:
                events.QUEUE_NOT_READ.log_failure(error)
            await asyncio.sleep(settings.poll_s)

    async def resolve_now(self, operation_id: UUID) -> None:
        """Ask about one operation ahead of its time, or wait for the question that is under way.

        Does nothing for a final one. However often this is called, the schedule stays: a question on schedule still
        comes when it is due.
        """
        async with self._alone(operation_id) as is_first:
            if is_first:
                for leased in await self._reads.lease_due(1, self._lease_s, operation_id):
                    await self._resolve_safely(leased)

    async def _resolve_due(self, leased: Leased) -> None:
        # Whoever is before it leases the operation again, and asks.
        async with self._alone(leased.operation.id) as is_first:
            if is_first:
                await self._resolve_safely(leased)

    @asynccontextmanager
    async def _alone(self, operation_id: UUID) -> AsyncIterator[bool]:
        """Whether this is the only one in the process to ask about an operation; if not, after the other has asked.

        The place is taken before the operation is leased: of many callers at once, the others wait for the answer.
        """
        if earlier := self._running_queries.get(operation_id):
            await earlier.wait()
            yield False
            return
        ended = self._running_queries[operation_id] = asyncio.Event()
        try:
            yield True
        finally:
            del self._running_queries[operation_id]
            ended.set()

    async def _resolve_safely(self, leased: Leased) -> None:
        try:
            async with asyncio.timeout(self._lease_s * 0.9):
                await self.resolve(leased)
        except OpeningForged as forged:
            events.OPENING_FORGED.log(why=str(forged))
            await self._show(leased.operation)
        except Exception as error:
            events.ASKED_AGAIN.log_failure(error)

    async def _show(self, operation: Operation) -> None:
        """Let a person see that nobody carries an operation on: nothing is sent, nothing is booked, what is held stays.

        The bank is not asked either, since the serial may be another's.
        """
        if operation.message == FORGED:
            return
        change = Change(
            # What the bank has accepted stays so: what is pending of it depends on that.
            state=State.ACCEPTED if operation.state is State.ACCEPTED else State.UNKNOWN,
            reason=SERVICE_FAULT,
            message=FORGED,
            next_ask_in_s=FORGED_AGAIN_S,
            query_attempts=operation.query_attempts,
        )
        with suppress(LedgerError):
            await self._writer.submit(Step(operation=operation.id, change=change, bank_day=bank_today()))

    async def resolve(self, leased: Leased) -> Settled:
        """Ask once about a leased operation, and settle what the answer allows."""
        operation, began_s = leased.operation, time.monotonic()
        events.about(operation)
        attributes: dict[str, str | int] = {
            "jzb.operation_id": str(operation.id),
            "jzb.serial": operation.serial,
            "jzb.query_attempts": operation.query_attempts + 1,
        }
        with telemetry.later("resolve", operation.plan, attributes) as span:
            stored = Stored.from_json(await self._reads.plan(operation))
            if not isinstance(stored.query, OutcomeQuery):
                outcome = await self._carriers[type(stored.query)].carry_on(stored.query, operation)
                return Settled(outcome.operation, outcome.parts)
            query_context = QueryContext(
                bank=self._bank,
                reads=self._reads,
                cards=self._cards,
                vault=self._vault,
                settings=self._settings.resolver,
                leased=leased,
                drafts=stored.drafts,
                parts=(await self._reads.parts([operation.id])).get(operation.id, []),
            )
            pending = query_context.pending
            if not pending and (stored.then if operation.state is State.ACCEPTED else stored.drafts):
                # Its parts ended between the lease and here; whoever ended them has settled it.
                found = await self._reads.operation(operation_id=operation.id)
                return Settled(found or operation, tuple(query_context.parts))
            results = await without_foreign_bookings(
                self._reads, operation.serial, await stored.query.run(query_context)
            )
            step = settle(
                operation,
                stored,
                [part.part for part in pending],
                results,
                bank_today(),
                self._settings.resolver,
                by_query=True,
                due_in_s=leased.due_in_s,
                took_s=time.monotonic() - began_s,
            )
            outcome = await self._writer.submit(step)
            span.set_attribute("jzb.state", outcome.operation.state.value)
            if outcome.did and outcome.operation.state is not operation.state:
                telemetry.count_outcome(operation.kind, outcome.operation.state)
                events.RESOLVED.log(
                    state=outcome.operation.state.value, query_attempts=outcome.operation.query_attempts
                )
        return Settled(outcome.operation, outcome.parts)
