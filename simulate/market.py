"""What callers ask for: one request a kind, to whom and how much by the dice, on what has been answered DONE so far.

Callers share what they know, so they contend: for the same balance, the same order, the same payment to be refunded.
Some ask for more than there is. Each call says what it moves when it is done: nobody has to believe the service.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, NamedTuple
from zlib import crc32

from google.protobuf.message import Message

from jzb.v1 import (
    acquiring_pb2,
    acquiring_pb2_grpc,
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
    verification_pb2,
    withdrawal_pb2,
    withdrawal_pb2_grpc,
)
from sandbox.bank import Bank
from sandbox.records import MemberCode
from simulate.schedule import ActionKind

BUYERS: Final = ("b0", "b1", "b2")
MERCHANTS: Final = ("m0", "m1", "m2")
OPENING_FEN: Final = 60_000
LARGEST_FEN: Final = 20_000
PLATFORM_REMARK_MAX: Final = 60
PAYER: Final = ("6200000000000000000", "虚构付款人", "虚构银行")
ACQUIRER: Final = "YST1"

FEE, OWN_FUNDS, SUSPENSE, PARKING, OUTSIDE = "fee", "own funds", "suspense", "parking", "outside"
AVAILABLE, FROZEN, ESCROW = POCKETS = ("available", "frozen", "escrow")

Operation = core_pb2.Operation
Effect = Counter[str]
"""What a call moves, in fen: by ``member pocket``, by the platform's accounts, and by what lies outside the bank."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Something with an amount in it, fee included: ``key`` is what the service calls it, ``origin`` what we do."""

    origin: str
    key: str
    amount_fen: int
    fee_fen: int = 0
    giver: str = ""
    taker: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC; ``learn`` takes in what it did once it is DONE, ``effect`` is what that moves."""

    stub: Callable[[Any], Any]
    method: str
    request: Message
    effect: Effect
    learn: Callable[[Operation], None]
    part: Effect | None = None
    """What the first row of a batch moves."""

    @property
    def payer(self) -> str:
        """The member who gives, by the effect."""
        return next(name.split()[0] for name, fen in self.effect.items() if fen < 0 and name.endswith(POCKETS))

    @property
    def payee(self) -> str:
        """Another member who gets, or nobody."""
        getting = (name.split()[0] for name, fen in self.effect.items() if fen > 0 and name.endswith(POCKETS))
        return next((name for name in getting if name != self.payer), "")

    def proven(self, proof: verification_pb2.Verification) -> Call:
        """The same call, authorised by its payer."""
        request = type(self.request)()
        request.CopyFrom(self.request)
        request.verification.CopyFrom(proof)  # type: ignore[attr-defined]  # as all that are played have
        return replace(self, request=request)

    @property
    def request_id(self) -> str:
        """Under which it is repeated."""
        return str(self.request.request_id)  # type: ignore[attr-defined]  # as all that are played have

    def with_other(self, **fields: object) -> Message:
        """The same request but for some fields."""
        other = type(self.request)()
        other.CopyFrom(self.request)
        for name, value in fields.items():
            setattr(other, name, value)
        return other


@dataclass(slots=True)
class Market:
    """What the callers know together, and the bank at which strangers act."""

    bank: Bank
    merchants: list[str] = field(default_factory=lambda: list(MERCHANTS))
    payments: list[Sum] = field(default_factory=list)
    top_ups: list[Sum] = field(default_factory=list)
    split_top_ups: list[tuple[Sum, ...]] = field(default_factory=list)
    orders: list[Sum] = field(default_factory=list)
    freezes: list[Sum] = field(default_factory=list)
    transfers: list[Sum] = field(default_factory=list)
    clearings: list[Sum] = field(default_factory=list)
    parked: list[Sum] = field(default_factory=list)
    unrecorded: dict[str, Call] = field(default_factory=dict)
    """Orders that the bank has collected, until they are entered."""

    def call(
        self, kind: ActionKind, request_id: str, dice: Random, faults: str, cast: Cast | None = None
    ) -> Call | None:
        """The request of a kind, or None when there is nothing to ask it of yet. With a ``cast`` those two act, on what
        was done last, with amounts that they are likely to have.
        """
        remark = f"rq:{request_id} {faults}"
        return _MAKERS[kind](self, _ActionContext(self, request_id, dice, remark, cast))

    def transfer_in(self, request_id: str, dice: Random) -> None:
        """Somebody pays into the pooled account: from a bound card, or a stranger."""
        amount = dice.randint(1, LARGEST_FEN)
        member = dice.choice((*BUYERS, *MERCHANTS)) if dice.random() < 0.3 else ""
        inflow = self.bank.transfer_in(self.sub_account(member) if member else "", amount, PAYER, "")
        if not member:
            self.transfers.append(Sum(request_id, inflow.front_seq_no, amount))

    def members(self, prefix: str) -> list[Call]:
        """The calls that open the market."""
        return [
            _opening(f"{prefix}-open-{member}", member, f"会员{member}", _nothing) for member in (*BUYERS, *MERCHANTS)
        ]

    def funds(self, prefix: str) -> list[Call]:
        """The calls that give the members their first money."""
        return [
            _top_up(
                self, _ActionContext(self, f"{prefix}-fund-{member}", Random(0), f"rq:{prefix}-fund-{member}"), member
            )
            for member in (*BUYERS, MERCHANTS[0])
        ]

    def sub_account(self, member: str) -> str:
        """A member's number, as the bank has it."""
        known = self.bank.store.get(MemberCode, member)
        assert known is not None, member
        return known.sub_acct_no

    def paid(self, operation: Operation, origin: str, giver: str, takers: Sequence[str]) -> None:
        """Each part of it can be refunded; the part without a payee is a fee that goes back by itself."""
        for number, part in enumerate(operation.parts):
            taker = takers[number] if number < len(takers) else ""
            if part.state == core_pb2.PART_STATE_POSTED:
                one = Sum(f"{origin}/{number}", part.serial, part.amount_fen, part.fee_fen, giver, taker)
                self.payments.append(one)


