"""A batch's way into and out of the database: what it reads first, and what it adds.

Two round trips: `load` opens the transaction, takes the platform's lock and reads what the steps name; `save` writes
every table in one set-based statement each and commits. Nothing is judged here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row, tuple_row

from ledger import arrays, statements
from ledger.accounts import Account, Kind
from ledger.batch import Known, KnownPart, Rows, accounts_of
from ledger.errors import LedgerCorrupt
from ledger.operations import NewOperation, Operation, Part, PartState, State, Step
from ledger.rules import Balance, Book, Hold, SpendOrder

Connection = psycopg.AsyncConnection[Any]


async def load(
    connection: Connection, platform: str, steps: Sequence[Step], spend_order: SpendOrder
) -> tuple[Book, Known]:
    """Open the batch's transaction and read what its steps may touch."""
    named: set[Account] = set()
    drawn: set[str] = set()
    for step in steps:
        accounts, sub_accounts = accounts_of(step)
        named |= accounts
        drawn |= sub_accounts
    # Each once: two steps of one operation may come together, and its holds must not be counted twice.
    opening = {step.operation.request_id for step in steps if isinstance(step.operation, NewOperation)}
    going_on = {step.operation for step in steps if isinstance(step.operation, UUID)}
    scope = {
        "platform": platform,
        "requests": arrays.texts(opening),
        "ids": arrays.plain(going_on),
        "names": arrays.texts(account.name for account in named),
        "drawn": arrays.texts(drawn),
    }
    async with connection.pipeline():
        await connection.execute("BEGIN")
        await connection.execute(statements.LOCK, scope)
        head = connection.cursor(row_factory=tuple_row)
        await head.execute(statements.HEAD, scope)
        operations = connection.cursor(row_factory=dict_row)
        await operations.execute(statements.OPERATIONS, scope)
        parts = connection.cursor(row_factory=dict_row)
        await parts.execute(statements.PARTS, scope)
        holds = connection.cursor(row_factory=tuple_row)
        await holds.execute(statements.HOLDS, scope)
        balances = connection.cursor(row_factory=tuple_row)
        await balances.execute(statements.ACCOUNTS, scope)

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
        book = Book(cleared_through, spend_order)
        for kind, owner, ref, balance_fen, held_fen in await balances.fetchall():
            book.add(Balance(Account(Kind(kind), owner, ref), balance_fen, held_fen, is_loaded=True))
    return book, known


