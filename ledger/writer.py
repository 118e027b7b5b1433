"""The only door to the journal: takes the steps that wait, judges them together, commits once.

A batch holds the platform's advisory lock from its first read to its commit, so that batches of several processes
follow one another: no row locks, no deadlocks, no serialization failures. A lone step does not wait for company.
When the connection breaks, the whole batch is run again on a new one; that is safe, since a step that was committed
is recognised by its operation and does nothing twice.

`Writer.submit` may be awaited by any task; cancelling the wait does not take the step back.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row, tuple_row

from ledger import statements
from ledger.accounts import Account, Kind
from ledger.batch import Known, KnownPart, Rows, accounts_of, judge
from ledger.errors import LedgerBusy, LedgerCorrupt, LedgerError, LedgerUnavailable
from ledger.operations import NewOperation, Operation, Outcome, Part, PartState, State, Step
from ledger.rules import Balance, Book, Hold, SpendOrder

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
        book, known = await self._load(connection, steps)
        rows = Rows()
        outcomes: list[Outcome | Exception] = []
        for step in steps:
            try:
                outcomes.append(judge(book, known, step, rows))
            except LedgerCorrupt:
                raise
            except LedgerError as refusal:
                outcomes.append(refusal)
        await self._save(connection, book, rows, steps)
        return outcomes

    async def _load(self, connection: psycopg.AsyncConnection[Any], steps: Sequence[Step]) -> tuple[Book, Known]:
        requests = [step.operation.request_id for step in steps if isinstance(step.operation, NewOperation)]
        ids = [step.operation for step in steps if isinstance(step.operation, UUID)]
        named: set[Account] = set()
        drawn: set[str] = set()
        for step in steps:
            accounts, subs = accounts_of(step)
            named |= accounts
            drawn |= subs
        scope = {
            "platform": self._platform,
            "requests": requests,
            "ids": ids,
            "names": [account.name for account in named],
            "drawn": list(drawn),
        }
        async with connection.pipeline():
            await connection.execute("BEGIN")
            begun = connection.cursor(row_factory=tuple_row)
            await begun.execute(statements.LOCK, scope)
            head = connection.cursor(row_factory=tuple_row)
            await head.execute(statements.HEAD, scope)
            operations = connection.cursor(row_factory=dict_row)
            await operations.execute(statements.OPERATIONS, scope)
            parts = connection.cursor(row_factory=dict_row)
            await parts.execute(statements.PARTS, scope)
            holds = connection.cursor(row_factory=tuple_row)
            await holds.execute(statements.HOLDS, scope)
            accounts_found = connection.cursor(row_factory=tuple_row)
            await accounts_found.execute(statements.ACCOUNTS, scope)

            now, cleared_through = (await head.fetchone()) or (None, None)
            if now is None:
                raise LedgerCorrupt("the head of the ledger cannot be read")
            known = Known(now)
            for row in await operations.fetchall():
                known.add(operation_from_row(row))
            for row in await parts.fetchall():
                known.parts.setdefault(row["operation_id"], {})[row["part"]] = KnownPart(part_from_row(row), [])
            for operation_id, part, kind, owner, ref, amount_fen in await holds.fetchall():
                known.parts[operation_id][part].holds.append(Hold(Account(Kind(kind), owner, ref), amount_fen))
            book = Book(cleared_through, self._spend_order)
            for kind, owner, ref, balance_fen, held_fen in await accounts_found.fetchall():
                book.add(Balance(Account(Kind(kind), owner, ref), balance_fen, held_fen, is_loaded=True))
        return book, known

    async def _save(
        self, connection: psycopg.AsyncConnection[Any], book: Book, rows: Rows, steps: Sequence[Step]
    ) -> None:
        changed = [book.balances[name] for name in sorted(book.touched)]
        async with connection.pipeline():
            execute = connection.execute
            if stored := [b for b in changed if b.is_loaded]:
                await execute(statements.UPDATE_ACCOUNTS, self._account_columns(stored))
            if fresh := [b for b in changed if not b.is_loaded]:
                await execute(statements.UPSERT_ACCOUNTS, self._account_columns(fresh))
            if rows.operations_new:
                await execute(statements.INSERT_OPERATIONS, self._operation_columns(rows, rows.operations_new))
            if rows.operations_changed:
                await execute(statements.UPDATE_OPERATIONS, self._operation_columns(rows, rows.operations_changed))
            if rows.transactions:
                await execute(statements.INSERT_TRANSACTIONS, self._transaction_columns(rows))
            if rows.holds:
                await execute(
                    statements.INSERT_HOLDS,
                    [
                        self._platform,
                        [operation_id for operation_id, _, _ in rows.holds],
                        [part for _, part, _ in rows.holds],
                        [hold.account.name for _, _, hold in rows.holds],
                        [hold.amount_fen for _, _, hold in rows.holds],
                    ],
                )
            if rows.resolutions:
                await execute(
                    statements.INSERT_RESOLUTIONS,
                    [
                        self._platform,
                        [operation_id for operation_id, _, _, _ in rows.resolutions],
                        [part for _, part, _, _ in rows.resolutions],
                        [verdict.value for _, _, verdict, _ in rows.resolutions],
                        [bank_day for _, _, _, bank_day in rows.resolutions],
                    ],
                )
            if rows.legs:
                await execute(
                    statements.INSERT_LEGS,
                    [
                        self._platform,
                        [operation_id for operation_id, _, _, _ in rows.legs],
                        [part for _, part, _, _ in rows.legs],
                        [no for _, _, no, _ in rows.legs],
                        [posting.debit.name for _, _, _, posting in rows.legs],
                        [posting.credit.name for _, _, _, posting in rows.legs],
                        [posting.amount_fen for _, _, _, posting in rows.legs],
                    ],
                )
            if rows.events:
                await execute(
                    statements.INSERT_EVENTS,
                    [
                        self._platform,
                        [operation_id for operation_id, _ in rows.events],
                        [change.state.value for _, change in rows.events],
                        [change.reason for _, change in rows.events],
                        [change.bank_code for _, change in rows.events],
                        [change.bank_message for _, change in rows.events],
                        [change.evidence for _, change in rows.events],
                    ],
                )
            for member in rows.members:
                await execute(
                    statements.UPSERT_MEMBER,
                    [self._platform, member.member_id, member.sub_account, member.property, member.is_open],
                )
            if rows.cleared_through is not None:
                await execute(statements.UPSERT_PLATFORM, [self._platform, rows.cleared_through])
            await execute("COMMIT")

    def _account_columns(self, changed: Sequence[Balance]) -> list[Any]:
        return [
            self._platform,
            [b.account.name for b in changed],
            [b.account.kind.value for b in changed],
            [b.account.owner for b in changed],
            [b.account.ref for b in changed],
            [b.account.floor for b in changed],
            [b.balance_fen for b in changed],
            [b.held_fen for b in changed],
        ]

    def _operation_columns(self, rows: Rows, operations: dict[UUID, Operation]) -> list[Any]:
        found = list(operations.values())
        delays = [rows.next_ask_in_s[o.id] for o in found]
        return [
            self._platform,
            [o.id for o in found],
            [o.request_id for o in found],
            [o.fingerprint for o in found],
            [o.kind for o in found],
            [o.serial for o in found],
            [o.state.value for o in found],
            [o.payer for o in found],
            [o.payee for o in found],
            [o.order_no for o in found],
            [o.amount_fen for o in found],
            [o.fee_fen for o in found],
            [o.reason for o in found],
            [o.message for o in found],
            [json.dumps(o.breach) if o.breach else None for o in found],
            [o.bank_code for o in found],
            [o.bank_message for o in found],
            [o.bank_serial for o in found],
            [o.bank_day for o in found],
            [o.trace_id for o in found],
            [json.dumps(o.plan, ensure_ascii=False) for o in found],
            [o.asks for o in found],
            [o.not_found for o in found],
            [timedelta(seconds=s) if s is not None else None for s in delays],
        ]

    def _transaction_columns(self, rows: Rows) -> list[Any]:
        return [
            self._platform,
            [operation_id for operation_id, _, _ in rows.transactions],
            [part for _, part, _ in rows.transactions],
            [draft.serial for _, _, draft in rows.transactions],
            [draft.payer for _, _, draft in rows.transactions],
            [draft.payee for _, _, draft in rows.transactions],
            [draft.amount_fen for _, _, draft in rows.transactions],
            [draft.fee_fen for _, _, draft in rows.transactions],
            [draft.corrects for _, _, draft in rows.transactions],
        ]


def operation_from_row(row: dict[str, Any]) -> Operation:
    """An operation from its row, whoever read it."""
    columns = {name: value for name, value in row.items() if name != "platform"}
    return Operation(**{**columns, "state": State(row["state"]), "fingerprint": bytes(row["fingerprint"])})


def part_from_row(row: Mapping[str, Any]) -> Part:
    """A transaction from its row joined with its resolution."""
    return Part(
        part=row["part"],
        serial=row["serial"],
        payer=row["payer"],
        payee=row["payee"],
        amount_fen=row["amount_fen"],
        fee_fen=row["fee_fen"],
        state=PartState(row["verdict"]) if row["verdict"] else PartState.RESERVED,
        bank_day=row["bank_day"],
        corrects=row["corrects"],
    )
