"""The only writer of the journal: takes the steps that wait, judges them together, commits once.

Writers of several processes take turns on a platform, by an advisory lock: no row locks, no deadlocks, no serialization
failures. A lone step does not wait for company. While PostgreSQL writes one batch, the next is judged by what the
writer remembers and reads only what is new to it; callers hear of a batch when it is committed, never before. When
anything fails, all that is in hand is forgotten and run again on a new connection; that is safe, since a step that was
committed is recognised by its operation and does nothing twice.

`Writer.submit` may be awaited by any task; cancelling the wait does not take the step back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from ledger import journal, session, statements
from ledger.answers import Encrypt
from ledger.batch import Rows, judge
from ledger.coalesce import gathering
from ledger.errors import (
    DeadlinePassed,
    LedgerBusy,
    LedgerCorrupt,
    LedgerError,
    LedgerUnavailable,
    ReopeningUnproved,
)
from ledger.macs import SealKeys
from ledger.memory import Memory
from ledger.operations import Operation, State
from ledger.rules import SpendOrder
from ledger.seals import Seal
from ledger.steps import NewOperation, Step, StepOutcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


LOST = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
)
"""The connection is gone, and with it the knowledge whether the batch was committed; or it leads to a server that takes
no writes any more, behind an address that another one will have.
"""

TURN_S = 0.5
"""For how long a writer goes on without giving other processes their turn."""

CROWD = 64
"""From so many waiting steps on, batches follow one another without a pause, each written while the next is judged."""

REST = 1.0
REST_MAX_S = 0.05
"""How long the writer waits for one step more to come, in durations of its last turn, and at most for a crowd."""

RETRY_PAUSE_S = 0.1
"""Between two tries to reach PostgreSQL."""

Waiting = tuple[Step, "asyncio.Future[StepOutcome]", Any]
"""A step, who waits for its outcome, and where it came from."""


def _unknown() -> None:
    return None


class Writer:
    """One platform's writer in this process.

    ``queue_max`` bounds the steps that may wait when a new operation comes (one under way may always go on),
    ``batch_max`` those taken into one commit; ``retry_s`` is for how long PostgreSQL may be away before callers get
    `LedgerUnavailable`, ``close_s`` for how long what waits at the end may take to be written. Only a writer that
    ``catches_up`` writes to books that are marked as behind the bank, and to no others. With ``keys`` it puts a MAC
    over each opening and each batch, and builds on no batch of somebody without them. With ``encrypt`` it keeps the
    bank's signed answers. ``on_batch`` is called after
    each commit with what ``origin`` returned when each of its steps was submitted, in the caller's own context, and
    with the seconds that the batch took.
    """

    def __init__(
        self,
        dsn: str,
        platform: str,
        *,
        spend_order: SpendOrder = "waiting_first",
        queue_max: int = 20_000,
        batch_max: int = 128,
        retry_s: float = 10.0,
        close_s: float = 5.0,
        catches_up: bool = False,
        keys: SealKeys | None = None,
        encrypt: Encrypt | None = None,
        on_batch: Callable[[Sequence[Any], float], None] | None = None,
        origin: Callable[[], Any] = _unknown,
    ) -> None:
        self._dsn = dsn
        self._platform = platform
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._retry_s = retry_s
        self._close_s = close_s
        self._catches_up = catches_up
        self._keys = keys
        self._encrypt = encrypt
        self._on_batch = on_batch
        self._origin = origin
        self._committed: Seal | None = None
        self._waiting: deque[Waiting] = deque()
        self._suspects = 0
        self._is_suspect = False
        self._memory = Memory(spend_order)
        self._clock = time.monotonic
        self._arrived = asyncio.Event()
        self._is_closing = False
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._away_since_s: float | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Writer]:
        """Run the writer for the life of the block; what waits at the end is still written, if it can be soon."""
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._run(), name="ledger-writer")
                try:
                    yield self
                finally:
                    self._is_closing = True
                    self._arrived.set()
                    # Waited for here: a block that ends with an exception has its tasks cancelled by the group.
                    await asyncio.wait([writing], timeout=self._close_s)
                    writing.cancel()
        finally:
            await self._disconnect()
            for waiting in self._waiting:
                _resolve(waiting, LedgerUnavailable("the writer has stopped"))

    @property
    def waiting(self) -> int:
        """How many steps wait for their batch."""
        return len(self._waiting)

    @property
    def is_connected(self) -> bool:
        """Whether it has its connection."""
        return self._connection is not None

    async def submit(self, step: Step) -> StepOutcome:
        """Carry out one step; returns when it is committed.

        Raises `FloorBroken`, `RequestIdReused`, `ReopeningUnproved`, `OperationUnknown`, `DeadlinePassed`,
        `LedgerBusy`, `LedgerBehind`, `LedgerUnavailable`.
        """
        if self._is_closing:
            raise LedgerUnavailable("the writer is stopping")
        if len(self._waiting) >= self._queue_max and isinstance(step.operation, NewOperation):
            raise LedgerBusy(f"{self._queue_max} steps wait already")
        result: asyncio.Future[StepOutcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((step, result, self._origin()))
        self._arrived.set()
        return await result

    async def _run(self) -> None:
        while self._waiting or not self._is_closing:
            await self._arrived.wait()
            batch = self._next_batch(is_first=True)
            if batch:
                began_s = self._clock()
                await self._turn(batch)
                # One step alone goes on.
                pause_s = (self._clock() - began_s) * REST
                await gathering(self._waiting, CROWD // 2, pause_s=pause_s, at_most_s=REST_MAX_S, more_than=1)

    def _next_batch(self, *, is_first: bool) -> list[Waiting]:
        """The steps that wait, as many as one batch takes; one at a time while a culprit is sought."""
        size = min(len(self._waiting), self._batch_max)
        self._is_suspect = self._suspects > 0
        if self._is_suspect:
            size = 1
            self._suspects -= 1
        elif is_first and size >= CROWD:
            # The other half is judged while PostgreSQL writes this one.
            size //= 2
        batch = [self._waiting.popleft() for _ in range(size)]
        if not self._waiting and not self._is_closing:
            self._arrived.clear()
        return batch

    async def _turn(self, batch: list[Waiting]) -> None:
        """Carry out a batch, and those that come meanwhile for as long as a turn may last."""
        in_hand = batch
        try:
            connection = await self._connected()
            async with connection.pipeline() as pipeline:
                judged = await self._begin(connection, batch)
                # The wait for the turn is no part of it: a process that waited long would have none.
                ends_s = self._clock() + TURN_S
                while True:
                    following = self._next_batch(is_first=False) if self._goes_on(ends_s) else []
                    in_hand = judged.batch + following
                    # Read before the batch is written: what both touch is in the memory.
                    reading = self._reading(connection, following)
                    await reading.send()
                    await reading.learn(self._memory)
                    await journal.send(connection, judged.writes)
                    # Judged while PostgreSQL writes the batch before it.
                    then = self._judge(following) if following else None
                    await pipeline.sync()
                    self._committed = judged.sealed or self._committed
                    self._memory.committed(judged.rows, then.rows if then else None)
                    self._away_since_s = None
                    self._answer(judged)
                    if then is None:
                        in_hand = []
                        await connection.execute(statements.END_TURN, [self._platform])
                        return
                    judged, in_hand = then, then.batch
        except asyncio.CancelledError:
            self._put_back(in_hand)
            raise
        except LOST as failure:
            await self._lost(in_hand, failure)
        except Exception as failure:
            await self._disconnect()
            if self._is_suspect:
                for waiting in in_hand:
                    _resolve(waiting, failure)
            else:
                # Once more, one by one and with nothing remembered: the others must not pay for the culprit.
                self._suspects = len(in_hand)
                self._put_back(in_hand)

    def _goes_on(self, ends_s: float) -> bool:
        if self._is_suspect or self._memory.is_full or self._clock() > ends_s:
            return False
        return len(self._waiting) >= CROWD // 2

    async def _begin(self, connection: psycopg.AsyncConnection[Any], batch: list[Waiting]) -> _Judged:
        """Take the platform's turn and judge the first batch, in one round trip if no other process was here."""
        if self._memory.is_full:
            self._memory.clear()
        head = journal.Head(connection, self._committed, catches_up=self._catches_up, keys=self._keys)
        reading = self._reading(connection, batch)
        await head.send(self._platform)
        await reading.send()
        if not await head.still_is(self._memory):
            reading = self._reading(connection, batch)
            await reading.send()
        await reading.learn(self._memory)
        return self._judge(batch)

    def _reading(self, connection: psycopg.AsyncConnection[Any], batch: list[Waiting]) -> journal.Reading:
        return journal.Reading(connection, self._platform, self._memory.missing(_steps(batch)))

    def _judge(self, batch: list[Waiting]) -> _Judged:
        judged = _Judged(batch, [], Rows(), [], None, self._clock())
        self._memory.read_clock()
        for step in _steps(batch):
            try:
                if self._is_past_deadline(step, judged.since_s):
                    raise DeadlinePassed(f"{judged.since_s - (step.not_after_s or 0.0):.3f} s too late")
                if self._keys is not None and (released := self._reopened(step)) is not None:
                    raise ReopeningUnproved(released)
                judged.outcomes.append(judge(self._memory.book, self._memory.known, step, judged.rows))
            except LedgerCorrupt:
                raise
            except LedgerError as refusal:
                judged.outcomes.append(refusal)
        judged.writes = journal.encode(self._platform, self._memory, judged.rows, self._keys, self._encrypt)
        judged.sealed = self._memory.sealed if judged.rows.events else None
        return judged

    def _is_past_deadline(self, step: Step, now_s: float) -> bool:
        """Whether a step would open an operation for a caller who is gone. What was committed before is still told."""
        new = step.operation
        if step.not_after_s is None or now_s <= step.not_after_s or not isinstance(new, NewOperation):
            return False
        earlier = self._memory.known.by_request.get(new.request_id)
        return earlier is None or (earlier.state is State.RELEASED and earlier.serial != new.serial)

    def _reopened(self, step: Step) -> Operation | None:
        """The operation that a step would open anew, of which its caller has not proved that it was released."""
        new = step.operation
        if not isinstance(new, NewOperation) or step.check_only:
            return None
        earlier = self._memory.known.by_request.get(new.request_id)
        if earlier is None or earlier.state is not State.RELEASED or earlier.serial == new.serial:
            return None
        return earlier if earlier.fingerprint == new.fingerprint and earlier.id != step.reopens else None

    def _answer(self, judged: _Judged) -> None:
        for waiting, outcome in zip(judged.batch, judged.outcomes, strict=True):
            _resolve(waiting, outcome)
        if self._on_batch is not None:
            self._on_batch([origin for _, _, origin in judged.batch], self._clock() - judged.since_s)

    async def _lost(self, in_hand: list[Waiting], failure: Exception) -> None:
        """Try again on a new connection, until PostgreSQL has been away for too long."""
        await self._disconnect()
        # Counted from the first failure: those who wait behind this batch are not kept as long again.
        self._away_since_s = self._away_since_s or self._clock()
        if self._clock() > self._away_since_s + self._retry_s:
            for waiting in in_hand:
                _resolve(waiting, LedgerUnavailable(str(failure)))
            return
        self._put_back(in_hand)
        await asyncio.sleep(RETRY_PAUSE_S)

    def _put_back(self, in_hand: list[Waiting]) -> None:
        self._waiting.extendleft(reversed(in_hand))
        self._arrived.set()

    async def _disconnect(self) -> None:
        self._memory.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await session.opened(self._dsn, statements.SESSION, prepare_threshold=0)
        return self._connection


@dataclass(slots=True)
class _Judged:
    """A batch with what came of its steps and the rows that it adds."""

    batch: list[Waiting]
    outcomes: list[StepOutcome | Exception]
    rows: Rows
    writes: list[journal.Write]
    sealed: Seal | None
    since_s: float


def _steps(batch: list[Waiting]) -> list[Step]:
    return [step for step, _, _ in batch]


def _resolve(waiting: Waiting, outcome: StepOutcome | Exception) -> None:
    _, result, _ = waiting
    if result.done():
        return
    if isinstance(outcome, StepOutcome):
        result.set_result(outcome)
    else:
        result.set_exception(outcome)
