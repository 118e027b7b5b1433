"""Freezes of a member's money, in one line each; what is not given is new or empty."""

from __future__ import annotations

from collections.abc import Sequence

from jzb.v1 import core_pb2, freeze_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace


def freeze_request(
    shop: Marketplace, member_id: str, fen: int, order_no: str = "", remark: str = ""
) -> freeze_pb2.FreezeRequest:
    return freeze_pb2.FreezeRequest(
        request_id=shop.request_id(),
        member_id=member_id,
        order_no=order_no or shop.order_no(),
        amount_fen=fen,
        remark=remark,
    )


async def freeze(shop: Marketplace, member_id: str, fen: int) -> str:
    """Freeze money; returns the order number."""
    request = freeze_request(shop, member_id, fen)
    await shop.freezes.Freeze(request, timeout=TIMEOUT_S)
    return request.order_no


def release_request(
    shop: Marketplace, order_no: str, fen: int, fee_fen: int = 0, remark: str = ""
) -> freeze_pb2.ReleaseRequest:
    return freeze_pb2.ReleaseRequest(
        request_id=shop.request_id(), order_no=order_no, amount_fen=fen, fee_fen=fee_fen, remark=remark
    )


def pay_frozen_request(
    shop: Marketplace, order_no: str, payees: Sequence[tuple[str, int]], fee_fen: int = 0, remark: str = ""
) -> freeze_pb2.PayFrozenRequest:
    return freeze_pb2.PayFrozenRequest(
        request_id=shop.request_id(),
        order_no=order_no,
        fee_on_top_fen=fee_fen,
        payees=[freeze_pb2.FrozenPayee(member_id=member_id, amount_fen=fen) for member_id, fen in payees],
        remark=remark,
    )


async def pay_frozen(
    shop: Marketplace, order_no: str, payees: Sequence[tuple[str, int]], fee_fen: int = 0
) -> core_pb2.Operation:
    request = pay_frozen_request(shop, order_no, payees, fee_fen)
    operation: core_pb2.Operation = (await shop.freezes.PayFrozen(request, timeout=TIMEOUT_S)).operation
    return operation


async def frozen_order(shop: Marketplace, order_no: str) -> freeze_pb2.FrozenOrder:
    request = freeze_pb2.GetFreezeRequest(order_no=order_no)
    found: freeze_pb2.FrozenOrder = (await shop.freezes.GetFreeze(request, timeout=TIMEOUT_S)).order
    return found
