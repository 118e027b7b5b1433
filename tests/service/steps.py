"""Requests of the marketplace's day in one line each; what is not given is new or empty."""

from __future__ import annotations

from collections.abc import Sequence

from jzb.v1 import core_pb2, freeze_pb2, payment_pb2, refund_pb2, withdrawal_pb2
from tests.service.marketplace import TIMEOUT_S, Marketplace

CARD = "6226090000000048"
HOLDER = "张三"


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
        fee_fen=fee_fen,
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


def refund_request(
    shop: Marketplace, payment_id: str, fen: int, fee_fen: int = 0, remark: str = ""
) -> refund_pb2.RefundRequest:
    return refund_pb2.RefundRequest(
        request_id=shop.request_id(), payment_id=payment_id, amount_fen=fen, fee_fen=fee_fen, remark=remark
    )


async def refund(shop: Marketplace, payment_id: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
    request = refund_request(shop, payment_id, fen, fee_fen)
    operation: core_pb2.Operation = (await shop.refunds.Refund(request, timeout=TIMEOUT_S)).operation
    return operation


async def refundable(shop: Marketplace, payment_id: str) -> refund_pb2.Refundable:
    request = refund_pb2.GetRefundableRequest(payment_id=payment_id)
    found: refund_pb2.Refundable = (await shop.refunds.GetRefundable(request, timeout=TIMEOUT_S)).refundable
    return found


def withdraw_request(
    shop: Marketplace, member_id: str, fen: int, fee_fen: int = 0, remark: str = ""
) -> withdrawal_pb2.WithdrawRequest:
    return withdrawal_pb2.WithdrawRequest(
        request_id=shop.request_id(),
        member_id=member_id,
        amount_fen=fen,
        fee_fen=fee_fen,
        card_number=CARD,
        card_holder_name=HOLDER,
        remark=remark,
    )


async def withdraw(shop: Marketplace, member_id: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
    request = withdraw_request(shop, member_id, fen, fee_fen)
    operation: core_pb2.Operation = (await shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)).operation
    return operation