async def save(connection: Connection, platform: str, book: Book, rows: Rows) -> None:
    """Write the batch and commit. What it adds has no other reader before the commit."""
    changed = [book.balances[name] for name in sorted(book.touched)]
    writes: list[tuple[LiteralString, Collection[object], list[str]]] = []

    def write(statement: LiteralString, found: Collection[object], columns: list[str]) -> None:
        if found:
            writes.append((statement, found, columns))

    stored = [balance for balance in changed if balance.is_loaded]
    fresh = [balance for balance in changed if not balance.is_loaded]
    write(
        statements.UPDATE_ACCOUNTS,
        stored,
        [
            arrays.texts(b.account.name for b in stored),
            arrays.numbers(b.balance_fen for b in stored),
            arrays.numbers(b.held_fen for b in stored),
        ],
    )
    write(
        statements.UPSERT_ACCOUNTS,
        fresh,
        [
            arrays.texts(b.account.name for b in fresh),
            arrays.texts(b.account.kind.value for b in fresh),
            arrays.texts(b.account.owner for b in fresh),
            arrays.texts(b.account.ref for b in fresh),
            arrays.numbers(b.account.floor for b in fresh),
            arrays.numbers(b.balance_fen for b in fresh),
            arrays.numbers(b.held_fen for b in fresh),
        ],
    )
    new = list(rows.operations_new.values())
    write(statements.INSERT_OPERATIONS, new, [*_identity(new), *_standing(new, rows)])
    moved = list(rows.operations_changed.values())
    write(statements.UPDATE_OPERATIONS, moved, [arrays.plain(o.id for o in moved), *_standing(moved, rows)])
    reopened = [operation for operation in moved if operation.id in rows.reopened]
    write(
        statements.REOPEN_OPERATIONS,
        reopened,
        [
            arrays.plain(o.id for o in reopened),
            arrays.texts(o.serial for o in reopened),
            arrays.texts(o.trace_id for o in reopened),
            arrays.texts(o.plan_text for o in reopened),
        ],
    )
    write(
        statements.INSERT_TRANSACTIONS,
        rows.transactions,
        [
            arrays.plain(operation_id for operation_id, _, _ in rows.transactions),
            arrays.numbers(part for _, part, _ in rows.transactions),
            arrays.texts(draft.serial for _, _, draft in rows.transactions),
            arrays.texts(draft.payer for _, _, draft in rows.transactions),
            arrays.texts(draft.payee for _, _, draft in rows.transactions),
            arrays.numbers(draft.amount_fen for _, _, draft in rows.transactions),
            arrays.numbers(draft.fee_fen for _, _, draft in rows.transactions),
            arrays.numbers(draft.corrects for _, _, draft in rows.transactions),
            arrays.texts(draft.order_no for _, _, draft in rows.transactions),
        ],
    )
    write(
        statements.INSERT_HOLDS,
        rows.holds,
        [
            arrays.plain(operation_id for operation_id, _, _ in rows.holds),
            arrays.numbers(part for _, part, _ in rows.holds),
            arrays.texts(hold.account.name for _, _, hold in rows.holds),
            arrays.numbers(hold.amount_fen for _, _, hold in rows.holds),
        ],
    )
    write(
        statements.INSERT_RESOLUTIONS,
        rows.resolutions,
        [
            arrays.plain(operation_id for operation_id, _, _, _ in rows.resolutions),
            arrays.numbers(part for _, part, _, _ in rows.resolutions),
            arrays.texts(verdict.value for _, _, verdict, _ in rows.resolutions),
            arrays.plain(bank_day for _, _, _, bank_day in rows.resolutions),
        ],
    )
    write(
        statements.INSERT_LEGS,
        rows.legs,
        [
            arrays.plain(operation_id for operation_id, _, _, _ in rows.legs),
            arrays.numbers(part for _, part, _, _ in rows.legs),
            arrays.numbers(no for _, _, no, _ in rows.legs),
            arrays.texts(posting.debit.name for _, _, _, posting in rows.legs),
            arrays.texts(posting.credit.name for _, _, _, posting in rows.legs),
            arrays.numbers(posting.amount_fen for _, _, _, posting in rows.legs),
        ],
    )
    write(
        statements.INSERT_EVENTS,
        rows.events,
        [
            arrays.plain(operation_id for operation_id, _ in rows.events),
            arrays.texts(change.state.value for _, change in rows.events),
            arrays.texts(change.reason for _, change in rows.events),
            arrays.texts(change.bank_code for _, change in rows.events),
            arrays.texts(change.bank_message for _, change in rows.events),
            arrays.digests(change.evidence for _, change in rows.events),
        ],
    )
    async with connection.pipeline():
        for statement, _, columns in writes:
            await connection.execute(statement, [platform, *columns])
        for member in rows.members:
            await connection.execute(
                statements.UPSERT_MEMBER,
                [platform, member.member_id, member.sub_account, member.property, member.is_open, member.same_name],
            )
        for card in rows.cards_new:
            await connection.execute(
                statements.INSERT_CARD,
                [
                    *(platform, card.card_id, card.member_id, card.key_id, card.digest, card.sealed, card.masked),
                    *(card.bank_type, card.branch_name, card.cnaps_no, card.super_bank_no),
                    *(card.checked_by.value, card.serial, card.state.value, card.wrong, card.pay_in_fen),
                    card.state.value,
                ],
            )
        for change in rows.cards:
            state = change.state.value if change.state else None
            await connection.execute(
                statements.UPDATE_CARD,
                {
                    "platform": platform,
                    "card_id": change.card_id,
                    "state": state,
                    "wrong": change.wrong,
                    "life_s": change.life_s,
                    "pay_in_fen": change.pay_in_fen,
                    "branch_name": change.branch_name,
                    "cnaps_no": change.cnaps_no,
                    "super_bank_no": change.super_bank_no,
                },
            )
        if rows.cleared_through is not None:
            await connection.execute(statements.UPSERT_PLATFORM, [platform, rows.cleared_through])
        await connection.execute("COMMIT")


def _identity(found: Sequence[Operation]) -> list[str]:
    """What never changes of an operation."""
    return [
        arrays.plain(o.id for o in found),
        arrays.texts(o.request_id for o in found),
        arrays.digests(o.fingerprint for o in found),
        arrays.texts(o.kind for o in found),
        arrays.texts(o.serial for o in found),
        arrays.texts(o.payer for o in found),
        arrays.texts(o.payee for o in found),
        arrays.texts(o.order_no for o in found),
        arrays.numbers(o.amount_fen for o in found),
        arrays.numbers(o.fee_fen for o in found),
        arrays.texts(o.trace_id for o in found),
        arrays.texts(o.plan_text for o in found),
    ]


def _standing(found: Sequence[Operation], rows: Rows) -> list[str]:
    """How an operation stands after the batch."""
    return [
        arrays.texts(o.state.value for o in found),
        arrays.texts(o.reason for o in found),
        arrays.texts(o.message for o in found),
        arrays.texts(json.dumps(o.breach) if o.breach else None for o in found),
        arrays.texts(o.bank_code for o in found),
        arrays.texts(o.bank_message for o in found),
        arrays.texts(o.bank_serial for o in found),
        arrays.plain(o.bank_day for o in found),
        arrays.numbers(o.asks for o in found),
        arrays.numbers(o.not_found for o in found),
        arrays.seconds(rows.next_ask_in_s[o.id] for o in found),
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
        order_no=row["order_no"],
    )
