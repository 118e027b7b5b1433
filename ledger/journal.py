"""A batch's way into and out of the database: what it reads first, and what it adds.

A `Head` waits for the platform, a `Reading` fetches what a batch wants and the writer does not remember, `encode` turns
its rows into one set-based statement. Nothing is judged here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from ledger import arrays, seals, statements
from ledger.accounts import Account, Kind
from ledger.answers import Encrypt
from ledger.batch import Rows
from ledger.errors import LedgerBehind, LedgerCorrupt
from ledger.macs import SealKeys
from ledger.memory import BEFORE_ANYTHING, Memory, Missing
from ledger.operations import FullOperation, Operation, Part, PartState, State
from ledger.rules import Hold
from ledger.seals import Seal

Connection = psycopg.AsyncConnection[Any]
Write = tuple[LiteralString | bytes, Sequence[Any] | Mapping[str, Any]]

KINDS = {kind.value: kind for kind in Kind}
STATES = {state.value: state for state in State}
PART_STATES = {state.value: state for state in PartState}
STATE = Operation._fields.index("state")
PART_STATE = Part._fields.index("state")
PART_BANK_DAY = Part._fields.index("bank_day")


class Head:
    """Where the platform stands at the beginning of a turn; ``own`` is the last batch that this process committed."""

    def __init__(
        self, connection: Connection, own: Seal | None, *, catches_up: bool, keys: SealKeys | None = None
    ) -> None:
        self._cursor = connection.cursor()
        self._own = own
        self._catches_up = catches_up
        self._keys = keys
        self._platform = ""

    async def send(self, platform: str) -> None:
        """Take the platform's turn, when it comes, and ask where the platform stands. Does not wait."""
        self._platform = platform
        await self._cursor.connection.execute(statements.TAKE_TURN, [platform])
        await self._cursor.execute(statements.HEAD, [platform, self._own and self._own.batch])

    async def still_is(self, memory: Memory) -> bool:
        """Whether the memory holds. If another process has been here it is made to forget.

        Raises `LedgerBehind` for books that are older than the bank, or than what this process knows to be committed;
        `LedgerCorrupt` where somebody without the keys has written the last batch: nothing is built on that.
        """
        row = await self._cursor.fetchone()
        if row is None:
            raise LedgerCorrupt("the head of the ledger cannot be read")
        now, batches, cleared_through, sealed_at, digest, behind_since, own_digest, macs = row
        self._require_present(batches, behind_since, own_digest)
        memory.set_time(now)
        if memory.batches == batches:
            return True
        if digest is None and batches:
            await self._require_no_seal_is_due(batches)
        # Batches from before there were seals have none: the chain begins with the next.
        head = Seal(batches, sealed_at or BEFORE_ANYTHING, digest or seals.BEGINNING)
        if self._keys and batches:
            require_sealed(self._keys, head, macs)
        memory.clear()
        memory.batches, memory.book.cleared_through = batches, cleared_through
        memory.sealed = head
        return False

    def _require_present(self, batches: int, behind_since: datetime | None, own_digest: bytes | None) -> None:
        if behind_since is not None and not self._catches_up:
            raise LedgerBehind.restored(behind_since)
        if behind_since is None and self._catches_up:
            raise LedgerBehind("these books are open: another catch-up was here")
        if self._own is not None and own_digest != self._own.digest:
            raise LedgerBehind(
                f"these books have {batches} batches, and not batch {self._own.batch} as this process committed it:"
                " an older copy or server has come back"
            )

    async def _require_no_seal_is_due(self, batches: int) -> None:
        """A chain begins behind the batches from before there were seals, and nowhere else."""
        await self._cursor.execute(statements.UNSEALED, [self._platform])
        row = await self._cursor.fetchone()
        if row is None or row[0] != batches:
            raise LedgerCorrupt(f"batch {batches} has no seal: run jzb verify")


def require_sealed(keys: SealKeys, head: Seal, macs: Iterable[bytes]) -> None:
    """Raise `LedgerCorrupt` where the last batch has no right MAC."""
    if not keys.sealed(head, macs):
        raise LedgerCorrupt(
            f"the last batch, number {head.batch}, has no MAC under any of JZB_SEAL__KEYS: these are not the keys of"
            " these books, or somebody else has written to them. Nothing is booked on top of it: run `jzb verify`"
            " (docs/seals.md)"
        )


