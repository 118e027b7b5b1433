"""Orders of the bank's acquiring products: collected at the bank, entered and rebooked here."""

from __future__ import annotations

from typing import Any

from jzb.v1 import acquiring_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.verifying import sub_account

CLOUD = acquiring_pb2.ACQUIRING_CHANNEL_CLOUD


def share(member_id: str, fen: int, fee_fen: int = 0, number: str = "", **more: Any) -> acquiring_pb2.OrderShare:
    fields: dict[str, Any] = {"credit": acquiring_pb2.ORDER_CREDIT_AVAILABLE, **more}
    return acquiring_pb2.OrderShare(member_id=member_id, amount_fen=fen, fee_fen=fee_fen, sub_order_no=number, **fields)


def build_request(fen: int, *shares: acquiring_pb2.OrderShare, **more: Any) -> acquiring_pb2.BuildOrderRemarkRequest:
    fields: dict[str, Any] = {
        "product": acquiring_pb2.REMARK_PRODUCT_AGGREGATED,
        "carrier": acquiring_pb2.REMARK_CARRIER_PAY_API,
        **more,
    }
    return acquiring_pb2.BuildOrderRemarkRequest(amount_fen=fen, shares=shares, **fields)


def record_request(
    shop: Marketplace, order_no: str, *shares: acquiring_pb2.OrderShare
) -> acquiring_pb2.RecordOrderRequest:
    return acquiring_pb2.RecordOrderRequest(
        request_id=shop.request_id(),
        channel=CLOUD,
        order_no=order_no,
        amount_fen=sum(one.amount_fen for one in shares),
        shares=shares,
    )


async def acquire(
    shop: Marketplace, *shares: acquiring_pb2.OrderShare, paid_for: str = "", **more: Any
) -> acquiring_pb2.RecordOrderRequest:
    """Let a product collect an order of these shares; returns the request that enters it.

    ``paid_for`` puts a sub-account into the remark in the place of all members' own.
    """
    request = record_request(shop, shop.order_no(), *shares)
    build = build_request(request.amount_fen, *shares, carrier=acquiring_pb2.REMARK_CARRIER_CASHIER_PAGE)
    remark = (await shop.acquiring.BuildOrderRemark(build, timeout=TIMEOUT_S)).remark
    if paid_for:
        for one in shares:
            remark = remark.replace(await sub_account(shop, one.member_id), paid_for)
    shop.sandbox.bank.acquire("YST1", request.order_no, request.amount_fen, remark, **more)
    return request


async def record(shop: Marketplace, request: acquiring_pb2.RecordOrderRequest) -> acquiring_pb2.RecordOrderResponse:
    answer: acquiring_pb2.RecordOrderResponse = await shop.acquiring.RecordOrder(request, timeout=TIMEOUT_S)
    return answer


def rebook_request(shop: Marketplace, order_no: str, member_id: str) -> acquiring_pb2.RebookOrderRequest:
    return acquiring_pb2.RebookOrderRequest(request_id=shop.request_id(), order_no=order_no, member_id=member_id)
