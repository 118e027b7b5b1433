"""PaymentService: payments between members, direct and through escrow (6034, 6101, 6006, 6031)."""

from __future__ import annotations

from dataclasses import dataclass

from jzb.v1 import payment_pb2, payment_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from ledger import Kind, Lists, Member, Order, Reads
from ledger.accounts import escrow
from ledger.names import MemberCode
from service import problems
from service.path import rights
from service.path.runner import Runner
from service.plans import payments
from service.plans.plan import Plan, Serials
from service.plans.verification import mode_of
from service.rpc.amounts import fee_within, require_parts_allowed
from service.rpc.context import Context
from service.rpc.facts import AccountNames, MemberFacts
from service.rpc.orders import Ordered, one_order, orders_page
from service.settings import RulesSettings

PREPAYMENT = (OperationKind.PREPAY_ORDER, OperationKind.BATCH_PREPAY)
CONFIRMATION = (OperationKind.CONFIRM_ORDER, OperationKind.SETTLE_CONFIRM, OperationKind.BATCH_CONFIRM)
CANCELLATION = (OperationKind.CANCEL_ORDER, OperationKind.SETTLE_CANCEL)

_OfOrder = (
    payment_pb2.ConfirmOrderRequest
    | payment_pb2.CancelOrderRequest
    | payment_pb2.SettleOrderRequest
    | payment_pb2.GetOrderRequest
)


@dataclass(frozen=True, kw_only=True)
class Payments(payment_pb2_grpc.PaymentServiceServicer):
    """See protos/jzb/v1/payment.proto."""

    runner: Runner
    reads: Reads
    lists: Lists
    members: MemberFacts
    names: AccountNames
    rules: RulesSettings

    async def Pay(self, request: payment_pb2.PayRequest, context: Context) -> payment_pb2.PayResponse:
        """6034 flags 6 and 9."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            facts = await self.members.facts(
                [MemberCode(request.payer_member_id)], [MemberCode(request.payee_member_id)], between_same_name=True
            )
            payer, payee = (
                facts.members[MemberCode(request.payer_member_id)],
                facts.members[MemberCode(request.payee_member_id)],
            )
            if payer.property == "SH" and mode_of(request.verification) == "none":
                raise problems.precondition(
                    ErrorReason.VERIFICATION_REQUIRED,
                    f"{payer.member_id} is a merchant (SH): it pays {payee.member_id}, its own customer, only verified",
                    "give a verification by SMS or password; the request id is not used up",
                    payer_member_id=payer.member_id,
                    payee_member_id=payee.member_id,
                )
            names = await self.names.for_verification(request.verification, payer, payee)
            return payments.pay(request, facts, serials, names)

        return payment_pb2.PayResponse(operation=await self.runner.carry_out(request, plan))

    async def PrepayOrder(
        self, request: payment_pb2.PrepayOrderRequest, context: Context
    ) -> payment_pb2.PrepayOrderResponse:
        """6034 flag 1."""

        async def plan(serials: Serials) -> Plan:
            facts = await self.members.facts(
                [MemberCode(request.payer_member_id)], [MemberCode(request.payee_member_id)]
            )
            payer, payee = (
                facts.members[MemberCode(request.payer_member_id)],
                facts.members[MemberCode(request.payee_member_id)],
            )
            names = await self.names.for_verification(request.verification, payer, payee)
            return payments.prepay_order(request, facts, serials, names)

        return payment_pb2.PrepayOrderResponse(operation=await self.runner.carry_out(request, plan))

    async def ConfirmOrder(
        self, request: payment_pb2.ConfirmOrderRequest, context: Context
    ) -> payment_pb2.ConfirmOrderResponse:
        """6034 flag 2."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            _, payer, payee = await self._order(request)
            await self._require_parts_allowed(payer, request.order_no, request.amount_fen)
            settled_as = Kind[self.rules.confirmed_money.upper()]
            names = await self.names.for_verification(request.verification, payer, payee)
            return payments.confirm_order(request, payer, payee, serials, settled_as, names)

        return payment_pb2.ConfirmOrderResponse(operation=await self.runner.carry_out(request, plan))

    async def CancelOrder(
        self, request: payment_pb2.CancelOrderRequest, context: Context
    ) -> payment_pb2.CancelOrderResponse:
        """6034 flag 3."""

        async def plan(serials: Serials) -> Plan:
            _, payer, payee = await self._order(request)
            await self._require_parts_allowed(payer, request.order_no, request.amount_fen)
            names = await self.names.for_verification(request.verification, payer, payee)
            return payments.cancel_order(request, payer, payee, serials, names)

        return payment_pb2.CancelOrderResponse(operation=await self.runner.carry_out(request, plan))

    async def SettleOrder(
        self, request: payment_pb2.SettleOrderRequest, context: Context
    ) -> payment_pb2.SettleOrderResponse:
        """6031."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            _, payer, payee = await self._order(request)
            await self._require_parts_allowed(payer, request.order_no, request.amount_fen)
            settled_as = Kind[self.rules.confirmed_money.upper()]
            names = await self.names.of_both(payer, payee)
            return payments.settle_order(request, payer, payee, serials, settled_as, names)

        return payment_pb2.SettleOrderResponse(operation=await self.runner.carry_out(request, plan))

    async def GetOrder(self, request: payment_pb2.GetOrderRequest, context: Context) -> payment_pb2.GetOrderResponse:
        """From the mirror."""
        order, _, _ = await self._order(request)
        found = await one_order(self.reads, Kind.ESCROW, order.operation.id, request.order_no)
        return payment_pb2.GetOrderResponse(order=_message(found))

    async def ListOrders(
        self, request: payment_pb2.ListOrdersRequest, context: Context
    ) -> payment_pb2.ListOrdersResponse:
        """From the mirror, newest first."""

        def takes(one: Ordered) -> bool:
            # Of a batch other orders may be other members'.
            return request.member_id in ("", *_sides(one))

        found, further = await orders_page(self.reads, self.lists, request, Kind.ESCROW, PREPAYMENT, takes)
        return payment_pb2.ListOrdersResponse(orders=map(_message, found), next_page_token=further)

    async def _require_parts_allowed(self, payer: Member, order_no: str, amount_fen: int) -> None:
        balance_fen, held_fen = await self.reads.pocket(escrow(payer.sub_account, order_no))
        require_parts_allowed(self.rules, amount_fen, balance_fen - held_fen)

    async def _order(self, request: _OfOrder) -> tuple[Order, Member, Member]:
        order = await self.reads.order(request.order_no, PREPAYMENT)
        if order is None:
            raise problems.not_found(ErrorReason.ORDER_NOT_FOUND, "order", request.order_no)
        rights.require_own(request, order.payer, order.payee)
        members = await self.reads.members([order.payer, order.payee])
        return order, members[order.payer], members[order.payee]


def _sides(one: Ordered) -> tuple[MemberCode, MemberCode]:
    """Payer and payee of an order. A prepayment that was tried again has the same."""
    return one.parts[-1].payer, one.parts[-1].payee


def _message(one: Ordered) -> payment_pb2.Order:
    payer, payee = _sides(one)
    return payment_pb2.Order(
        payer_member_id=payer,
        payee_member_id=payee,
        prepaid_fen=one.money.put_fen,
        confirmed_fen=one.done_fen(CONFIRMATION),
        cancelled_fen=one.done_fen(CANCELLATION),
        **one.described,
    )
