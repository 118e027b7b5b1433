"""Refunds of payments, in one line each; what is not given is new or empty."""

from __future__ import annotations

from jzb.v1 import core_pb2, refund_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace


def refund_request(
    shop: Marketplace, payment_serial: str, fen: int, fee_fen: int = 0, remark: str = ""
) -> refund_pb2.RefundRequest:
    return refund_pb2.RefundRequest(
        request_id=shop.request_id(), payment_serial=payment_serial, amount_fen=fen, fee_fen=fee_fen, remark=remark
    )


async def refund(shop: Marketplace, payment_serial: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
    request = refund_request(shop, payment_serial, fen, fee_fen)
    operation: core_pb2.Operation = (await shop.refunds.Refund(request, timeout=TIMEOUT_S)).operation
    return operation


async def refundable(shop: Marketplace, payment_serial: str) -> refund_pb2.Refundable:
    request = refund_pb2.GetRefundableRequest(payment_serial=payment_serial)
    found: refund_pb2.Refundable = (await shop.refunds.GetRefundable(request, timeout=TIMEOUT_S)).refundable
    return found
