"""The unbatched way, to compare with: one transaction a step, one statement after the other, SELECT … FOR UPDATE.

It keeps the same rows in the same tables by the same rules; what it does not do is take steps together. Rows are locked
in order of name, so that it does not deadlock, and it has as many connections as serve it best.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from bench.transfers import PLATFORM
from ledger import Account, Draft, NewOperation, OfDay, State, Step
from ledger.rules import Available

CONNECTIONS = 16


class Naive:
    """Carries out the steps of transfers over a pool of connections."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[dict[str, Any]]]) -> None:
        self._pool = pool

    @staticmethod
    def pool(dsn: str) -> AsyncConnectionPool[AsyncConnection[dict[str, Any]]]:
        """The pool that an instance works on, not open yet."""
        arguments = {"row_factory": dict_row, "prepare_threshold": 1}
        return AsyncConnectionPool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=arguments, open=False)

    async def submit(self, step: Step) -> None:
        """Carry out one step and commit it."""
        async with self._pool.connection() as connection:
            if isinstance(step.operation, NewOperation):
                await self._reserve(connection, step, step.operation)
            else:
                await self._settle(connection, step)

    async def _reserve(self, connection: AsyncConnection[dict[str, Any]], step: Step, new: NewOperation) -> None:
        known = await connection.execute(
            "SELECT * FROM operation WHERE platform = %s AND request_id = %s", [PLATFORM, new.request_id]
        )
        if await known.fetchone() is not None:
            return
        (draft,) = step.pend
        demand = _demand(draft)
        balances = await self._locked(connection, demand)
        for name, needed_fen in demand.items():
            balance = balances[name]
            if balance["balance_fen"] - balance["held_fen"] - needed_fen < balance["floor_fen"]:
                raise ValueError(f"{name} cannot give {needed_fen} fen")
        await connection.execute(
            "INSERT INTO operation (platform, id, request_id, fingerprint, kind, serial, state, payer, payee, order_no,"
            " amount_fen, fee_fen, reason, message, bank_code, bank_message, bank_serial, trace_id, plan, asks,"
            " not_found, created_at, updated_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, '', %s, %s,"
            " '', '', '', '', '', '', %s, 0, 0, now(), now())",
            [
                *(PLATFORM, new.id, new.request_id, new.fingerprint, new.kind, new.serial, State.RESERVED.value),
                *(new.payer, new.payee, new.amount_fen, new.fee_fen, json.dumps(new.plan)),
            ],
        )
        await connection.execute(
            "INSERT INTO due (platform, operation_id, ask_at) VALUES (%s, %s, now() + %s)",
            [PLATFORM, new.id, timedelta(seconds=step.change.next_ask_in_s or 0)],
        )
        await connection.execute(
            "INSERT INTO transaction (platform, operation_id, part, serial, payer, payee, amount_fen, fee_fen,"
            " reserved_at) VALUES (%s, %s, 1, %s, %s, %s, %s, %s, now())",
            [PLATFORM, new.id, draft.serial, draft.payer, draft.payee, draft.amount_fen, draft.fee_fen],
        )
        for name, needed_fen in demand.items():
            await connection.execute(
                "INSERT INTO hold (platform, operation_id, part, account, amount_fen) VALUES (%s, %s, 1, %s, %s)",
                [PLATFORM, new.id, name, needed_fen],
            )
            await connection.execute(
                "UPDATE account SET held_fen = held_fen + %s WHERE platform = %s AND name = %s",
                [needed_fen, PLATFORM, name],
            )
        await self._event(connection, step)

    async def _settle(self, connection: AsyncConnection[dict[str, Any]], step: Step) -> None:
        found = await connection.execute(
            "SELECT * FROM operation WHERE platform = %s AND id = %s FOR UPDATE", [PLATFORM, step.operation]
        )
        operation = await found.fetchone()
        if operation is None or operation["state"] != State.RESERVED.value:
            return
        held = await connection.execute(
            "SELECT account, amount_fen FROM hold WHERE platform = %s AND operation_id = %s AND part = 1",
            [PLATFORM, step.operation],
        )
        holds = {row["account"]: row["amount_fen"] for row in await held.fetchall()}
        (draft,) = step.post.values()
        legs = [(_account(leg.debit, step), _account(leg.credit, step), leg.amount_fen) for leg in draft.legs]
        changes: dict[str, int] = {}
        for debit, credit, amount_fen in legs:
            changes[debit.name] = changes.get(debit.name, 0) - amount_fen
            changes[credit.name] = changes.get(credit.name, 0) + amount_fen
        known = await self._locked(connection, changes)
        for account in sorted({side for debit, credit, _ in legs for side in (debit, credit)}, key=lambda a: a.name):
            if account.name not in known:
                await connection.execute(
                    "INSERT INTO account (platform, name, kind, owner, ref, floor_fen, balance_fen, held_fen)"
                    " VALUES (%s, %s, %s, %s, %s, %s, 0, 0) ON CONFLICT DO NOTHING",
                    [PLATFORM, account.name, account.kind.value, account.owner, account.ref, account.floor],
                )
        for name in sorted(changes):
            await connection.execute(
                "UPDATE account SET balance_fen = balance_fen + %s, held_fen = held_fen - %s"
                " WHERE platform = %s AND name = %s",
                [changes[name], holds.get(name, 0), PLATFORM, name],
            )
        await connection.execute(
            "INSERT INTO resolution (platform, operation_id, part, verdict, bank_day, at)"
            " VALUES (%s, %s, 1, 'posted', %s, now())",
            [PLATFORM, step.operation, step.bank_day],
        )
        for number, (debit, credit, amount_fen) in enumerate(legs, start=1):
            await connection.execute(
                "INSERT INTO leg (platform, operation_id, part, leg, debit, credit, amount_fen)"
                " VALUES (%s, %s, 1, %s, %s, %s, %s)",
                [PLATFORM, step.operation, number, debit.name, credit.name, amount_fen],
            )
        await connection.execute(
            "UPDATE operation SET state = %s, bank_code = %s, bank_serial = %s, bank_day = %s,"
            " updated_at = now() WHERE platform = %s AND id = %s",
            [
                *(step.change.state.value, step.change.bank_code, step.change.bank_serial, step.bank_day),
                *(PLATFORM, step.operation),
            ],
        )
        await connection.execute(
            "DELETE FROM due WHERE platform = %s AND operation_id = %s", [PLATFORM, step.operation]
        )
        await self._event(connection, step)

    async def _locked(
        self, connection: AsyncConnection[dict[str, Any]], names: dict[str, int]
    ) -> dict[str, dict[str, Any]]:
        rows = await connection.execute(
            "SELECT * FROM account WHERE platform = %s AND name = ANY(%s) ORDER BY name FOR UPDATE",
            [PLATFORM, sorted(names)],
        )
        return {row["name"]: row for row in await rows.fetchall()}

    async def _event(self, connection: AsyncConnection[dict[str, Any]], step: Step) -> None:
        await connection.execute(
            "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
            " VALUES (%s, %s, %s, '', %s, '', %s, now())",
            [PLATFORM, step.operation_id, step.change.state.value, step.change.bank_code, step.change.evidence],
        )


def _demand(draft: Draft) -> dict[str, int]:
    demand: dict[str, int] = {}
    for leg in draft.legs:
        if isinstance(leg.debit, Account) and leg.debit.floor is not None:
            demand[leg.debit.name] = demand.get(leg.debit.name, 0) + leg.amount_fen
    return demand


def _account(side: Account | OfDay | Available, step: Step) -> Account:
    if isinstance(side, Available):
        raise TypeError("the transfers of the bench name their pockets")
    return side.on(step.bank_day) if isinstance(side, OfDay) else side
