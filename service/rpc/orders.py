"""What is set aside under order numbers, in escrow or frozen: one order, and pages of them, newest first.

A page is one of operations (`service.rpc.listing`) that put money aside, an order each or several in a batch; then one
statement reads the money of all its orders.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from jzb.v1 import core_pb2, freeze_pb2, payment_pb2
from ledger import (
    EXAMINED_MAX,
    OPEN_STATES,
    Filter,
    FullOperation,
    Kind,
    Lists,
    OrderMoney,
    Part,
    PartState,
    Reads,
    State,
)
from ledger.names import MemberCode
from service import view
from service.path import details, rights
from service.policy import present
from service.recorded import SERVICE_FAULT
from service.rpc.listing import days_of, page_seen
from service.rpc.pages import ROW_DIGITS_MAX, page_size, page_start, page_token, start_id, start_row

STANDING: Final = OPEN_STATES | {State.DONE}
"""The states of an operation that has put something aside, or may yet do so."""

ALL_ROWS: Final = 10**ROW_DIGITS_MAX - 1
"""As the number of orders of an operation: a page begins behind all of them."""

NEWEST: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """An order: the operation that put its money aside, the parts that did, and the money."""

    full: FullOperation
    order_no: str
    parts: tuple[Part, ...]
    money: OrderMoney

    @property
    def state(self) -> core_pb2.OrderState.ValueType:
        """How far it has gone. What is not as it was sealed is in doubt, as in every answer."""
        operation = self.full.operation
        is_doubted = operation.state is State.UNKNOWN and operation.reason == SERVICE_FAULT
        if is_doubted or not self.money.put_fen:
            return core_pb2.ORDER_STATE_PENDING
        return core_pb2.ORDER_STATE_OPEN if self.money.balance_fen else core_pb2.ORDER_STATE_CLOSED

    @property
    def described(self) -> dict[str, Any]:
        """The fields that orders in escrow and frozen ones have in common."""
        bank_day = max((part.bank_day for part in self.parts if part.bank_day), default=None)
        money = self.money
        common = {
            "order_no": self.order_no,
            "remaining_fen": money.balance_fen - money.held_fen,
            "held_fen": money.held_fen,
            "state": self.state,
            "bank_day": bank_day.isoformat() if bank_day else "",
            "create_time": view.timestamp(self.full.operation.created_at),
        }
        if rights.sees_operation(present(), *self.full):
            shown = view.operation(*self.full)
            common["operation_id"] = shown.operation_id
            if shown.HasField("tags"):
                common["tags"] = shown.tags
        return common

    def done_fen(self, kinds: Collection[str]) -> int:
        """What operations of these kinds have done under the number, in fen."""
        return sum(self.money.done_fen.get(kind, 0) for kind in kinds)


async def one_order(reads: Reads, pocket: Kind, operation_id: UUID, order_no: str) -> Ordered:
    """The order that an operation has put money aside for."""
    full = (await reads.full_operations([operation_id]))[operation_id]
    (money,) = await reads.ordered(pocket, [(operation_id, order_no)])
    return Ordered(
        full=full, order_no=order_no, parts=dict(_orders_of(full)).get(order_no, tuple(full.parts)), money=money
    )


async def orders_page(
    reads: Reads,
    lists: Lists,
    request: payment_pb2.ListOrdersRequest | freeze_pb2.ListFreezesRequest,
    pocket: Kind,
    kinds: Collection[str],
    takes: Callable[[Ordered], bool],
) -> tuple[list[Ordered], str]:
    """A page of the orders that these kinds have put into ``pocket`` and the list ``takes``, and the token of the next
    one. Raises `Problem`.
    """
    size = page_size(request.page_size)
    begun, told = _place(page_start(request.page_token, request))
    wanted = Filter(
        kinds=frozenset(kinds),
        states=STANDING,
        member_id=MemberCode(request.member_id),
        days=days_of(request.first_bank_day, request.last_bank_day),
        tags=details.names(request),
    )
    # What is told by the money alone is found by looking at it.
    examined = EXAMINED_MAX if request.states or pocket is Kind.FROZEN else size
    # The operation with which the last page ended may have more orders.
    behind = UUID(int=min(begun.int + 1, NEWEST.int)) if begun else None
    page, _ = await page_seen(reads, lists, wanted, behind=behind, size=examined + bool(begun))
    found = [
        (full, number, order_no, parts)
        for full in page.full_operations
        for number, (order_no, parts) in enumerate(_orders_of(full), 1)
        if full.operation.id != begun or number > told
    ]
    names = [(full.operation.id, order_no) for full, _, order_no, _ in found[:examined]]
    shown: list[Ordered] = []
    end: tuple[UUID, int] | None = None
    for (full, number, order_no, parts), money in zip(found, await reads.ordered(pocket, names), strict=False):
        one = Ordered(full=full, order_no=order_no, parts=parts, money=money)
        if (not request.states or one.state in request.states) and takes(one):
            if len(shown) == size:
                break
            shown.append(one)
        end = full.operation.id, number
    else:
        if len(found) <= examined:
            end = (page.further, ALL_ROWS) if page.further else None
    return shown, page_token(f"{end[0]} {end[1]}", request) if end else ""


def _orders_of(full: FullOperation) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """The order numbers under which an operation puts money aside, each with the parts that do, in their order."""
    numbered: dict[str, list[Part]] = {}
    for part in full.parts:
        if part.state is not PartState.VOIDED:
            numbered.setdefault(part.order_no or full.operation.order_no, []).append(part)
    return ((order_no, tuple(parts)) for order_no, parts in numbered.items())


def _place(start: str) -> tuple[UUID | None, int]:
    """The operation with which the last page ended, and how many orders of it were told. Raises `Problem`."""
    operation_id, _, told = start.partition(" ")
    return start_id(operation_id), start_row(told)
