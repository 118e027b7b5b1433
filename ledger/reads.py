"""What can be asked of the mirror. Reads never lock and never cache: an answer is the last commit's.

Amounts are fen. ``available`` is withdrawable plus waiting, holds taken off; frozen and escrow are sums over order
pockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CompoundSelect,
    Interval,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger import accounts, copies
from ledger.accounts import CONTROLS, OWN, POCKETS, Account, Kind, day_text
from ledger.coalesce import Coalesced
from ledger.comparison import MOTION, POSITION, Comparison, Motion, Position
from ledger.database import reading, seconds
from ledger.errors import LedgerBehind, LedgerCorrupt
from ledger.findings import Finding, Summary
from ledger.journal import operation_from_row, whole_from_row
from ledger.lookups import Lookups, MemberBalance
from ledger.operations import Member, Operation, Part, PartState, State, Whole
from ledger.schema import (
    account,
    comparison,
    due,
    event,
    hold,
    leg,
    member,
    operation,
    platform,
    reference,
    resolution,
    seal,
    transaction,
)
from ledger.seals import Seal
from ledger.statements import WHOLES
from ledger.ties import NAMED, TIES, Tie, ties_of
from ledger.verify import audit


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One kind of account in the trial balance. ``balance_fen`` is credits less debits; all rows sum to zero."""

    kind: Kind
    accounts: int
    debits_fen: int
    credits_fen: int
    balance_fen: int
    held_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment that can be refunded, and what is left of it in fen, pending refunds counted as gone."""

    serial: str
    operation: Operation
    part: Part
    refundable_fen: int
    refundable_fee_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order number's pre-payment or freeze, and the amounts of what was done under that number, by kind.

    ``payer`` and ``payee`` are the order's, also where the operation pre-paid several orders at once.
    """

    operation: Operation
    payer: str
    payee: str
    done_fen: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingDay:
    """What waits for a bank day to be cleared: owed by channels, and credited to members."""

    bank_day: date
    in_transit_fen: int
    waiting_fen: int
    held_fen: int


@dataclass(frozen=True, slots=True)
class LateSpender:
    """A member who gave ``spent_fen`` of the money that waited for a bank day on a later one, and has ``held_fen`` held
    that it may still give.
    """

    member: Member
    spent_fen: int
    held_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended:
    """What of a transfer lies in suspense, in fen: what can still be cleared, and what is held for clearings."""

    transfer: str
    left_fen: int
    held_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InDoubt:
    """Money whose fate only the bank knows. ``oldest_s`` is how long ago the oldest operation began, in seconds by the
    database's clock; 0 without any.
    """

    operations: int
    amount_fen: int
    oldest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """An operation that is to be asked about, as the database leased it.

    The database wrote the time of the next question, so it alone says how far off that is: ``due_in_s`` is how many
    seconds too early the operation was leased, 0 or less when its time had come. ``at`` is the time of the lease, by
    the clock that wrote the operation's own times.
    """

    operation: Operation
    due_in_s: float
    at: datetime


_BUT_ASKED = [cast(column, Text).label("plan_text") if column is operation.c.plan else column for column in operation.c]
_OPERATION = [*_BUT_ASKED, due.c.ask_at.label("next_ask_at")]
_DUE = and_(due.c.platform == operation.c.platform, due.c.operation_id == operation.c.id)


_OPENED = text("""
    SELECT substring(evidence FOR 32) AS digest
    FROM (
      SELECT seq, evidence, lag(state) OVER (ORDER BY seq) AS before
      FROM event
      WHERE platform = :platform AND operation_id = :operation_id
    ) told
    WHERE before IS NULL OR before = 'released'
    ORDER BY seq DESC
    LIMIT 1
""")
"""What an operation was last opened with: one that was released is opened anew."""


_LATE_SPENDERS = text("""
    WITH late AS (
      SELECT m.*,
        (
          SELECT coalesce(sum(l.amount_fen), 0)::bigint
          FROM (
            (
              SELECT id FROM operation
              WHERE payer = m.member_id AND payer <> '' AND platform = :platform
              ORDER BY id DESC
              LIMIT :newest
            )
            UNION
            -- An operation of several payers names them in its parts alone.
            (
              SELECT operation_id FROM reference
              WHERE value = m.member_id AND kind = 'member' AND platform = :platform
              ORDER BY operation_id DESC
              LIMIT :newest
            )
          ) spent
          JOIN leg l ON l.operation_id = spent.id AND l.platform = :platform
          JOIN resolution r USING (operation_id, part, platform)
          WHERE r.bank_day > :bank_day AND l.debit LIKE 'waiting:' || m.sub_account || ':%'
            AND split_part(l.debit, ':', 3) <= :ref AND l.credit <> 'withdrawable:' || m.sub_account
        ) AS spent_fen,
        (
          SELECT coalesce(sum(a.held_fen), 0)::bigint
          FROM account a
          WHERE a.owner = m.sub_account AND a.kind = 'waiting' AND a.platform = :platform AND a.ref <= :ref
        ) AS held_fen
      FROM member m
      WHERE m.platform = :platform AND m.sub_account IN (
        SELECT owner FROM account WHERE platform = :platform AND kind = 'waiting' AND ref > :ref AND balance_fen > 0
      )
    )
    SELECT * FROM late WHERE spent_fen > 0 OR held_fen > 0 ORDER BY member_id
""")


