"""`jzb orders`, `jzb freezes`, `jzb withdrawals`: clients of the services that have them, which print tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date
from typing import Any, Final

import grpc
from rich.table import Table

from bankclient import yuan
from jzb.v1 import (
    core_pb2,
    freeze_pb2,
    freeze_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
    withdrawal_pb2,
    withdrawal_pb2_grpc,
)
from service.process.client import bank_time, channel_to

SHOWN_MAX: Final = 1000
"""So many rows are printed."""

PAGE: Final = 200

CALL_S: Final = 60.0

OPEN_ORDERS: Final = (core_pb2.ORDER_STATE_PENDING, core_pb2.ORDER_STATE_OPEN)
OPEN_WITHDRAWALS: Final = (
    core_pb2.OPERATION_STATE_RESERVED,
    core_pb2.OPERATION_STATE_UNKNOWN,
    core_pb2.OPERATION_STATE_ACCEPTED,
)

Target = tuple[str, grpc.ChannelCredentials | None]


def wanted(member_id: str, first: date | None, last: date | None) -> dict[str, Any]:
    """The filters that the three lists have in common, as their requests have them. Both days or none are given."""
    days = {} if first is None or last is None else {"first_bank_day": str(first), "last_bank_day": str(last)}
    return {"member_id": member_id, "page_size": PAGE, **days}


async def orders(target: Target, filters: dict[str, Any], *, is_open: bool) -> tuple[Table, bool]:
    """Orders in escrow, newest first, and whether there are more than are shown."""
    table = Table("order", "payer", "payee", "state", "prepaid", "confirmed", "cancelled", "left", "held", "day", "own")
    request = payment_pb2.ListOrdersRequest(**filters, states=OPEN_ORDERS if is_open else ())

    def row(one: payment_pb2.Order) -> list[str]:
        amounts = (one.prepaid_fen, one.confirmed_fen, one.cancelled_fen, one.remaining_fen, one.held_fen)
        names = (one.order_no, one.payer_member_id, one.payee_member_id, _state(one.state))
        return [*names, *map(yuan, amounts), one.bank_day, _own(one.tags)]

    async with channel_to(*target) as channel:
        call = payment_pb2_grpc.PaymentServiceStub(channel).ListOrders
        return table, await _fill(table, call, request, lambda page: map(row, page.orders))


async def freezes(target: Target, filters: dict[str, Any], *, is_open: bool) -> tuple[Table, bool]:
    """Frozen orders, newest first, and whether there are more than are shown."""
    table = Table("order", "member", "state", "frozen", "released", "paid", "left", "held", "day", "own")
    request = freeze_pb2.ListFreezesRequest(**filters, states=OPEN_ORDERS if is_open else ())

    def row(one: freeze_pb2.FrozenOrder) -> list[str]:
        amounts = (one.frozen_fen, one.released_fen, one.paid_fen, one.remaining_fen, one.held_fen)
        names = (one.order_no, one.member_id, _state(one.state))
        return [*names, *map(yuan, amounts), one.bank_day, _own(one.tags)]

    async with channel_to(*target) as channel:
        call = freeze_pb2_grpc.FreezeServiceStub(channel).ListFreezes
        return table, await _fill(table, call, request, lambda page: map(row, page.orders))


async def withdrawals(target: Target, filters: dict[str, Any], *, is_open: bool) -> tuple[Table, bool]:
    """Withdrawals, the open ones first, and whether there are more than are shown."""
    table = Table("since", "member", "state", "yuan", "fee", "card", "bank serial", "day", "came back", "serial", "own")
    request = withdrawal_pb2.ListWithdrawalsRequest(**filters, states=OPEN_WITHDRAWALS if is_open else ())

    def row(one: withdrawal_pb2.Withdrawal) -> list[str]:
        found = one.operation
        state = core_pb2.OperationState.Name(found.state).removeprefix("OPERATION_STATE_")
        return [
            *(bank_time(found.create_time), found.payer_member_id, state, yuan(found.amount_fen), yuan(found.fee_fen)),
            *(found.masked_card_number, found.bank_serial, found.bank_day),
            *(yuan(one.returned_fen) if one.returned_fen else "", found.serial, _own(found.tags)),
        ]

    async with channel_to(*target) as channel:
        call = withdrawal_pb2_grpc.WithdrawalServiceStub(channel).ListWithdrawals
        return table, await _fill(table, call, request, lambda page: map(row, page.withdrawals))


async def _fill(
    table: Table,
    call: Callable[..., Awaitable[Any]],
    request: Any,
    rows_of: Callable[[Any], Iterable[Sequence[str]]],
) -> bool:
    """Add the rows of all pages; returns whether there are more than are shown."""
    while True:
        page = await call(request, timeout=CALL_S)
        for row in rows_of(page):
            if table.row_count == SHOWN_MAX:
                return True
            table.add_row(*row)
        if not page.next_page_token:
            return False
        request.page_token = page.next_page_token


def _state(state: core_pb2.OrderState.ValueType) -> str:
    return core_pb2.OrderState.Name(state).removeprefix("ORDER_STATE_")


def _own(tags: core_pb2.Tags) -> str:
    """The caller's own reference and labels."""
    return " ".join(filter(None, (tags.reference, ", ".join(f"{one.key}={one.value}" for one in tags.labels))))
