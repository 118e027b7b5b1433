"""Orders whose money waits in escrow, in one line each; what is not given is new or empty."""

from __future__ import annotations

from jzb.v1 import core_pb2, payment_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace


def prepay_request(
    shop: Marketplace, payer: str, payee: str, order_no: str, fen: int, remark: str = ""
) -> payment_pb2.PrepayOrderRequest:
    return payment_pb2.PrepayOrderRequest(
        request_id=shop.request_id(),
        payer_member_id=payer,
        payee_member_id=payee,
        order_no=order_no,
        amount_fen=fen,
        remark=remark,
    )


async def prepay(shop: Marketplace, payer: str, payee: str, fen: int) -> str:
    """Prepay an order; returns its number."""
    order_no = shop.order_no()
    await shop.payments.PrepayOrder(prepay_request(shop, payer, payee, order_no, fen), timeout=TIMEOUT_S)
    return order_no


def confirm_request(
    shop: Marketplace, order_no: str, fen: int, fee_fen: int = 0, remark: str = ""
) -> payment_pb2.ConfirmOrderRequest:
    return payment_pb2.ConfirmOrderRequest(
        request_id=shop.request_id(), order_no=order_no, amount_fen=fen, fee_fen=fee_fen, remark=remark
    )


async def confirm(shop: Marketplace, order_no: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
    request = confirm_request(shop, order_no, fen, fee_fen)
    operation: core_pb2.Operation = (await shop.payments.ConfirmOrder(request, timeout=TIMEOUT_S)).operation
    return operation


def cancel_request(shop: Marketplace, order_no: str, fen: int, remark: str = "") -> payment_pb2.CancelOrderRequest:
    return payment_pb2.CancelOrderRequest(
        request_id=shop.request_id(), order_no=order_no, amount_fen=fen, remark=remark
    )


async def cancel(shop: Marketplace, order_no: str, fen: int) -> core_pb2.Operation:
    answer = await shop.payments.CancelOrder(cancel_request(shop, order_no, fen), timeout=TIMEOUT_S)
    operation: core_pb2.Operation = answer.operation
    return operation


async def order(shop: Marketplace, order_no: str) -> payment_pb2.Order:
    request = payment_pb2.GetOrderRequest(order_no=order_no)
    found: payment_pb2.Order = (await shop.payments.GetOrder(request, timeout=TIMEOUT_S)).order
    return found


def settle_request(
    shop: Marketplace, order_no: str, end: payment_pb2.OrderEnd.ValueType, fen: int, fee_fen: int = 0
) -> payment_pb2.SettleOrderRequest:
    return payment_pb2.SettleOrderRequest(
        request_id=shop.request_id(), order_no=order_no, end=end, amount_fen=fen, fee_fen=fee_fen
    )