def _operations() -> Select[Any]:
    return select(*_OPERATION).select_from(operation.outerjoin(due, _DUE))


CATCH_UP = "CATCH_UP"
"""The kind of the operations that take over what the bank did while the books were lost; their plans tell of it."""


SPENDS_READ = 10_000
"""So many of a member's newest operations are looked at for what it spent on its latest bank day."""


class Reads:
    """One platform's reads."""

    def __init__(self, engine: AsyncEngine, lookups: Lookups) -> None:
        self._engine = engine
        self._lookups = lookups
        self._platform = lookups.platform
        self._by_request: Coalesced[str, Operation] = Coalesced(self._certainly_by_request)

    async def _rows(self, query: Select[Any] | Any, **values: Any) -> Sequence[Any]:
        async with reading(self._engine) as connection:
            return (await connection.execute(query, values)).mappings().all()

    async def member(self, member_id: str) -> Member | None:
        """The member with this code, or None."""
        found = await self.members([member_id])
        return found.get(member_id)

    async def members(self, member_ids: Collection[str]) -> dict[str, Member]:
        """The members among these codes, by code."""
        return await self._lookups.members.get(member_ids)

    async def members_by_sub_account(self, sub_accounts: Collection[str]) -> dict[str, Member]:
        """The members behind these sub-account numbers, by number."""
        rows = await self._rows(
            select(member).where(member.c.platform == self._platform, member.c.sub_account.in_(list(sub_accounts)))
        )
        return {row["sub_account"]: _member(row) for row in rows}

    async def members_page(self, after: str, limit: int) -> list[Member]:
        """Up to ``limit`` members whose code sorts after ``after``."""
        rows = await self._rows(
            select(member)
            .where(member.c.platform == self._platform, member.c.member_id > after)
            .order_by(member.c.member_id)
            .limit(limit)
        )
        return [_member(row) for row in rows]

    async def ties(
        self, member_: Member, *, limited_since: date, returned_since: date, but: UUID | None = None
    ) -> list[Tie]:
        """What still needs a member, one operation apart. What could be given back counts when the bank has booked it
        since ``limited_since``, a withdrawal that could return since ``returned_since``.
        """
        rows = await self._rows(
            TIES,
            platform=self._platform,
            member_id=member_.member_id,
            sub_account=member_.sub_account,
            limited_since=limited_since,
            returned_since=returned_since,
            but=but,
            first=NAMED,
        )
        return ties_of(rows)

    async def under_way(self, *member_ids: str) -> list[Operation]:
        """The operations that are not final and name one of these members themselves, oldest first."""
        rows = await self._rows(
            select(*_OPERATION)
            .select_from(due.join(operation, _DUE))
            .where(
                due.c.platform == self._platform,
                or_(operation.c.payer.in_(member_ids), operation.c.payee.in_(member_ids)),
            )
            .order_by(operation.c.id)
        )
        return [_operation(row) for row in rows]

    async def operation(
        self, *, operation_id: UUID | None = None, request_id: str | None = None, serial: str | None = None
    ) -> Operation | None:
        """The operation named by exactly one of the three, or None."""
        named = {operation.c.id: operation_id, operation.c.request_id: request_id, operation.c.serial: serial}
        conditions = [column == value for column, value in named.items() if value is not None]
        if len(conditions) != 1:
            raise ValueError("name an operation by its id, its request id or its serial")
        rows = await self._rows(_operations().where(operation.c.platform == self._platform, *conditions))
        return _operation(rows[0]) if rows else None

    async def first_with_fee(self, kind: str) -> Operation | None:
        """The oldest operation of a kind that has a fee and has moved money, or may yet."""
        rows = await self._rows(
            _operations()
            .where(
                operation.c.platform == self._platform,
                operation.c.kind == kind,
                operation.c.fee_fen > 0,
                operation.c.state.not_in([State.REFUSED.value, State.RELEASED.value]),
            )
            .order_by(operation.c.id)
            .limit(1)
        )
        return _operation(rows[0]) if rows else None

    async def operation_of_request(self, request_id: str) -> Operation | None:
        """The operation of this request id, for many callers in one query; None when there certainly is none.

        Raises `LedgerBehind` where books that are older than the bank do not have it: that proves nothing.
        """
        return (await self._by_request.get([request_id])).get(request_id)

    async def _certainly_by_request(self, request_ids: Collection[str]) -> dict[str, Operation]:
        found = await self.operations_by_request(request_ids)
        if len(found) < len(request_ids):
            behind_since = await copies.behind_since(self._engine, self._platform)
            if behind_since is not None:
                raise LedgerBehind.restored(behind_since)
        return found

    async def operations_by_request(self, request_ids: Collection[str]) -> dict[str, Operation]:
        """The operations under these request ids, by request id."""
        rows = await self._rows(
            _operations().where(operation.c.platform == self._platform, operation.c.request_id.in_(list(request_ids)))
        )
        return {row["request_id"]: _operation(row) for row in rows}

    async def plan(self, found: Operation) -> dict[str, Any]:
        """The plan of an operation, to be carried on. Raises `LedgerCorrupt` when it is not the one that was sealed."""
        rows = await self._rows(_OPENED, platform=self._platform, operation_id=found.id)
        sealed = rows[0]["digest"] if rows else b""
        # What was opened before plans were sealed has none.
        if rows and sealed in (b"", found.plan_digest):
            return found.plan
        raise LedgerCorrupt(f"the plan or the serial of {found.id} is not the one it was opened with")

    async def parts(self, operation_ids: Collection[UUID]) -> dict[UUID, list[Part]]:
        """The transactions of these operations, in order."""
        rows = await self._rows(
            _parts().where(
                transaction.c.platform == self._platform, transaction.c.operation_id.in_(list(operation_ids))
            )
        )
        found: dict[UUID, list[Part]] = {}
        for row in rows:
            found.setdefault(row["operation_id"], []).append(_part(row))
        return found

    async def wholes(self, operation_ids: Collection[UUID]) -> dict[UUID, Whole]:
        """These operations with their parts, by id; what one answer shows must be read by one statement."""
        rows = await self._rows(text(WHOLES), platform=self._platform, ids=list(operation_ids))
        wholes = (whole_from_row(list(row.values())) for row in rows)
        return {whole.operation.id: whole for whole in wholes}

    async def payment(self, serial: str) -> Payment | None:
        """The payment that the bank knows by this serial (CnsmrSeqNo or row serial), whatever its state."""
        rows = await self._rows(
            _parts()
            .where(transaction.c.platform == self._platform, transaction.c.serial == serial)
            .order_by(None)
            .order_by(transaction.c.part.desc())
            .limit(1)
        )
        if not rows:
            return None
        owner = await self.operation(operation_id=rows[0]["operation_id"])
        if owner is None:
            return None
        left = await self.left([accounts.refundable(serial), accounts.refundable_fee(serial)])
        return Payment(
            serial=serial,
            operation=owner,
            part=_part(rows[0]),
            refundable_fen=left[accounts.refundable(serial).name],
            refundable_fee_fen=left[accounts.refundable_fee(serial).name],
        )

    async def operations_naming(self, serial: str, kind: str) -> list[Operation]:
        """The operations of this kind with a part under this serial, oldest first."""
        naming = select(transaction.c.operation_id).where(
            transaction.c.platform == self._platform,
            transaction.c.serial == serial,
            transaction.c.serial != literal_column("''"),
        )
        rows = await self._rows(
            _operations()
            .where(operation.c.platform == self._platform, operation.c.id.in_(naming), operation.c.kind == kind)
            .order_by(operation.c.id)
        )
        return [_operation(row) for row in rows]

    async def pending_refunds(self, serial: str) -> list[Part]:
        """The transactions that hold a part of this payment's refundable amount and are not final."""
        rows = await self._rows(
            _parts()
            .join(
                hold,
                and_(
                    hold.c.platform == transaction.c.platform,
                    hold.c.operation_id == transaction.c.operation_id,
                    hold.c.part == transaction.c.part,
                ),
            )
            .where(
                hold.c.platform == self._platform,
                hold.c.account == accounts.refundable(serial).name,
                resolution.c.verdict.is_(None),
            )
        )
        return [_part(row) for row in rows]

    async def left(self, wanted: Collection[Account]) -> dict[str, int]:
        """What each of these accounts can still give, by name; an account that was never touched gives nothing."""
        rows = await self._rows(
            select(account.c.name, (account.c.balance_fen - account.c.held_fen).label("left")).where(
                account.c.platform == self._platform, account.c.name.in_([a.name for a in wanted])
            )
        )
        found = {row["name"]: row["left"] for row in rows}
        return {a.name: found.get(a.name, 0) for a in wanted}

    async def order(self, order_no: str, kinds: Collection[str]) -> Order | None:
        """The operation that took this order number: the last one of these kinds that the bank did not refuse, neither
        whole nor the part that it was for.

        An operation has its own order number, or one for each of its parts (batches).
        """
        rows = await self._rows(
            _operations()
            .where(
                operation.c.platform == self._platform,
                operation.c.id.in_(self._under(order_no)),
                operation.c.kind.in_(list(kinds)),
                operation.c.state.not_in([State.REFUSED.value, State.RELEASED.value]),
            )
            .order_by(operation.c.id.desc())
        )
        taken = None
        for opened in map(_operation, rows):
            if opened.order_no == order_no:
                taken = opened, opened.payer, opened.payee
                break
            parts = (await self.parts([opened.id])).get(opened.id, [])
            stands = (part for part in parts if part.order_no == order_no and part.state is not PartState.VOIDED)
            if (part := next(stands, None)) is not None:
                taken = opened, part.payer, part.payee
                break
        if taken is None:
            return None
        opened, payer, payee = taken
        own_order_no = func.coalesce(func.nullif(transaction.c.order_no, literal_column("''")), operation.c.order_no)
        sums = await self._rows(
            select(operation.c.kind, func.sum(transaction.c.amount_fen).label("fen"))
            .join_from(
                transaction,
                operation,
                and_(operation.c.platform == transaction.c.platform, operation.c.id == transaction.c.operation_id),
            )
            .join(
                resolution,
                and_(
                    resolution.c.platform == transaction.c.platform,
                    resolution.c.operation_id == transaction.c.operation_id,
                    resolution.c.part == transaction.c.part,
                    resolution.c.verdict == PartState.POSTED.value,
                ),
            )
            .where(
                transaction.c.platform == self._platform,
                operation.c.id.in_(self._under(order_no)),
                own_order_no == order_no,
            )
            .group_by(operation.c.kind)
        )
        return Order(
            operation=opened, payer=payer, payee=payee, done_fen={row["kind"]: int(row["fen"]) for row in sums}
        )

    async def used_by(self, taken: Account, *, payer: str = "") -> Operation | None:
        """The operation that has the one use of an order number, or of ``payer``; ``taken`` is the account that stands
        for it.
        """
        part = and_(
            hold.c.platform == operation.c.platform,
            hold.c.operation_id == operation.c.id,
            hold.c.account == taken.name,
        )
        ended = and_(
            resolution.c.platform == hold.c.platform,
            resolution.c.operation_id == hold.c.operation_id,
            resolution.c.part == hold.c.part,
        )
        rows = await self._rows(
            _operations()
            .join(hold, part)
            .outerjoin(resolution, ended)
            .where(
                operation.c.platform == self._platform,
                and_(operation.c.payer == payer, operation.c.payer != literal_column("''"))
                if payer
                else operation.c.id.in_(self._under(taken.ref)),
                resolution.c.verdict.is_distinct_from(PartState.VOIDED.value),
            )
            .limit(1)
        )
        return _operation(rows[0]) if rows else None

    async def known_under(
        self, order_nos: Collection[str], kinds: Collection[str], before: UUID
    ) -> list[tuple[str, str, int, date | None, int]]:
        """Parts of these kinds under these order numbers, as kind, order number, amount in fen, bank day and how many:
        those posted, and without a bank day those still open of operations older than ``before``.
        """
        order_no = func.coalesce(func.nullif(transaction.c.order_no, literal_column("''")), operation.c.order_no)
        rows = await self._rows(
            select(operation.c.kind, order_no, transaction.c.amount_fen, resolution.c.bank_day, func.count())
            .join_from(
                transaction,
                operation,
                and_(operation.c.platform == transaction.c.platform, operation.c.id == transaction.c.operation_id),
            )
            .outerjoin(
                resolution,
                and_(
                    resolution.c.platform == transaction.c.platform,
                    resolution.c.operation_id == transaction.c.operation_id,
                    resolution.c.part == transaction.c.part,
                ),
            )
            .where(
                transaction.c.platform == self._platform,
                operation.c.id.in_(self._under(*order_nos)),
                operation.c.kind.in_(list(kinds)),
                order_no.in_(list(order_nos)),
                or_(
                    resolution.c.verdict == PartState.POSTED.value,
                    and_(resolution.c.verdict.is_(None), operation.c.id < before),
                ),
            )
            .group_by(operation.c.kind, order_no, transaction.c.amount_fen, resolution.c.bank_day)
        )
        return [tuple(row.values()) for row in rows]

    async def payments_under(
        self, order_nos: Collection[str], kinds: Collection[str]
    ) -> list[tuple[str, str, int, str]]:
        """Operations of these kinds that themselves have one of these order numbers and were not refused, as kind,
        order number, amount in fen, and the bank's serial where it has given one.
        """
        rows = await self._rows(
            select(operation.c.kind, operation.c.order_no, operation.c.amount_fen, operation.c.bank_serial).where(
                operation.c.platform == self._platform,
                operation.c.order_no.in_(list(order_nos)),
                operation.c.order_no != literal_column("''"),
                operation.c.kind.in_(list(kinds)),
                operation.c.state.not_in([State.REFUSED.value, State.RELEASED.value]),
            )
        )
        return [tuple(row.values()) for row in rows]

    async def order_sides(self, order_nos: Collection[str], kinds: Collection[str]) -> dict[str, tuple[str, str]]:
        """Payer and payee of these orders by number, as `order` finds them; a number nobody has used is missing."""
        order_no = func.coalesce(func.nullif(transaction.c.order_no, literal_column("''")), operation.c.order_no)
        rows = await self._rows(
            select(order_no.label("order_no"), transaction.c.payer, transaction.c.payee)
            .join_from(
                transaction,
                operation,
                and_(operation.c.platform == transaction.c.platform, operation.c.id == transaction.c.operation_id),
            )
            .outerjoin(
                resolution,
                and_(
                    resolution.c.platform == transaction.c.platform,
                    resolution.c.operation_id == transaction.c.operation_id,
                    resolution.c.part == transaction.c.part,
                ),
            )
            .where(
                resolution.c.verdict.is_distinct_from(PartState.VOIDED.value),
                transaction.c.platform == self._platform,
                operation.c.id.in_(self._under(*order_nos)),
                operation.c.kind.in_(list(kinds)),
                operation.c.state.not_in([State.REFUSED.value, State.RELEASED.value]),
                order_no.in_(list(order_nos)),
            )
            .order_by(operation.c.id)
        )
        return {row["order_no"]: (row["payer"], row["payee"]) for row in rows}

    def _under(self, *order_nos: str) -> CompoundSelect[Any]:
        """The ids of the operations that have one of these order numbers, themselves or in a part."""
        # The literals let the partial indexes serve a prepared statement.
        return union_all(
            select(operation.c.id).where(
                operation.c.platform == self._platform,
                operation.c.order_no.in_(order_nos),
                operation.c.order_no != literal_column("''"),
            ),
            select(reference.c.operation_id).where(
                reference.c.platform == self._platform,
                reference.c.kind == literal_column("'order'"),
                reference.c.value.in_(order_nos),
            ),
        )

    async def credited(self, operation_id: UUID) -> dict[int, list[tuple[Account, int]]]:
        """What each posted part of an operation has credited: accounts that hold money, and fen, by part."""
        rows = await self._rows(
            select(leg.c.part, account.c.kind, account.c.owner, account.c.ref, leg.c.amount_fen)
            .join_from(leg, account, and_(account.c.platform == leg.c.platform, account.c.name == leg.c.credit))
            .where(
                leg.c.platform == self._platform,
                leg.c.operation_id == operation_id,
                account.c.kind.not_in([kind.value for kind in CONTROLS]),
            )
            .order_by(leg.c.part, leg.c.leg)
        )
        found: dict[int, list[tuple[Account, int]]] = {}
        for row in rows:
            credit = Account(Kind(row["kind"]), row["owner"], row["ref"])
            found.setdefault(row["part"], []).append((credit, row["amount_fen"]))
        return found

    async def pocket(self, pocket: Account) -> tuple[int, int]:
        """An account's balance and what of it is held, in fen."""
        rows = await self._rows(
            select(account.c.balance_fen, account.c.held_fen).where(
                account.c.platform == self._platform, account.c.name == pocket.name
            )
        )
        return (rows[0]["balance_fen"], rows[0]["held_fen"]) if rows else (0, 0)

    async def balances(self, sub_accounts: Collection[str]) -> dict[str, MemberBalance]:
        """The balances of these sub-accounts, by number; one without money has zeros."""
        found = await self._lookups.balances.get(sub_accounts)
        return {sub: found.get(sub) or MemberBalance(sub_account=sub) for sub in sub_accounts}

    async def balances_of(self, member_ids: Collection[str]) -> dict[str, MemberBalance]:
        """The balances of the members among these codes, by code."""
        return await self._lookups.balances_of.get(member_ids)

    async def position(self, sub_account: str, today: date) -> Position:
        """The accounts of a sub-account, before the bank is asked about it; those of the platform without a number."""
        rows = await self._rows(
            text(POSITION),
            platform=self._platform,
            owner=sub_account,
            today=day_text(today),
            kinds=[kind.value for kind in (POCKETS if sub_account else OWN)],
        )
        found = {Kind(row["kind"]): row for row in rows if row["kind"]}
        return Position(
            balance_fen={kind: row["balance_fen"] for kind, row in found.items()},
            held_fen={kind: row["held_fen"] for kind, row in found.items()},
            earlier_fen={kind: row["earlier_fen"] for kind, row in found.items()},
            clearing_is_due=rows[0]["clearing_is_due"],
            event=rows[0]["seq"] or 0,
            at=rows[0]["at"] or datetime.min.replace(tzinfo=UTC),
            now=rows[0]["now"],
        )

    async def motion(self, sub_account: str, member_id: str, since: Position) -> Motion:
        """What may have moved on the accounts of ``since`` by now, once the bank has answered."""
        rows = await self._rows(
            text(MOTION),
            platform=self._platform,
            owner=sub_account,
            member_id=member_id,
            event=since.event,
            at=since.at,
            kinds=[kind.value for kind in (POCKETS if sub_account else OWN)],
        )
        return Motion(
            {Kind(row["kind"]): row["taken_fen"] for row in rows}, {Kind(row["kind"]): row["given_fen"] for row in rows}
        )

    async def keep(self, compared: Comparison) -> None:
        """Keep a comparison with the bank as the last of its sub-account."""
        mirror, bank = compared.mirror, compared.bank
        put = insert(comparison).values(
            platform=self._platform,
            sub_account=compared.sub_account,
            account_kind=compared.kind or "",
            result=compared.result.value,
            compared_at=compared.compared_at,
            mirror_available_fen=mirror.available_fen,
            mirror_withdrawable_fen=mirror.withdrawable_fen,
            mirror_frozen_fen=mirror.frozen_fen,
            bank_available_fen=bank.available_fen,
            bank_withdrawable_fen=bank.withdrawable_fen,
            bank_frozen_fen=bank.frozen_fen,
            in_doubt_fen=compared.in_doubt_fen,
        )
        async with reading(self._engine) as connection:
            await connection.execute(
                put.on_conflict_do_update(
                    constraint="comparison_pk",
                    set_={column.name: put.excluded[column.name] for column in comparison.c},
                    where=put.excluded.compared_at >= comparison.c.compared_at,
                )
            )

    async def functional(self) -> dict[Kind, int]:
        """The balances of the platform's own accounts (fee, in-transit, own funds...) in fen, by kind."""
        rows = await self._rows(
            select(account.c.kind, func.sum(account.c.balance_fen).label("balance_fen"))
            .where(
                account.c.platform == self._platform,
                account.c.owner == "",
                account.c.kind.in_([kind.value for kind in OWN]),
            )
            .group_by(account.c.kind)
        )
        return {Kind(row["kind"]): int(row["balance_fen"]) for row in rows}

    def audit(self, noted: bytes = b"", unsealed: int = 0) -> AsyncGenerator[Finding | Summary, None]:
        """See `ledger.verify.audit`."""
        return audit(self._engine, self._platform, noted, unsealed)

    async def last_seal(self) -> Seal | None:
        """The end of the chain of seals, None when nothing is sealed yet."""
        rows = await self._rows(
            select(seal.c.batch, seal.c.at, seal.c.digest)
            .where(seal.c.platform == self._platform)
            .order_by(seal.c.batch.desc())
            .limit(1)
        )
        return Seal(rows[0]["batch"], rows[0]["at"], bytes(rows[0]["digest"])) if rows else None

    async def trial_balance(self) -> list[TrialRow]:
        """Debits and credits of the whole journal by kind of account; the balances sum to zero."""
        sides = union_all(
            select(
                leg.c.debit.label("name"), leg.c.amount_fen.label("debit_fen"), literal(0).label("credit_fen")
            ).where(leg.c.platform == self._platform),
            select(leg.c.credit, literal(0), leg.c.amount_fen).where(leg.c.platform == self._platform),
        ).subquery()
        totals = (
            select(
                sides.c.name,
                func.sum(sides.c.debit_fen).label("debits_fen"),
                func.sum(sides.c.credit_fen).label("credits_fen"),
            )
            .group_by(sides.c.name)
            .subquery()
        )
        rows = await self._rows(
            select(
                account.c.kind,
                func.count().label("accounts"),
                func.coalesce(func.sum(totals.c.debits_fen), 0).label("debits_fen"),
                func.coalesce(func.sum(totals.c.credits_fen), 0).label("credits_fen"),
                func.sum(account.c.balance_fen).label("balance_fen"),
                func.sum(account.c.held_fen).label("held_fen"),
            )
            .select_from(account.outerjoin(totals, totals.c.name == account.c.name))
            .where(account.c.platform == self._platform)
            .group_by(account.c.kind)
            .order_by(account.c.kind)
        )
        return [
            TrialRow(
                kind=Kind(row["kind"]),
                accounts=row["accounts"],
                debits_fen=int(row["debits_fen"]),
                credits_fen=int(row["credits_fen"]),
                balance_fen=int(row["balance_fen"]),
                held_fen=int(row["held_fen"]),
            )
            for row in rows
        ]

    async def last_event(self) -> int:
        """The newest cursor, 0 when nothing has happened yet."""
        rows = await self._rows(select(func.max(event.c.seq).label("seq")).where(event.c.platform == self._platform))
        return rows[0]["seq"] or 0

    async def cleared_through(self) -> date | None:
        """The last bank day that was cleared."""
        rows = await self._rows(select(platform.c.cleared_through).where(platform.c.platform == self._platform))
        return rows[0]["cleared_through"] if rows else None

    async def open_operations(self) -> dict[UUID, State]:
        """All operations that are not final."""
        rows = await self._rows(
            select(operation.c.id, operation.c.state)
            .select_from(due.join(operation, _DUE))
            .where(due.c.platform == self._platform)
        )
        return {row["id"]: State(row["state"]) for row in rows}

    async def caught_up(self, since: str) -> list[tuple[str, dict[str, Any]]]:
        """The members and the plans of the CATCH_UP operations of the copy of ``since``, as their plans have it."""
        rows = await self._rows(
            select(operation.c.payee, operation.c.plan)
            .where(
                operation.c.platform == self._platform,
                operation.c.kind == CATCH_UP,
                operation.c.plan["since"].as_string() == since,
            )
            .order_by(operation.c.id)
        )
        return [(row["payee"], row["plan"]) for row in rows]

    async def booked_since(self, at: datetime) -> tuple[set[str], list[tuple[str, Part]]]:
        """The bank's serials of all operations that moved on since; and of those whose parts have serials of their own,
        under each of which the bank books, the kind and the posted parts. Reads all operations.
        """
        moved = and_(operation.c.platform == self._platform, operation.c.updated_at >= at)
        other = transaction.alias("other")
        serials, parts = await asyncio.gather(
            self._rows(select(operation.c.bank_serial).where(moved, operation.c.bank_serial != "")),
            self._rows(
                _parts()
                .add_columns(operation.c.kind)
                .join(
                    operation,
                    and_(operation.c.platform == transaction.c.platform, operation.c.id == transaction.c.operation_id),
                )
                .where(
                    moved,
                    operation.c.kind != CATCH_UP,
                    resolution.c.verdict == PartState.POSTED.value,
                    exists().where(
                        other.c.platform == transaction.c.platform,
                        other.c.operation_id == transaction.c.operation_id,
                        other.c.serial.not_in(("", transaction.c.serial)),
                    ),
                    transaction.c.serial != "",
                )
            ),
        )
        return {row["bank_serial"] for row in serials}, [(row["kind"], _part(row)) for row in parts]

    async def pockets(self, sub_account: str, kinds: Collection[Kind] = POCKETS) -> dict[Account, int]:
        """The pockets of a sub-account that are not empty, and what each can still give, in fen. The platform's own
        accounts are without a sub-account.
        """
        rows = await self._rows(
            select(account.c.kind, account.c.ref, (account.c.balance_fen - account.c.held_fen).label("left")).where(
                account.c.platform == self._platform,
                account.c.owner == sub_account,
                account.c.kind.in_([kind.value for kind in kinds]),
                account.c.balance_fen > 0,
            )
        )
        return {Account(Kind(row["kind"]), sub_account, row["ref"]): row["left"] for row in rows}

    async def waiting_days(self) -> list[WaitingDay]:
        """The bank days with money that waits for clearing, oldest first."""
        rows = await self._rows(
            select(
                account.c.ref,
                _sum_of(account.c.balance_fen, Kind.IN_TRANSIT).label("in_transit_fen"),
                _sum_of(account.c.balance_fen, Kind.WAITING).label("waiting_fen"),
                _sum_of(account.c.held_fen, Kind.WAITING).label("held_fen"),
            )
            .where(
                account.c.platform == self._platform,
                account.c.kind.in_([Kind.WAITING.value, Kind.IN_TRANSIT.value]),
                account.c.balance_fen != 0,
            )
            .group_by(account.c.ref)
            .order_by(account.c.ref)
        )
        return [
            WaitingDay(
                bank_day=Account(Kind.WAITING, "", row["ref"]).day,
                in_transit_fen=-row["in_transit_fen"],
                waiting_fen=row["waiting_fen"],
                held_fen=row["held_fen"],
            )
            for row in rows
        ]

    async def waiting_pockets(self, until: date, limit: int) -> list[tuple[Account, int]]:
        """Pockets of bank days up to ``until`` that still hold money nobody has spoken for, and how much."""
        rows = await self._rows(
            select(account.c.owner, account.c.ref, (account.c.balance_fen - account.c.held_fen).label("left"))
            .where(
                account.c.platform == self._platform,
                account.c.kind == Kind.WAITING.value,
                account.c.ref <= f"{until:%Y%m%d}",
                account.c.balance_fen > account.c.held_fen,
            )
            .limit(limit)
        )
        return [(Account(Kind.WAITING, row["owner"], row["ref"]), row["left"]) for row in rows]

    async def late_spenders(self, bank_day: date) -> list[LateSpender]:
        """The members who gave money that waited for ``bank_day`` or an earlier day on a later bank day, or have some
        held that they may still give, and who have money waiting of a later day.
        """
        rows = await self._rows(
            _LATE_SPENDERS, platform=self._platform, bank_day=bank_day, ref=day_text(bank_day), newest=SPENDS_READ
        )
        return [LateSpender(_member(row), row["spent_fen"], row["held_fen"]) for row in rows]

    async def suspended(self, after: str, limit: int) -> list[Suspended]:
        """Up to ``limit`` transfers with money in suspense whose bank serial sorts after ``after``."""
        rows = await self._rows(
            select(account.c.ref, (account.c.balance_fen - account.c.held_fen).label("left"), account.c.held_fen)
            .where(
                account.c.platform == self._platform,
                account.c.kind == literal_column(f"'{Kind.SUSPENSE.value}'"),
                account.c.ref > after,
                account.c.balance_fen > 0,
            )
            .order_by(account.c.ref)
            .limit(limit)
        )
        return [Suspended(transfer=row["ref"], left_fen=row["left"], held_fen=row["held_fen"]) for row in rows]

    async def in_doubt(self, *, reserved_for_s: float, accepted_for_s: float) -> InDoubt:
        """How much money waits for the bank's word: after an unknown outcome; reserved longer than ``reserved_for_s``
        ago, by a process that has died since; or of an order that the bank took longer than ``accepted_for_s`` ago
        without having said how it ended.
        """
        age = func.extract("epoch", func.now() - operation.c.created_at)
        rows = await self._rows(
            select(
                func.count().label("operations"),
                func.coalesce(func.sum(operation.c.amount_fen), 0).label("amount_fen"),
                func.coalesce(func.max(age), 0).label("oldest_s"),
            )
            .select_from(due.join(operation, _DUE))
            .where(
                due.c.platform == self._platform,
                or_(
                    operation.c.state == State.UNKNOWN.value,
                    and_(operation.c.state == State.RESERVED.value, age > reserved_for_s),
                    and_(operation.c.state == State.ACCEPTED.value, age > accepted_for_s),
                ),
            )
        )
        row = rows[0]
        return InDoubt(
            operations=row["operations"], amount_fen=int(row["amount_fen"]), oldest_s=max(0.0, float(row["oldest_s"]))
        )

    async def lease_due(self, limit: int, lease_s: float, operation_id: UUID | None = None) -> list[Leased]:
        """Take up to ``limit`` open operations whose time has come, for ``lease_s`` seconds.

        Another process, or this one again, gets them only after that. With ``operation_id`` only that one is taken, its
        time come or not, and after whoever has its row locked. ``next_ask_at`` is as it was before the lease.
        """
        free = select(due.c.platform, due.c.operation_id, due.c.ask_at).where(due.c.platform == self._platform)
        if operation_id is None:
            free = free.where(due.c.ask_at <= func.now()).order_by(due.c.ask_at).limit(limit)
        else:
            free = free.where(due.c.operation_id == operation_id)
        was = free.with_for_update(skip_locked=operation_id is None).cte("was")
        leased = (
            due.update()
            .where(due.c.platform == was.c.platform, due.c.operation_id == was.c.operation_id)
            .values(ask_at=func.now() + literal(timedelta(seconds=lease_s), Interval()))
            .returning(was.c.platform, was.c.operation_id, was.c.ask_at)
            .cte("leased")
        )
        rows = await self._rows(
            select(
                *_BUT_ASKED,
                leased.c.ask_at.label("next_ask_at"),
                seconds(leased.c.ask_at - func.now()).label("due_in_s"),
                func.now().label("at"),
            ).join(leased, and_(operation.c.platform == leased.c.platform, operation.c.id == leased.c.operation_id))
        )
        return [Leased(operation=_operation(row), due_in_s=row["due_in_s"], at=row["at"]) for row in rows]