class Reading:
    """What a batch has to read: asked for, then learnt."""

    def __init__(self, connection: Connection, platform: str, missing: Missing) -> None:
        self._connection = connection
        self._platform = platform
        self._missing = missing
        self._operations = connection.cursor()
        self._parts = connection.cursor()
        self._holds = connection.cursor()
        self._accounts = connection.cursor()

    async def send(self) -> None:
        """Send the questions. Does not wait."""
        missing = self._missing
        scope = {
            "platform": self._platform,
            "requests": arrays.texts(missing.requests),
            "ids": arrays.ids(missing.ids),
            "names": arrays.texts(account.name for account in missing.accounts),
            "drawn": arrays.texts(missing.drawn),
        }
        if missing.requests or missing.ids:
            await self._operations.execute(statements.OPERATIONS, scope)
        if missing.ids:
            await self._parts.execute(statements.PARTS, scope)
            await self._holds.execute(statements.HOLDS, scope)
        if missing.ids or missing.accounts or missing.drawn:
            await self._accounts.execute(statements.ACCOUNTS, scope)

    async def learn(self, memory: Memory) -> None:
        """Wait for the answers and take them in."""
        missing = self._missing
        repeated: set[UUID] = set()
        if missing.requests or missing.ids:
            for row in await self._operations.fetchall():
                operation = operation_from_row(row)
                memory.known.add(operation)
                if operation.id not in missing.ids:
                    repeated.add(operation.id)
        if missing.ids:
            for row in await self._parts.fetchall():
                memory.learn_part(row[0], part_from_row(row[1:]))
            for operation_id, part, kind, owner, ref, amount_fen in await self._holds.fetchall():
                memory.learn_hold(missing, operation_id, part, Hold(Account(KINDS[kind], owner, ref), amount_fen))
        if missing.ids or missing.accounts or missing.drawn:
            for kind, owner, ref, balance_fen, held_fen in await self._accounts.fetchall():
                memory.learn_balance(Account(KINDS[kind], owner, ref), balance_fen, held_fen)
            memory.learn_absent(missing)
        if repeated:
            # A request id that comes again is rare enough for a second round trip: the rest of its operation.
            rest = Reading(self._connection, self._platform, Missing(ids=repeated))
            await rest.send()
            await rest.learn(memory)


async def send(connection: Connection, writes: Sequence[Write]) -> None:
    """Send what `encode` made. Does not wait."""
    for statement, parameters in writes:
        cursor = psycopg.AsyncRawCursor if statement is statements.WRITE else psycopg.AsyncCursor
        await cursor(connection).execute(statement, parameters)


def encode(
    platform: str, memory: Memory, rows: Rows, keys: SealKeys | None = None, encrypt: Encrypt | None = None
) -> list[Write]:
    """What a batch adds, to be sent in this order: empty when it adds nothing, and as a rule one statement.

    Without ``keys`` it has no MACs, without ``encrypt`` no answers of the bank. From here on the memory takes its
    balances for written.
    """
    writes: list[Write] = []
    for operation_id, member in rows.members:
        values = [platform, member.member_id, member.sub_account, member.property, member.is_open, member.same_name]
        writes.append((statements.UPSERT_MEMBER, [*values, keys.of_member(member) if keys else b""]))
        writes.append((statements.INSERT_MEMBERSHIP, [*values, operation_id, memory.known.now]))
    for card in rows.cards_new:
        values = [
            *(platform, card.card_id, card.member_id, card.key_id, card.digest, card.sealed, card.masked),
            *(card.bank_type, card.branch_name, card.cnaps_no, card.super_bank_no),
            *(card.checked_by.value, card.serial, card.state.value, card.wrong, card.pay_in_fen, card.state.value),
        ]
        writes.append((statements.INSERT_CARD, values))
    for change in rows.cards:
        named = {
            "platform": platform,
            "card_id": change.card_id,
            "state": change.state.value if change.state else None,
            "wrong": change.wrong,
            "life_s": change.life_s,
            "pay_in_fen": change.pay_in_fen,
            "branch_name": change.branch_name,
            "cnaps_no": change.cnaps_no,
            "super_bank_no": change.super_bank_no,
        }
        writes.append((statements.UPDATE_CARD, named))
    for operation_id, adjusted in rows.adjusted:
        closing = {"platform": platform, "operation_id": operation_id, **adjusted._asdict()}
        writes.append((statements.CLOSE_BREAK, closing))
    # Every step that does anything has an event.
    if rows.events:
        added = _added(rows)
        leaves = seals.leaves(_all_sealed(rows, added))
        memory.sealed = seals.follow(memory.sealed, platform, memory.known.now, leaves)
        mac = keys.of_seal(memory.sealed) if keys else b""
        seal = (memory.sealed.batch, leaves, memory.sealed.digest, mac)
        columns = [*_columns(memory, rows, added, encrypt), _macs(rows, keys)]
        writes.append((statements.WRITE, [platform, memory.known.now, rows.cleared_through, *seal, *columns]))
        memory.written()
    return writes


