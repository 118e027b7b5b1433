"""Payments and order numbers: what is left of one, what was done under the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CompoundSelect, and_, func, literal_column, or_, select, text, union_all

from ledger import accounts
from ledger.accounts import CONTROLS, Account, Kind
from ledger.names import BankSerial, MemberCode, Serial
from ledger.operations import Operation, Part, PartState, State
from ledger.reads.balances import Balances
from ledger.reads.operations import Operations
from ledger.reads.queries import IS_OF, RESOLVED, operation_of, own_order_no, part_of, select_operations, select_parts
from ledger.schema import account, hold, leg, operation, reference, resolution, transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment that can be refunded, and what is left of it in fen, pending refunds counted as gone."""

    serial: Serial
    operation: Operation
    part: Part
    refundable_fen: int
    refundable_fee_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order number's pre-payment or freeze; ``payer`` and ``payee`` are the order's, also where the operation
    pre-paid several orders at once.
    """

    operation: Operation
    payer: MemberCode
    payee: MemberCode


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMoney:
    """Money under an order number in fen: what was ``put`` into its pocket, what is there, and what of that operations
    hold that are not final; and all that was done under the number, by kind of operation.

    ``member_id`` is whose pocket it is, empty while nothing was put into one. ``has_moved`` is whether it was an
    acquired order's and has been moved to another pocket since.
    """

    put_fen: int
    balance_fen: int
    held_fen: int
    member_id: MemberCode
    done_fen: Mapping[str, int]
    has_moved: bool


ORDERED: Final = """
SELECT
  coalesce(pocket.put_fen, 0)::bigint AS put_fen, coalesce(pocket.balance_fen, 0)::bigint AS balance_fen,
  coalesce(pocket.held_fen, 0)::bigint AS held_fen, coalesce(pocket.member_id, '') AS member_id, under.done,
  EXISTS (
    SELECT FROM account WHERE platform = :platform AND name = 'rebooked:' || w.order_no AND balance_fen < 0 OFFSET 0
  ) AS has_moved
FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS text[])) WITH ORDINALITY AS w (id, order_no, place)
CROSS JOIN LATERAL (
  SELECT sum(put.fen) AS put_fen, sum(a.balance_fen) AS balance_fen, sum(a.held_fen) AS held_fen,
    max(m.member_id) AS member_id
  FROM (
    SELECT l.credit, sum(l.amount_fen) AS fen
    FROM (SELECT * FROM operation WHERE platform = :platform AND id = w.id OFFSET 0) o
    CROSS JOIN LATERAL (
      SELECT * FROM transaction WHERE platform = :platform AND operation_id = o.id OFFSET 0
    ) t
    CROSS JOIN LATERAL (
      SELECT * FROM leg WHERE platform = :platform AND operation_id = o.id AND part = t.part OFFSET 0
    ) l
    WHERE coalesce(nullif(t.order_no, ''), o.order_no) = w.order_no
    GROUP BY l.credit
  ) put
  CROSS JOIN LATERAL (
    SELECT * FROM account WHERE platform = :platform AND name = put.credit AND kind = :pocket OFFSET 0
  ) a
  LEFT JOIN LATERAL (
    SELECT member_id FROM member WHERE platform = :platform AND sub_account = a.owner OFFSET 0
  ) m ON true
) pocket
CROSS JOIN LATERAL (
  SELECT json_object_agg(kind, fen) AS done
  FROM (
    SELECT o.kind, sum(t.amount_fen)::bigint AS fen
    FROM (
      SELECT id FROM operation WHERE platform = :platform AND order_no = w.order_no AND order_no <> ''
      UNION
      SELECT operation_id FROM reference WHERE platform = :platform AND kind = 'order' AND value = w.order_no
    ) named
    CROSS JOIN LATERAL (SELECT * FROM operation WHERE platform = :platform AND id = named.id OFFSET 0) o
    CROSS JOIN LATERAL (
      SELECT * FROM transaction WHERE platform = :platform AND operation_id = o.id OFFSET 0
    ) t
    CROSS JOIN LATERAL (
      SELECT verdict FROM resolution
      WHERE platform = :platform AND operation_id = o.id AND part = t.part AND verdict = 'posted'
      OFFSET 0
    ) r
    WHERE coalesce(nullif(t.order_no, ''), o.order_no) = w.order_no
    GROUP BY o.kind
  ) by_kind
) under
ORDER BY w.place
"""
"""Lateral, so that the plan is look-ups by index for each order, whatever the planner believes about the tables."""


class Payments(Operations, Balances):
    """Payments and orders."""

    async def payment(self, serial: Serial) -> Payment | None:
        """The payment that the bank knows by this serial (CnsmrSeqNo or row serial), whatever its state."""
        rows = await self._rows(
            select_parts()
            .where(
                transaction.c.platform == self._platform,
                transaction.c.serial == serial,
                transaction.c.serial != literal_column("''"),
            )
            .order_by(None)
            .order_by(transaction.c.part.desc())
            .limit(1)
        )
        if not rows:
            return None
        owner = await self.operation(operation_id=rows[0]["operation_id"])
        if owner is None:
            return None
        remaining = await self.remaining([accounts.refundable(serial), accounts.refundable_fee(serial)])
        return Payment(
            serial=serial,
            operation=owner,
            part=part_of(rows[0]),
            refundable_fen=remaining[accounts.refundable(serial).name],
            refundable_fee_fen=remaining[accounts.refundable_fee(serial).name],
        )

    async def pending_refunds(self, serial: Serial) -> list[Part]:
        """The transactions that hold a part of this payment's refundable amount and are not final."""
        rows = await self._rows(
            select_parts()
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
        return [part_of(row) for row in rows]

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

    async def order(self, order_no: str, kinds: Collection[str]) -> Order | None:
        """The operation that took this order number: the last one of these kinds that the bank did not refuse, neither
        whole nor the part that it was for.

        An operation has its own order number, or one for each of its parts (batches).
        """
        rows = await self._rows(
            select_operations()
            .where(
                operation.c.platform == self._platform,
                operation.c.id.in_(self._under(order_no)),
                operation.c.kind.in_(list(kinds)),
                operation.c.state.not_in([State.REFUSED.value, State.RELEASED.value]),
            )
            .order_by(operation.c.id.desc())
        )
        taken = None
        for opened in map(operation_of, rows):
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
        return Order(operation=opened, payer=payer, payee=payee)

    async def ordered(self, pocket: Kind, orders: Sequence[tuple[UUID, str]]) -> list[OrderMoney]:
        """The money of each of these orders, named by the operation that put it into ``pocket`` and the number."""
        if not orders:
            return []
        rows = await self._rows(
            text(ORDERED),
            platform=self._platform,
            pocket=pocket.value,
            ids=[id_ for id_, _ in orders],
            numbers=[number for _, number in orders],
        )
        return [
            OrderMoney(
                put_fen=row["put_fen"],
                balance_fen=row["balance_fen"],
                held_fen=row["held_fen"],
                member_id=MemberCode(row["member_id"]),
                done_fen=row["done"] or {},
                has_moved=row["has_moved"],
            )
            for row in rows
        ]

    async def returned(self, serials: Collection[Serial], kind: str) -> Mapping[Serial, int]:
        """What operations of this kind with a part under one of these serials come to, in fen, by serial."""
        rows = await self._rows(
            select(transaction.c.serial, operation.c.id, operation.c.amount_fen)
            .distinct()
            .join_from(transaction, operation, IS_OF)
            .where(
                transaction.c.platform == self._platform,
                transaction.c.serial.in_(list(serials)),
                transaction.c.serial != literal_column("''"),
                operation.c.kind == kind,
            )
        )
        found = Counter[Serial]()
        for row in rows:
            found[row["serial"]] += row["amount_fen"]
        return found

    async def used_by(self, taken: Account, *, payer: str = "") -> Operation | None:
        """The operation that has the one use of an order number, or of ``payer``; ``taken`` is the account that stands
        for it.
        """
        part = and_(
            hold.c.platform == operation.c.platform, hold.c.operation_id == operation.c.id, hold.c.account == taken.name
        )
        ended = and_(
            resolution.c.platform == hold.c.platform,
            resolution.c.operation_id == hold.c.operation_id,
            resolution.c.part == hold.c.part,
        )
        rows = await self._rows(
            select_operations()
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
        return operation_of(rows[0]) if rows else None

    async def known_under(
        self, order_nos: Collection[str], kinds: Collection[str], before: UUID
    ) -> list[tuple[str, str, int, date | None, int]]:
        """Parts of these kinds under these order numbers, as kind, order number, amount in fen, bank day and how many:
        those posted, and without a bank day those still open of operations older than ``before``.
        """
        rows = await self._rows(
            select(operation.c.kind, own_order_no, transaction.c.amount_fen, resolution.c.bank_day, func.count())
            .join_from(transaction, operation, IS_OF)
            .outerjoin(resolution, RESOLVED)
            .where(
                transaction.c.platform == self._platform,
                operation.c.id.in_(self._under(*order_nos)),
                operation.c.kind.in_(list(kinds)),
                own_order_no.in_(list(order_nos)),
                or_(
                    resolution.c.verdict == PartState.POSTED.value,
                    and_(resolution.c.verdict.is_(None), operation.c.id < before),
                ),
            )
            .group_by(operation.c.kind, own_order_no, transaction.c.amount_fen, resolution.c.bank_day)
        )
        return [tuple(row.values()) for row in rows]

    async def payments_under(
        self, order_nos: Collection[str], kinds: Collection[str]
    ) -> list[tuple[str, str, int, BankSerial]]:
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

    async def order_sides(
        self, order_nos: Collection[str], kinds: Collection[str]
    ) -> dict[str, tuple[MemberCode, MemberCode]]:
        """Payer and payee of these orders by number, as `order` finds them; a number nobody has used is missing."""
        rows = await self._rows(
            select(own_order_no.label("order_no"), transaction.c.payer, transaction.c.payee)
            .join_from(transaction, operation, IS_OF)
            .outerjoin(resolution, RESOLVED)
            .where(
                resolution.c.verdict.is_distinct_from(PartState.VOIDED.value),
                transaction.c.platform == self._platform,
                operation.c.id.in_(self._under(*order_nos)),
                operation.c.kind.in_(list(kinds)),
                operation.c.state.not_in([State.REFUSED.value, State.RELEASED.value]),
                own_order_no.in_(list(order_nos)),
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
