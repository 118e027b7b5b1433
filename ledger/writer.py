"""The only door to the journal: takes the steps that wait, judges them together, commits once.

A batch holds the platform's advisory lock from its first read to its commit, so that batches of several processes
follow one another: no row locks, no deadlocks, no serialization failures. A lone step does not wait for company. When
the connection breaks, the whole batch is run again on a new one; that is safe, since a step that was committed is
recognised by its operation and does nothing twice.

`Writer.submit` may be awaited by any task; cancelling the wait does not take the step back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from ledger import journal
from ledger.batch import Rows, judge
from ledger.errors import LedgerBusy, LedgerCorrupt, LedgerError, LedgerUnavailable
from ledger.operations import NewOperation, Outcome, Step
from ledger.rules import SpendOrder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Writer:
    """One platform's writer in this process.

    ``queue_max`` bounds the steps that may wait, ``batch_max`` those taken into one commit; ``retry_s`` is for how
    long a batch is tried again when PostgreSQL is away, before its callers get `LedgerUnavailable`.
    """

    def __init__(
        self,
        dsn: str,
        platform: str,
        *,
        spend_order: SpendOrder = "waiting_first",
        queue_max: int = 20_000,
        batch_max: int = 256,
        retry_s: float = 10.0,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._dsn = dsn
        self._platform = platform
        self._spend_order: SpendOrder = spend_order
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._retry_s = retry_s
        self._on_batch = on_batch
        self._waiting: deque[tuple[Step, asyncio.Future[Outcome]]] = deque()
        self._arrived = asyncio.Event()
        self._is_closing = False
        self._connection: psycopg.AsyncConnection[Any] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Writer]:
        """Run the writer for the life of the block; what waits at the end is still written."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run(), name="ledger-writer")
            try:
                yield self
            finally:
                self._is_closing = True
                self._arrived.set()
        if self._connection is not None:
            await self._connection.close()

    async def submit(self, step: Step) -> Outcome:
        """Carry out one step; returns when it is committed.

        Raises `FloorBroken`, `RequestIdReused`, `OperationUnknown`, `LedgerBusy`, `LedgerUnavailable`.
        """
        if self._is_closing:
            raise LedgerUnavailable("the writer is stopping")
        if len(self._waiting) >= self._queue_max:
            raise LedgerBusy(f"{self._queue_max} steps wait already")
        result: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((step, result))
        self._arrived.set()
        return await asyncio.shield(result)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting or not self._is_closing:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                continue
            started_s = clock()
            await self._write(batch)
            if self._on_batch is not None:
                self._on_batch(len(batch), clock() - started_s)

    def _take(self) -> list[tuple[Step, asyncio.Future[Outcome]]]:
        batch: list[tuple[Step, asyncio.Future[Outcome]]] = []
        held_back: list[tuple[Step, asyncio.Future[Outcome]]] = []
        seen: set[str | UUID] = set()
        while self._waiting and len(batch) < self._batch_max:
            step, result = self._waiting.popleft()
            # Two steps about one operation never share a batch: the second must find the first in the database.
            keys: set[str | UUID] = {step.operation_id}
            names = keys | {step.operation.request_id} if isinstance(step.operation, NewOperation) else keys
            (held_back if seen & names else batch).append((step, result))
            seen |= names
        self._waiting.extendleft(reversed(held_back))
        if not self._waiting and not self._is_closing:
            self._arrived.clear()
        return batch

    async def _write(self, batch: list[tuple[Step, asyncio.Future[Outcome]]]) -> None:
        deadline_s = asyncio.get_running_loop().time() + self._retry_s
        pause_s = 0.02
        while True:
            try:
                outcomes = await self._commit([step for step, _ in batch])
                break
            except (psycopg.OperationalError, psycopg.InterfaceError) as failure:
                await self._disconnect()
                if asyncio.get_running_loop().time() > deadline_s:
                    outcomes = [LedgerUnavailable(str(failure))] * len(batch)
                    break
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.5)
            except Exception as failure:
                await self._disconnect()
                if len(batch) > 1:
                    # Find the culprit: the others must not pay for it.
                    for one in batch:
                        await self._write([one])
                    return
                outcomes = [failure]
                break
        for (_, result), outcome in zip(batch, outcomes, strict=True):
            if result.done():
                continue
            if isinstance(outcome, Outcome):
                result.set_result(outcome)
            else:
                result.set_exception(outcome)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn, autocommit=True, prepare_threshold=3, connect_timeout=5
            )
        return self._connection

    async def _commit(self, steps: Sequence[Step]) -> list[Outcome | Exception]:
        connection = await self._connected()
        book, known = await journal.load(connection, self._platform, steps, self._spend_order)
        rows = Rows()
        outcomes: list[Outcome | Exception] = []
        for step in steps:
            try:
                outcomes.append(judge(book, known, step, rows))
            except LedgerCorrupt:
                raise
            except LedgerError as refusal:
                outcomes.append(refusal)
        await journal.save(connection, self._platform, book, rows)
        return outcomes
