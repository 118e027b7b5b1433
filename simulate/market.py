"""What callers ask for: one request a kind, to whom and how much by the dice, on what has been answered DONE so far.

Callers share what they know, so they contend: for the same balance, the same order, the same payment to be refunded.
Some ask for more than there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from jzb.v1 import (
    batch_pb2,
    batch_pb2_grpc,
    core_pb2,
    freeze_pb2,
    freeze_pb2_grpc,
    member_pb2,
    member_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
    refund_pb2,
    refund_pb2_grpc,
    suspense_pb2,
    suspense_pb2_grpc,
    topup_pb2,
    topup_pb2_grpc,
    withdrawal_pb2,
    withdrawal_pb2_grpc,
)
from simulate.schedule import Kind

BUYERS: Final = ("b0", "b1", "b2")
MERCHANTS: Final = ("m0", "m1", "m2")
OPENING_FEN: Final = 60_000
LARGEST_FEN: Final = 20_000
PLATFORM_REMARK_MAX: Final = 60

Operation = core_pb2.Operation


class Sum(NamedTuple):
    """What something was, by its serial or number, and how much: fee included."""

    key: str
    amount_fen: int
    fee_fen: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC; ``learn`` takes in what it did once it is DONE."""

    stub: Callable[[Any], Any]
    method: str
    request: Message
    learn: Callable[[Operation], None]

    @property
    def request_id(self) -> str:
        """Under which it is repeated."""
        return str(self.request.request_id)  # type: ignore[attr-defined]


@dataclass(slots=True)
class Market:
    """What the callers know together."""

    payments: list[Sum] = field(default_factory=list)
    top_ups: list[Sum] = field(default_factory=list)
    orders: list[Sum] = field(default_factory=list)
    freezes: list[Sum] = field(default_factory=list)
    transfers: list[Sum] = field(default_factory=list)
    clearings: list[Sum] = field(default_factory=list)

    def call(self, kind: Kind, request_id: str, dice: Random, faults: str) -> Call | None:
        """The request of a kind, or None when there is nothing to ask it of yet."""
        remark = f"rq:{request_id} {faults}"
        make = _MAKERS[kind]
        return make(self, _Asked(request_id, dice, remark))

    def members(self, prefix: str) -> list[Call]:
        """The calls that open the market."""
        return [
            Call(
                member_pb2_grpc.MemberServiceStub,
                "OpenMember",
                member_pb2.OpenMemberRequest(
                    request_id=f"{prefix}-open-{member}",
                    member_id=member,
                    property=member_pb2.MEMBER_PROPERTY_ORDINARY
                    if member in BUYERS
                    else member_pb2.MEMBER_PROPERTY_MERCHANT,
                    nickname=f"会员{member}",
                ),
                _nothing,
            )
            for member in (*BUYERS, *MERCHANTS)
        ]

    def funds(self, prefix: str) -> list[Call]:
        """The calls that give the members their first money."""
        return [
            _top_up(self, _Asked(f"{prefix}-fund-{member}", Random(0), f"rq:{prefix}-fund-{member}"), member)
            for member in (*BUYERS, MERCHANTS[0])
        ]

    def paid(self, operation: Operation) -> None:
        """Each part of it can be refunded."""
        self.payments.extend(_parts(operation))