def _added(rows: Rows) -> tuple[list[seals.Row], ...]:
    """What the batch adds to each table of the journal, row by row: the operation, then all that is sealed."""
    return (
        [
            (id_, part, d.serial, d.payer, d.payee, d.amount_fen, d.fee_fen, d.corrects, d.order_no)
            for id_, part, d in rows.transactions
        ],
        [(id_, part, hold.account.name, hold.amount_fen) for id_, part, hold in rows.holds],
        [(id_, part, verdict, str(bank_day), serial) for id_, part, verdict, bank_day, serial in rows.resolutions],
        [(id_, part, no, p.debit.name, p.credit.name, p.amount_fen) for id_, part, no, p in rows.legs],
        [(id_, c.state, c.reason, c.bank_code, c.bank_message, said.hex()) for id_, c, said in rows.events],
        [(id_, m.member_id, m.sub_account, m.property, m.is_open, m.same_name) for id_, m in rows.members],
    )


def _all_sealed(rows: Rows, added: Sequence[list[seals.Row]]) -> list[list[seals.Row]]:
    """What is sealed of each table. A resolution has the bank's serial only where there is one: so seals from before
    it was kept still hold.
    """
    tables = [[_sealed(o) for o in rows.operations_new.values()], *added]
    resolutions = seals.TABLES.index("resolution")
    tables[resolutions] = [row if row[-1] else row[:-1] for row in tables[resolutions]]
    return tables


def _sealed(o: Operation) -> seals.Row:
    """What is sealed of a new operation: what it keeps even if it is released and tried again.

    Who asked for it comes last, and only where somebody did: so seals from before callers were kept still hold.
    """
    who = (o.caller, o.person) if o.caller or o.person else ()
    amounts = (o.amount_fen, o.fee_fen)
    return (o.id, o.request_id, o.fingerprint.hex(), o.kind, o.payer, o.payee, o.order_no, *amounts, *who)