class Numbers:
    """The numbers from which serials are made, unique across processes and restarts: taken from a sequence in
    blocks.
    """

    BLOCK = 100

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._left: list[int] = []

    async def take(self) -> int:
        """A number nobody has had before."""
        while not self._left:
            async with reading(self._engine) as connection:
                first = (await connection.execute(text("SELECT nextval('bank_serial')"))).scalar_one()
            self._left.extend(range(first + self.BLOCK - 1, first - 1, -1))
        return self._left.pop()


def _sum_of(column: Any, *kinds: Kind) -> Any:
    return func.coalesce(func.sum(case((account.c.kind.in_([kind.value for kind in kinds]), column), else_=0)), 0).cast(
        account.c.balance_fen.type
    )


def _parts() -> Select[Any]:
    return (
        select(
            transaction,
            resolution.c.verdict,
            resolution.c.bank_day,
        )
        .select_from(
            transaction.outerjoin(
                resolution,
                and_(
                    resolution.c.platform == transaction.c.platform,
                    resolution.c.operation_id == transaction.c.operation_id,
                    resolution.c.part == transaction.c.part,
                ),
            )
        )
        .order_by(transaction.c.operation_id, transaction.c.part)
    )


def _operation(row: Any) -> Operation:
    return operation_from_row([row[name] for name in Operation._fields])


def _part(row: Any) -> Part:
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


def _member(row: Any) -> Member:
    return Member(
        member_id=row["member_id"],
        sub_account=row["sub_account"],
        property=row["property"],
        is_open=row["closed_at"] is None,
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        same_name=row["same_name"],
    )