class Cast(NamedTuple):
    """Who acts in a story."""

    buyer: str
    merchant: str


@dataclass(frozen=True, slots=True)
class _ActionContext:
    market: Market
    request_id: str
    dice: Random
    remark: str
    cast: Cast | None = None

    def amount(self, most: int = LARGEST_FEN) -> int:
        """Mostly a part, now and then all, sometimes more than all."""
        if self.cast:
            return self.dice.randint(max(1, most // 8), max(1, most // 4))
        return self.dice.choice(
            (self.dice.randint(1, max(1, most)), self.dice.randint(1, max(1, most)), most, most + 1)
        )

    def fee(self, amount_fen: int) -> int:
        return self.dice.choice((0, amount_fen // 20))

    def order_no(self, suffix: str = "") -> str:
        return f"O{self.request_id}{suffix}"

    def buyer(self) -> str:
        return self.cast.buyer if self.cast else self.dice.choice(BUYERS)

    def merchant(self) -> str:
        return self.merchants(1)[0]

    def merchants(self, count: int) -> list[str]:
        if self.cast:
            return [self.cast.merchant, *(one for one in MERCHANTS if one != self.cast.merchant)][:count]
        return self._some(self.market.merchants, str, count)

    def member(self) -> str:
        return self.dice.choice(self.cast or (*BUYERS, *MERCHANTS))

    def of(self, known: Sequence[Sum]) -> Sum | None:
        if self.cast:
            return known[-1] if known else None
        chosen = self._some(known, lambda one: one.origin, 1)
        return chosen[0] if chosen else None

    def _some(self, known: Iterable[Any], name: Callable[[Any], str], count: int) -> list[Any]:
        """Which of those known depends as little as can be on which are known by now: so runs of a seed resemble."""
        salt = self.dice.random()
        return sorted(known, key=lambda one: crc32(f"{salt} {name(one)}".encode()))[:count]

    @property
    def common(self) -> dict[str, Any]:
        return {"request_id": self.request_id, "remark": self.remark}

    @property
    def short(self) -> str:
        return self.remark[:PLATFORM_REMARK_MAX]


def _nothing(_: Operation) -> None:
    pass


def _pays(effect: Effect, giver: str, pocket: str, taker: str, amount_fen: int, fee_fen: int) -> None:
    effect[f"{giver} {pocket}"] -= amount_fen
    effect[f"{taker} {AVAILABLE}"] += amount_fen - fee_fen
    effect[FEE] += fee_fen


def _brings(effect: Effect, member: str, amount_fen: int, fee_fen: int, sign: int = 1) -> None:
    effect[OUTSIDE] -= sign * amount_fen
    effect[f"{member} {AVAILABLE}"] += sign * (amount_fen - fee_fen)
    effect[FEE] += sign * fee_fen


def _opening(request_id: str, member: str, nickname: str, learn: Callable[[Operation], None]) -> Call:
    is_ordinary = member in BUYERS
    request = member_pb2.OpenMemberRequest(
        request_id=request_id,
        member_id=member,
        property=member_pb2.MEMBER_PROPERTY_ORDINARY if is_ordinary else member_pb2.MEMBER_PROPERTY_MERCHANT,
        nickname=nickname,
    )
    return Call(member_pb2_grpc.MemberServiceStub, "OpenMember", request, Counter(), learn)


def _open_member(market: Market, context: _ActionContext) -> Call:
    member = f"n{context.request_id.replace('-', '_')}"
    return _opening(context.request_id, member, context.remark, lambda _: market.merchants.append(member))


def _close_member(market: Market, context: _ActionContext) -> Call | None:
    opened = [member for member in market.merchants if member not in MERCHANTS]
    if not opened:
        return None
    member = opened[-1] if context.cast else context.dice.choice(opened)
    request = member_pb2.CloseMemberRequest(request_id=context.request_id, member_id=member)
    return Call(member_pb2_grpc.MemberServiceStub, "CloseMember", request, Counter(), _nothing)


def _top_up(market: Market, context: _ActionContext, member: str = "") -> Call:
    amount = OPENING_FEN if member else context.amount()
    fee, taker = context.fee(amount), member or context.member()
    request = topup_pb2.TopUpRequest(
        **context.common,
        member_id=taker,
        amount_fen=amount,
        fee_fen=fee,
        channel=topup_pb2.Channel(
            type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1900000109", transaction_no=context.order_no()
        ),
        order_no=context.order_no(),
    )
    effect: Effect = Counter()
    _brings(effect, taker, amount, fee)

    def learn(done: Operation) -> None:
        market.top_ups.append(Sum(context.request_id, done.serial, amount, fee, taker=taker))

    return Call(topup_pb2_grpc.TopUpServiceStub, "TopUp", request, effect, learn)


def _split_top_up(market: Market, context: _ActionContext) -> Call:
    shares, parts = [], []
    effect: Effect = Counter()
    for number, member in enumerate(context.merchants(2)):
        amount = context.amount()
        fee = context.fee(amount)
        shares.append(
            topup_pb2.TopUpShare(
                member_id=member,
                amount_fen=amount,
                fee_fen=fee,
                order_no=context.order_no(f"-{number}"),
                remark=context.remark,
            )
        )
        parts.append((amount, fee, member))
        _brings(effect, member, amount, fee)
    request = topup_pb2.SplitTopUpRequest(
        request_id=context.request_id,
        order_no=context.order_no(),
        channel=topup_pb2.Channel(
            type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1900000109", transaction_no=context.order_no()
        ),
        shares=shares,
    )

    def learn(done: Operation) -> None:
        market.split_top_ups.append(
            tuple(Sum(context.request_id, done.serial, amount, fee, taker=member) for amount, fee, member in parts)
        )

    return Call(topup_pb2_grpc.TopUpServiceStub, "SplitTopUp", request, effect, learn)


def _revoke(market: Market, context: _ActionContext) -> Call | None:
    top_up = context.of(market.top_ups)
    if top_up is None:
        return None
    amount = context.amount(top_up.amount_fen)
    fee = min(amount, top_up.fee_fen * amount // top_up.amount_fen)
    request = topup_pb2.RevokeTopUpRequest(**context.common, top_up_serial=top_up.key, amount_fen=amount, fee_fen=fee)
    effect: Effect = Counter()
    _brings(effect, top_up.taker, amount, fee, -1)
    return Call(topup_pb2_grpc.TopUpServiceStub, "RevokeTopUp", request, effect, _nothing)


def _revoke_split(market: Market, context: _ActionContext) -> Call | None:
    if not market.split_top_ups:
        return None
    shares = market.split_top_ups[-1] if context.cast else context.dice.choice(market.split_top_ups)
    effect: Effect = Counter()
    revoked = []
    for share in shares[: context.dice.choice((1, 2))]:
        amount = context.amount(share.amount_fen)
        fee = min(amount, share.fee_fen * amount // share.amount_fen)
        revoked.append(topup_pb2.RevokedShare(member_id=share.taker, amount_fen=amount, fee_fen=fee))
        _brings(effect, share.taker, amount, fee, -1)
    request = topup_pb2.RevokeSplitTopUpRequest(
        request_id=context.request_id, top_up_serial=shares[0].key, shares=revoked
    )
    return Call(topup_pb2_grpc.TopUpServiceStub, "RevokeSplitTopUp", request, effect, _nothing)


def _pay_t1(market: Market, context: _ActionContext) -> Call:
    return _pay(market, context, payment_pb2.SETTLEMENT_T1)


def _pay_t0(market: Market, context: _ActionContext) -> Call:
    return _pay(market, context, payment_pb2.SETTLEMENT_T0)


def _pay(market: Market, context: _ActionContext, settlement: payment_pb2.Settlement.ValueType) -> Call:
    amount, payer, payee = context.amount(), context.buyer(), context.merchant()
    fee = context.fee(amount)
    request = payment_pb2.PayRequest(
        **context.common,
        payer_member_id=payer,
        payee_member_id=payee,
        amount_fen=amount,
        fee_fen=fee,
        settlement=settlement,
        # A label: it may be that of an order, and come again.
        order_no=market.orders[-1].key if market.orders else "",
    )
    effect: Effect = Counter()
    _pays(effect, payer, AVAILABLE, payee, amount, fee)
    return Call(
        payment_pb2_grpc.PaymentServiceStub,
        "Pay",
        request,
        effect,
        lambda done: market.paid(done, context.request_id, payer, [payee]),
    )


def _prepay(market: Market, context: _ActionContext) -> Call:
    order = Sum(context.request_id, context.order_no(), context.amount(), 0, context.buyer(), context.merchant())
    request = payment_pb2.PrepayOrderRequest(
        **context.common,
        payer_member_id=order.giver,
        payee_member_id=order.taker,
        order_no=order.key,
        amount_fen=order.amount_fen,
    )
    return Call(
        payment_pb2_grpc.PaymentServiceStub,
        "PrepayOrder",
        request,
        _prepaid(order),
        lambda _: market.orders.append(order),
    )


def _prepaid(order: Sum, sign: int = 1, amount_fen: int | None = None) -> Effect:
    fen = sign * (order.amount_fen if amount_fen is None else amount_fen)
    return Counter({f"{order.giver} {AVAILABLE}": -fen, f"{order.giver} {ESCROW}": fen})


def _confirm(market: Market, context: _ActionContext) -> Call | None:
    order = context.of(market.orders)
    if order is None:
        return None
    amount = context.amount(order.amount_fen)
    fee = context.fee(amount)
    request = payment_pb2.ConfirmOrderRequest(**context.common, order_no=order.key, amount_fen=amount, fee_fen=fee)
    effect: Effect = Counter()
    _pays(effect, order.giver, ESCROW, order.taker, amount, fee)
    return Call(
        payment_pb2_grpc.PaymentServiceStub,
        "ConfirmOrder",
        request,
        effect,
        lambda done: market.paid(done, context.request_id, order.giver, [order.taker]),
    )


def _cancel(market: Market, context: _ActionContext) -> Call | None:
    order = context.of(market.orders)
    if order is None:
        return None
    amount = context.amount(order.amount_fen)
    request = payment_pb2.CancelOrderRequest(**context.common, order_no=order.key, amount_fen=amount)
    return Call(payment_pb2_grpc.PaymentServiceStub, "CancelOrder", request, _prepaid(order, -1, amount), _nothing)


def _settle(market: Market, context: _ActionContext) -> Call | None:
    order = context.of(market.orders)
    if order is None:
        return None
    confirms = context.cast is not None or context.dice.random() < 0.6
    amount = context.amount(order.amount_fen)
    fee = context.fee(amount) if confirms else 0
    request = payment_pb2.SettleOrderRequest(
        request_id=context.request_id,
        remark=context.short,
        order_no=order.key,
        end=payment_pb2.ORDER_END_CONFIRM if confirms else payment_pb2.ORDER_END_CANCEL,
        amount_fen=amount,
        fee_fen=fee,
    )
    effect: Effect = Counter()
    if confirms:
        _pays(effect, order.giver, ESCROW, order.taker, amount, fee)
    else:
        effect = _prepaid(order, -1, amount)

    def learn(done: Operation) -> None:
        if confirms:
            market.paid(done, context.request_id, order.giver, [order.taker])

    return Call(payment_pb2_grpc.PaymentServiceStub, "SettleOrder", request, effect, learn)


def _batch_prepay(market: Market, context: _ActionContext) -> Call:
    payer = context.buyer()
    orders = [
        Sum(
            f"{context.request_id}/{number}",
            context.order_no(f"-{number}"),
            context.amount(LARGEST_FEN // 2),
            0,
            payer,
            context.merchant(),
        )
        for number in range(2)
    ]
    request = batch_pb2.BatchPrepayRequest(
        request_id=context.request_id,
        payer_member_id=payer,
        orders=[
            batch_pb2.OrderToPrepay(
                payee_member_id=order.taker, order_no=order.key, amount_fen=order.amount_fen, remark=context.short
            )
            for order in orders
        ],
    )
    effect: Effect = Counter()
    for order in orders:
        _add(effect, _prepaid(order))

    def learn(done: Operation) -> None:
        # Parts of a try that never left come before.
        rows = zip(orders, done.parts[-len(orders) :], strict=True)
        market.orders.extend(order for order, part in rows if part.state == core_pb2.PART_STATE_POSTED)

    stub = batch_pb2_grpc.BatchServiceStub
    return Call(stub, "BatchPrepay", request, effect, learn, part=_prepaid(orders[0]))


def _batch_confirm(market: Market, context: _ActionContext) -> Call | None:
    first = context.of(market.orders)
    second = context.of([one for one in market.orders if first and one.giver == first.giver and one != first])
    if first is None or second is None:
        return None
    effect: Effect = Counter()
    rows = []
    for order in (first, second):
        amount = context.amount(order.amount_fen)
        fee = context.fee(amount)
        rows.append(batch_pb2.OrderToConfirm(order_no=order.key, amount_fen=amount, fee_fen=fee, remark=context.short))
        _pays(effect, order.giver, ESCROW, order.taker, amount, fee)
    request = batch_pb2.BatchConfirmRequest(request_id=context.request_id, orders=rows)
    takers = [first.taker, second.taker]
    return Call(
        batch_pb2_grpc.BatchServiceStub,
        "BatchConfirm",
        request,
        effect,
        lambda done: market.paid(done, context.request_id, first.giver, takers),
    )


def _batch_pay(market: Market, context: _ActionContext) -> Call:
    payer, payees = context.buyer(), context.merchants(2)
    effect: Effect = Counter()
    rows = []
    for number, payee in enumerate(payees):
        amount = context.amount(LARGEST_FEN // 2)
        fee = context.fee(amount)
        rows.append(
            batch_pb2.PaymentOfBatch(
                payee_member_id=payee,
                order_no=context.order_no(f"-{number}"),
                amount_fen=amount,
                fee_fen=fee,
                remark=context.short,
            )
        )
        _pays(effect, payer, AVAILABLE, payee, amount, fee)
    request = batch_pb2.BatchPayRequest(request_id=context.request_id, payer_member_id=payer, payments=rows)
    return Call(
        batch_pb2_grpc.BatchServiceStub,
        "BatchPay",
        request,
        effect,
        lambda done: market.paid(done, context.request_id, payer, payees),
    )


def _freeze(market: Market, context: _ActionContext) -> Call:
    frozen = Sum(context.request_id, context.order_no(), context.amount(), giver=context.buyer())
    request = freeze_pb2.FreezeRequest(
        **context.common, member_id=frozen.giver, amount_fen=frozen.amount_fen, order_no=frozen.key
    )
    effect: Effect = Counter(
        {f"{frozen.giver} {AVAILABLE}": -frozen.amount_fen, f"{frozen.giver} {FROZEN}": frozen.amount_fen}
    )
    return Call(freeze_pb2_grpc.FreezeServiceStub, "Freeze", request, effect, lambda _: market.freezes.append(frozen))


def _release(market: Market, context: _ActionContext) -> Call | None:
    frozen = context.of(market.freezes)
    if frozen is None:
        return None
    amount = context.amount(frozen.amount_fen)
    fee = context.fee(amount)
    request = freeze_pb2.ReleaseRequest(**context.common, order_no=frozen.key, amount_fen=amount, fee_fen=fee)
    effect: Effect = Counter()
    _pays(effect, frozen.giver, FROZEN, frozen.giver, amount, fee)
    return Call(freeze_pb2_grpc.FreezeServiceStub, "Release", request, effect, _nothing)


def _pay_frozen(market: Market, context: _ActionContext) -> Call | None:
    frozen = context.of(market.freezes)
    if frozen is None:
        return None
    most = max(1, frozen.amount_fen // 3)
    fee, payees = context.dice.choice((0, most // 10)), context.merchants(2)
    effect: Effect = Counter({f"{frozen.giver} {FROZEN}": -fee, FEE: fee})
    rows = []
    for payee in payees:
        amount = context.amount(most)
        rows.append(freeze_pb2.FrozenPayee(member_id=payee, amount_fen=amount))
        _pays(effect, frozen.giver, FROZEN, payee, amount, 0)
    request = freeze_pb2.PayFrozenRequest(**context.common, order_no=frozen.key, fee_on_top_fen=fee, payees=rows)
    return Call(
        freeze_pb2_grpc.FreezeServiceStub,
        "PayFrozen",
        request,
        effect,
        lambda done: market.paid(done, context.request_id, frozen.giver, payees),
    )


def _refund(market: Market, context: _ActionContext) -> Call | None:
    payment = context.of(market.payments)
    if payment is None:
        return None
    amount = context.amount(payment.amount_fen)
    fee = context.dice.choice((0, payment.fee_fen * amount // max(1, payment.amount_fen)))
    fee = min(fee, amount)
    request = refund_pb2.RefundRequest(**context.common, payment_serial=payment.key, amount_fen=amount, fee_fen=fee)
    effect: Effect = Counter({f"{payment.giver} {AVAILABLE}": amount})
    if payment.taker:
        effect[f"{payment.taker} {AVAILABLE}"] -= amount - fee
        effect[OWN_FUNDS] -= fee
    else:
        effect[FEE] -= amount
    return Call(refund_pb2_grpc.RefundServiceStub, "Refund", request, effect, _nothing)


def _withdraw(_: Market, context: _ActionContext) -> Call:
    amount, member = context.amount(LARGEST_FEN // 4), context.member()
    fee = context.fee(amount)
    request = withdrawal_pb2.WithdrawRequest(
        **context.common,
        member_id=member,
        amount_fen=amount,
        fee_on_top_fen=fee,
        card_number="6200000000000000000",
        card_holder_name="虚构",
    )
    effect: Effect = Counter({f"{member} {AVAILABLE}": -amount - fee, FEE: fee, OUTSIDE: amount})
    return Call(withdrawal_pb2_grpc.WithdrawalServiceStub, "Withdraw", request, effect, _nothing)


def _record_order(market: Market, context: _ActionContext) -> Call | None:
    """The product has collected the order by now; the bank books it at once, misses it, or parks it."""
    # A member that is never closed: else nobody could have it any more.
    amount, taker = context.amount(), context.dice.choice(MERCHANTS)
    fee, fate = context.fee(amount), "parked" if context.cast else context.dice.choice(("", "", "missed", "parked"))
    order = Sum(context.request_id, context.order_no(), amount, fee, taker=taker)
    is_frozen = not fate and context.dice.random() < 0.3
    row = {"SubAccNo": market.sub_account(taker), "PayModel": "0" if is_frozen else "1", "TranFee": _yuan(fee)}
    remark = [{"SFJOrdertype": "0", "remarktype": "JHS0100000", "plantCode": "9930", "oderlist": [row]}]
    booked_to = "parking" if fate == "parked" else ""
    market.bank.acquire(ACQUIRER, order.key, amount, json.dumps(remark), missed=fate == "missed", booked_to=booked_to)
    request = acquiring_pb2.RecordOrderRequest(
        request_id=context.request_id,
        channel=acquiring_pb2.ACQUIRING_CHANNEL_CLOUD,
        order_no=order.key,
        amount_fen=amount,
        shares=[
            acquiring_pb2.OrderShare(
                member_id=taker,
                amount_fen=amount,
                fee_fen=fee,
                credit=acquiring_pb2.ORDER_CREDIT_FROZEN if is_frozen else acquiring_pb2.ORDER_CREDIT_AVAILABLE,
            )
        ],
    )
    effect: Effect = Counter()
    if booked_to:
        effect.update({OUTSIDE: -amount, PARKING: amount})
    elif is_frozen:
        # With its fee, which the bank takes with a release or payment.
        effect.update({OUTSIDE: -amount, f"{taker} {FROZEN}": amount})
    else:
        effect.update({OUTSIDE: -amount, f"{taker} {AVAILABLE}": amount - fee, FEE: fee})

    def learn(_: Operation) -> None:
        if market.unrecorded.pop(order.key, None) and booked_to:
            market.parked.append(order)

    call = Call(acquiring_pb2_grpc.AcquiringServiceStub, "RecordOrder", request, effect, learn)
    market.unrecorded[order.key] = call
    return call


def _rebook_order(market: Market, context: _ActionContext) -> Call | None:
    order = context.of(market.parked)
    if order is None:
        return None
    request = acquiring_pb2.RebookOrderRequest(**context.common, order_no=order.key, member_id=order.taker)
    effect: Effect = Counter(
        {PARKING: -order.amount_fen, f"{order.taker} {AVAILABLE}": order.amount_fen - order.fee_fen, FEE: order.fee_fen}
    )
    return Call(acquiring_pb2_grpc.AcquiringServiceStub, "RebookOrder", request, effect, _nothing)


def _allocate_suspense(market: Market, context: _ActionContext) -> Call | None:
    transfer = context.of(market.transfers)
    if transfer is None:
        return None
    amount, member = context.amount(transfer.amount_fen), context.member()
    fee = context.fee(amount)
    request = suspense_pb2.AllocateSuspenseRequest(
        **context.common,
        transfer_bank_serial=transfer.key,
        member_id=member,
        amount_fen=amount,
        fee_fen=fee,
        order_no=context.order_no(),
    )
    effect: Effect = Counter({SUSPENSE: -amount, f"{member} {AVAILABLE}": amount - fee, FEE: fee})

    def learn(done: Operation) -> None:
        market.clearings.append(Sum(context.request_id, done.serial, amount, fee, taker=member))

    return Call(suspense_pb2_grpc.SuspenseServiceStub, "AllocateSuspense", request, effect, learn)


def _undo_clearing(market: Market, context: _ActionContext) -> Call | None:
    clearing = context.of(market.clearings)
    if clearing is None:
        return None
    amount = context.amount(clearing.amount_fen)
    fee = min(amount, clearing.fee_fen * amount // clearing.amount_fen)
    request = suspense_pb2.ReverseSuspenseAllocationRequest(
        **context.common, allocation_serial=clearing.key, amount_fen=amount, fee_fen=fee
    )
    effect: Effect = Counter({SUSPENSE: amount, f"{clearing.taker} {AVAILABLE}": fee - amount, FEE: -fee})
    return Call(suspense_pb2_grpc.SuspenseServiceStub, "ReverseSuspenseAllocation", request, effect, _nothing)


def _add(effect: Effect, more: Effect) -> None:
    for name, fen in more.items():
        effect[name] += fen


def _yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02}"


_MAKERS: Final[dict[ActionKind, Callable[[Market, _ActionContext], Call | None]]] = {
    ActionKind.TOP_UP: _top_up,
    ActionKind.SPLIT_TOP_UP: _split_top_up,
    ActionKind.REVOKE: _revoke,
    ActionKind.REVOKE_SPLIT: _revoke_split,
    ActionKind.PAY_T1: _pay_t1,
    ActionKind.PAY_T0: _pay_t0,
    ActionKind.PREPAY: _prepay,
    ActionKind.CONFIRM: _confirm,
    ActionKind.CANCEL: _cancel,
    ActionKind.SETTLE: _settle,
    ActionKind.BATCH_PREPAY: _batch_prepay,
    ActionKind.BATCH_CONFIRM: _batch_confirm,
    ActionKind.BATCH_PAY: _batch_pay,
    ActionKind.FREEZE: _freeze,
    ActionKind.RELEASE: _release,
    ActionKind.PAY_FROZEN: _pay_frozen,
    ActionKind.REFUND: _refund,
    ActionKind.WITHDRAW: _withdraw,
    ActionKind.OPEN_MEMBER: _open_member,
    ActionKind.CLOSE_MEMBER: _close_member,
    ActionKind.RECORD_ORDER: _record_order,
    ActionKind.REBOOK_ORDER: _rebook_order,
    ActionKind.ALLOCATE_SUSPENSE: _allocate_suspense,
    ActionKind.REVERSE_ALLOCATION: _undo_clearing,
}