def _columns(memory: Memory, rows: Rows, added: Sequence[Sequence[seals.Row]], encrypt: Encrypt | None) -> list[str]:
    ids, numbers, texts, hexes = arrays.ids, arrays.numbers, arrays.texts, arrays.hexes
    changed = [memory.book.balances[account] for account in sorted(memory.book.touched)]
    stored = [balance for balance in changed if balance.is_stored]
    others = [balance for balance in changed if not balance.is_stored]
    new, moved = list(rows.operations_new.values()), list(rows.operations_changed.values())
    reopened = [operation if operation.id in rows.reopened else None for operation in moved]
    asked = {operation_id: in_s for operation_id, in_s in rows.next_ask_in_s.items() if in_s is not None}
    return [
        arrays.texts(b.account.name for b in stored),
        arrays.numbers(b.balance_fen - b.written_fen for b in stored),
        arrays.numbers(b.held_fen - b.written_held_fen for b in stored),
        arrays.texts(b.account.name for b in others),
        arrays.texts(b.account.kind for b in others),
        arrays.texts(b.account.owner for b in others),
        arrays.texts(b.account.ref for b in others),
        arrays.numbers(b.account.floor for b in others),
        arrays.numbers(b.balance_fen for b in others),
        arrays.numbers(b.held_fen for b in others),
        *_identity(new),
        *_standing(new),
        arrays.ids(o.id for o in moved),
        arrays.texts(o and o.serial for o in reopened),
        arrays.texts(o and o.trace_id for o in reopened),
        arrays.texts(o and o.plan_text for o in reopened),
        *_standing(moved),
        arrays.ids(asked),
        arrays.seconds(asked.values()),
        arrays.ids(o.id for o in moved if o.id not in asked),
        *_turned(added[0], (ids, numbers, texts, texts, texts, numbers, numbers, numbers, texts)),
        *_turned(added[1], (ids, numbers, texts, numbers)),
        *_turned(added[2], (ids, numbers, texts, texts, texts)),
        *_turned(added[3], (ids, numbers, numbers, texts, texts, numbers)),
        *_turned(rows.references, (ids, texts, texts)),
        *_turned(rows.bookings, (ids, arrays.days, texts)),
        *_turned(_kept(rows, encrypt), (arrays.digests, texts, arrays.digests, arrays.digests)),
        *_turned(added[4], (ids, texts, texts, texts, texts, hexes)),
    ]


def _kept(rows: Rows, encrypt: Encrypt | None) -> list[tuple[bytes, str, bytes, bytes]]:
    """The bank's answers as they are kept: none where nothing can be encrypted."""
    if encrypt is None:
        return []
    return [
        (one.digest, *(encrypt(one.digest, one.signed) if one.signed else ("", b"")), one.parts) for one in rows.answers
    ]


def _macs(rows: Rows, keys: SealKeys | None) -> str:
    """The MAC of each event that opens an operation; of the others none."""
    if keys is None:
        return arrays.hexes("" for _ in rows.events)
    openings = map(rows.openings.get, range(len(rows.events)))
    return arrays.digests(b"" if operation is None else keys.of_opening(operation) for operation in openings)


def _turned(rows: Sequence[seals.Row], kinds: Sequence[Callable[[Iterable[Any]], str]]) -> list[str]:
    """Rows as columns."""
    columns: Iterable[Iterable[Any]] = zip(*rows, strict=True) if rows else [()] * len(kinds)
    return [column_of(values) for column_of, values in zip(kinds, columns, strict=True)]


def _identity(found: Sequence[Operation]) -> list[str]:
    """What never changes of an operation."""
    return [
        arrays.ids(o.id for o in found),
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
        arrays.texts(o.caller for o in found),
        arrays.texts(o.person for o in found),
    ]


def _standing(found: Sequence[Operation]) -> list[str]:
    """How an operation stands after the batch."""
    return [
        arrays.texts(o.state for o in found),
        arrays.texts(o.reason for o in found),
        arrays.texts(o.message for o in found),
        arrays.texts(json.dumps(o.breach) if o.breach else None for o in found),
        arrays.texts(o.bank_code for o in found),
        arrays.texts(o.bank_message for o in found),
        arrays.texts(o.bank_serial for o in found),
        arrays.days(o.bank_day for o in found),
        arrays.numbers(o.query_attempts for o in found),
        arrays.numbers(o.not_found for o in found),
    ]


def operation_from_row(row: Sequence[Any]) -> Operation:
    """An operation from its columns in the order of the fields, whoever read them."""
    return Operation._make((*row[:STATE], STATES[row[STATE]], *row[STATE + 1 :]))


def part_from_row(row: Sequence[Any]) -> Part:
    """A transaction, joined with its resolution, from its columns in the order of the fields."""
    return Part._make((*row[:PART_STATE], PART_STATES[row[PART_STATE]], *row[PART_STATE + 1 :]))


def full_operation_from_row(row: Sequence[Any]) -> FullOperation:
    """An operation's columns, then its parts as `ledger.statements.PARTS_OF` has them."""
    parts = []
    for one in row[-1] or ():
        bank_day = one[PART_BANK_DAY]
        one[PART_BANK_DAY] = date.fromisoformat(bank_day) if bank_day else None
        parts.append(part_from_row(one))
    return FullOperation(operation_from_row(row[:-1]), tuple(parts))
