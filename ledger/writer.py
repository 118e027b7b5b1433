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
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg

from ledger import journal
from ledger.batch import Rows, judge
from ledger.errors import LedgerBusy, LedgerCorrupt, LedgerError, LedgerUnavailable
from ledger.operations import NewOperation, Outcome, Step
from ledger.rules import SpendOrder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


LOST = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
)
"""The connection is gone, and with it the knowledge whether the batch was committed."""

ALIVE: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A network that swallows everything is noticed within seconds, not hours."""

GIVE_UP_LOCK: LiteralString = """
SELECT set_config(name, '10s', false)
FROM pg_settings
WHERE name IN ('transaction_timeout', 'idle_in_transaction_session_timeout')
"""
"""A process that is stopped or unreachable between read and commit must not keep the platform's lock.

Before PostgreSQL 17 there is only the second, which does not always fire after a pipeline.
"""


class Writer:
    """One platform's writer in this process.

    ``queue_max`` bounds the steps that may wait when a new operation comes (one under way may always go on),
    ``batch_max`` those taken into one commit; ``retry_s`` is for how long PostgreSQL may be away before callers get
    `LedgerUnavailable`.
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
        self._away_since_s: float | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Writer]:
        """Run the writer for the life of the block; what waits at the end is still written."""
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._run(), name="ledger-writer")
                try:
                    yield self
                finally:
                    self._is_closing = True
                    self._arrived.set()
                    # Waited for here: a block that ends with an exception has its tasks cancelled by the group.
                    await asyncio.wait([writing])
        finally:
            await self._disconnect()

    async def submit(self, step: Step) -> Outcome:
        """Carry out one step; returns when it is committed.

        Raises `FloorBroken`, `RequestIdReused`, `OperationUnknown`, `LedgerBusy`, `LedgerUnavailable`.
        """
        if self._is_closing:
            raise LedgerUnavailable("the writer is stopping")
        if len(self._waiting) >= self._queue_max and isinstance(step.operation, NewOperation):
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
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_max))]
        if not self._waiting and not self._is_closing:
            self._arrived.clear()
        return batch

    async def _write(self, batch: list[tuple[Step, asyncio.Future[Outcome]]]) -> None:
        clock = asyncio.get_running_loop().time
        pause_s = 0.02
        while True:
            try:
                outcomes = await self._commit([step for step, _ in batch])
                self._away_since_s = None
                break
            except LOST as failure:
                await self._disconnect()
                # Counted from the first failure: those who wait behind this batch are not kept as long again.
                self._away_since_s = self._away_since_s or clock()
                if clock() > self._away_since_s + self._retry_s:
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
                self._dsn, autocommit=True, prepare_threshold=3, connect_timeout=5, **ALIVE
            )
            await self._connection.execute(GIVE_UP_LOCK)
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