@dataclass(frozen=True, slots=True)
class _Asked:
    request_id: str
    dice: Random
    remark: str

    def amount(self, most: int = LARGEST_FEN) -> int:
        """Mostly a part, now and then all, sometimes more than all."""
        return self.dice.choice(
            (self.dice.randint(1, max(1, most)), self.dice.randint(1, max(1, most)), most, most + 1)
        )

    def fee(self, amount_fen: int) -> int:
        return self.dice.choice((0, amount_fen // 20))

    def order_no(self, suffix: str = "") -> str:
        return f"O{self.request_id}{suffix}"

    def buyer(self) -> str:
        return self.dice.choice(BUYERS)

    def merchant(self) -> str:
        return self.dice.choice(MERCHANTS)

    def merchants(self) -> list[str]:
        return self.dice.sample(MERCHANTS, 2)

    def of(self, known: Sequence[Sum]) -> Sum | None:
        return self.dice.choice(known) if known else None

    @property
    def common(self) -> dict[str, Any]:
        return {"request_id": self.request_id, "remark": self.remark}


def _parts(operation: Operation) -> list[Sum]:
    return [
        Sum(part.serial, part.amount_fen, part.fee_fen)
        for part in operation.parts
        if part.state == core_pb2.PART_STATE_POSTED
    ]


def _nothing(_: Operation) -> None:
    pass


def _top_up(market: Market, asked: _Asked, member: str = "") -> Call:
    amount = OPENING_FEN if member else asked.amount()
    request = topup_pb2.TopUpRequest(
        **asked.common,
        member_id=member or asked.dice.choice((*BUYERS, *MERCHANTS)),
        amount_fen=amount,
        fee_fen=asked.fee(amount),
        channel=topup_pb2.Channel(type="0001", merchant_no="1900000109", transaction_no=asked.order_no()),
        order_no=asked.order_no(),
    )
    return Call(topup_pb2_grpc.TopUpServiceStub, "TopUp", request, lambda done: market.top_ups.extend(_parts(done)))


def _split_top_up(market: Market, asked: _Asked) -> Call:
    shares = []
    for number, member in enumerate(asked.merchants()):
        amount = asked.amount()
        share = topup_pb2.TopUpShare(
            member_id=member,
            amount_fen=amount,
            fee_fen=asked.fee(amount),
            order_no=asked.order_no(f"-{number}"),
            remark=asked.remark,
        )
        shares.append(share)
    request = topup_pb2.SplitTopUpRequest(
        request_id=asked.request_id,
        order_no=asked.order_no(),
        channel=topup_pb2.Channel(type="0001", merchant_no="1900000109", transaction_no=asked.order_no()),
        shares=shares,
    )
    return Call(topup_pb2_grpc.TopUpServiceStub, "SplitTopUp", request, _nothing)


def _revoke(market: Market, asked: _Asked) -> Call | None:
    top_up = asked.of(market.top_ups)
    if top_up is None:
        return None
    amount = asked.amount(top_up.amount_fen)
    request = topup_pb2.RevokeTopUpRequest(
        **asked.common,
        top_up_id=top_up.key,
        amount_fen=amount,
        fee_fen=min(amount, top_up.fee_fen * amount // top_up.amount_fen),
    )
    return Call(topup_pb2_grpc.TopUpServiceStub, "RevokeTopUp", request, _nothing)


def _pay_t1(market: Market, asked: _Asked) -> Call:
    return _pay(market, asked, payment_pb2.SETTLEMENT_T1)


def _pay_t0(market: Market, asked: _Asked) -> Call:
    return _pay(market, asked, payment_pb2.SETTLEMENT_T0)


def _pay(market: Market, asked: _Asked, settlement: payment_pb2.Settlement.ValueType) -> Call:
    amount = asked.amount()
    request = payment_pb2.PayRequest(
        **asked.common,
        payer_member_id=asked.buyer(),
        payee_member_id=asked.merchant(),
        amount_fen=amount,
        fee_fen=asked.fee(amount),
        settlement=settlement,
    )
    return Call(payment_pb2_grpc.PaymentServiceStub, "Pay", request, market.paid)


def _prepay(market: Market, asked: _Asked) -> Call:
    order_no, amount = asked.order_no(), asked.amount()
    request = payment_pb2.PrepayOrderRequest(
        **asked.common,
        payer_member_id=asked.buyer(),
        payee_member_id=asked.merchant(),
        order_no=order_no,
        amount_fen=amount,
    )
    return Call(
        payment_pb2_grpc.PaymentServiceStub,
        "PrepayOrder",
        request,
        lambda _: market.orders.append(Sum(order_no, amount)),
    )


def _confirm(market: Market, asked: _Asked) -> Call | None:
    order = asked.of(market.orders)
    if order is None:
        return None
    amount = asked.amount(order.amount_fen)
    request = payment_pb2.ConfirmOrderRequest(
        **asked.common, order_no=order.key, amount_fen=amount, fee_fen=asked.fee(amount)
    )
    return Call(payment_pb2_grpc.PaymentServiceStub, "ConfirmOrder", request, market.paid)


def _cancel(market: Market, asked: _Asked) -> Call | None:
    order = asked.of(market.orders)
    if order is None:
        return None
    request = payment_pb2.CancelOrderRequest(
        **asked.common, order_no=order.key, amount_fen=asked.amount(order.amount_fen)
    )
    return Call(payment_pb2_grpc.PaymentServiceStub, "CancelOrder", request, _nothing)


def _settle(market: Market, asked: _Asked) -> Call | None:
    order = asked.of(market.orders)
    if order is None:
        return None
    ends = asked.dice.random() < 0.6
    amount = asked.amount(order.amount_fen)
    request = payment_pb2.SettleOrderRequest(
        request_id=asked.request_id,
        remark=asked.remark[:PLATFORM_REMARK_MAX],
        order_no=order.key,
        end=payment_pb2.ORDER_END_CONFIRM if ends else payment_pb2.ORDER_END_CANCEL,
        amount_fen=amount,
        fee_fen=asked.fee(amount) if ends else 0,
    )
    return Call(payment_pb2_grpc.PaymentServiceStub, "SettleOrder", request, market.paid if ends else _nothing)


def _batch_prepay(market: Market, asked: _Asked) -> Call:
    orders = [Sum(asked.order_no(f"-{number}"), asked.amount(LARGEST_FEN // 2)) for number in range(2)]
    request = batch_pb2.BatchPrepayRequest(
        request_id=asked.request_id,
        payer_member_id=asked.buyer(),
        orders=[
            batch_pb2.OrderToPrepay(
                payee_member_id=asked.merchant(),
                order_no=order.key,
                amount_fen=order.amount_fen,
                remark=asked.remark[:PLATFORM_REMARK_MAX],
            )
            for order in orders
        ],
    )
    return Call(batch_pb2_grpc.BatchServiceStub, "BatchPrepay", request, lambda _: market.orders.extend(orders))


def _batch_confirm(market: Market, asked: _Asked) -> Call | None:
    if len(market.orders) < 2:
        return None
    chosen = asked.dice.sample(market.orders, 2)
    request = batch_pb2.BatchConfirmRequest(
        request_id=asked.request_id,
        orders=[
            batch_pb2.OrderToConfirm(
                order_no=order.key,
                amount_fen=asked.amount(order.amount_fen),
                remark=asked.remark[:PLATFORM_REMARK_MAX],
            )
            for order in chosen
        ],
    )
    return Call(batch_pb2_grpc.BatchServiceStub, "BatchConfirm", request, market.paid)


def _batch_pay(market: Market, asked: _Asked) -> Call:
    request = batch_pb2.BatchPayRequest(
        request_id=asked.request_id,
        payer_member_id=asked.buyer(),
        payments=[
            batch_pb2.PaymentOfBatch(
                payee_member_id=member,
                order_no=asked.order_no(f"-{number}"),
                amount_fen=asked.amount(LARGEST_FEN // 2),
                remark=asked.remark[:PLATFORM_REMARK_MAX],
            )
            for number, member in enumerate(asked.merchants())
        ],
    )
    return Call(batch_pb2_grpc.BatchServiceStub, "BatchPay", request, market.paid)


def _freeze(market: Market, asked: _Asked) -> Call:
    order_no, amount = asked.order_no(), asked.amount()
    request = freeze_pb2.FreezeRequest(**asked.common, member_id=asked.buyer(), amount_fen=amount, order_no=order_no)
    return Call(
        freeze_pb2_grpc.FreezeServiceStub,
        "Freeze",
        request,
        lambda _: market.freezes.append(Sum(order_no, amount)),
    )


def _release(market: Market, asked: _Asked) -> Call | None:
    freeze = asked.of(market.freezes)
    if freeze is None:
        return None
    request = freeze_pb2.ReleaseRequest(**asked.common, order_no=freeze.key, amount_fen=asked.amount(freeze.amount_fen))
    return Call(freeze_pb2_grpc.FreezeServiceStub, "Release", request, _nothing)


def _pay_frozen(market: Market, asked: _Asked) -> Call | None:
    freeze = asked.of(market.freezes)
    if freeze is None:
        return None
    most = max(1, freeze.amount_fen // 3)
    request = freeze_pb2.PayFrozenRequest(
        **asked.common,
        order_no=freeze.key,
        fee_fen=asked.dice.choice((0, most // 10)),
        payees=[
            freeze_pb2.FrozenPayee(member_id=member, amount_fen=asked.amount(most)) for member in asked.merchants()
        ],
    )
    return Call(freeze_pb2_grpc.FreezeServiceStub, "PayFrozen", request, _nothing)


def _refund(market: Market, asked: _Asked) -> Call | None:
    payment = asked.of(market.payments)
    if payment is None:
        return None
    amount = asked.amount(payment.amount_fen)
    fee = asked.dice.choice((0, payment.fee_fen * amount // max(1, payment.amount_fen)))
    request = refund_pb2.RefundRequest(
        **asked.common, payment_id=payment.key, amount_fen=amount, fee_fen=min(fee, amount)
    )
    return Call(refund_pb2_grpc.RefundServiceStub, "Refund", request, _nothing)


def _withdraw(market: Market, asked: _Asked) -> Call:
    amount = asked.amount(LARGEST_FEN // 4)
    request = withdrawal_pb2.WithdrawRequest(
        **asked.common,
        member_id=asked.dice.choice((*BUYERS, *MERCHANTS)),
        amount_fen=amount,
        fee_fen=asked.fee(amount),
        card_number="6200000000000000000",
        card_holder_name="虚构",
    )
    return Call(withdrawal_pb2_grpc.WithdrawalServiceStub, "Withdraw", request, _nothing)


def _clear_suspense(market: Market, asked: _Asked) -> Call | None:
    transfer = asked.of(market.transfers)
    if transfer is None:
        return None
    amount = asked.amount(transfer.amount_fen)
    fee = asked.fee(amount)
    request = suspense_pb2.ClearSuspenseRequest(
        **asked.common,
        transfer_id=transfer.key,
        member_id=asked.dice.choice((*BUYERS, *MERCHANTS)),
        amount_fen=amount,
        fee_fen=fee,
        order_no=asked.order_no(),
    )

    def learn(done: Operation) -> None:
        market.clearings.append(Sum(done.serial, amount, fee))

    return Call(suspense_pb2_grpc.SuspenseServiceStub, "ClearSuspense", request, learn)


def _undo_clearing(market: Market, asked: _Asked) -> Call | None:
    clearing = asked.of(market.clearings)
    if clearing is None:
        return None
    amount = asked.amount(clearing.amount_fen)
    request = suspense_pb2.UndoClearSuspenseRequest(
        **asked.common,
        clearing_id=clearing.key,
        amount_fen=amount,
        fee_fen=min(amount, clearing.fee_fen * amount // clearing.amount_fen),
    )
    return Call(suspense_pb2_grpc.SuspenseServiceStub, "UndoClearSuspense", request, _nothing)


_MAKERS: Final[dict[Kind, Callable[[Market, _Asked], Call | None]]] = {
    Kind.TOP_UP: _top_up,
    Kind.SPLIT_TOP_UP: _split_top_up,
    Kind.REVOKE: _revoke,
    Kind.PAY_T1: _pay_t1,
    Kind.PAY_T0: _pay_t0,
    Kind.PREPAY: _prepay,
    Kind.CONFIRM: _confirm,
    Kind.CANCEL: _cancel,
    Kind.SETTLE: _settle,
    Kind.BATCH_PREPAY: _batch_prepay,
    Kind.BATCH_CONFIRM: _batch_confirm,
    Kind.BATCH_PAY: _batch_pay,
    Kind.FREEZE: _freeze,
    Kind.RELEASE: _release,
    Kind.PAY_FROZEN: _pay_frozen,
    Kind.REFUND: _refund,
    Kind.WITHDRAW: _withdraw,
    Kind.CLEAR_SUSPENSE: _clear_suspense,
    Kind.UNDO_CLEARING: _undo_clearing,
}
