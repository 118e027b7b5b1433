"""BatchService: several orders or payees of one payer in one call (6052, 6120, 6133)."""

from __future__ import annotations

from dataclasses import dataclass

from jzb.v1 import batch_pb2, batch_pb2_grpc
from jzb.v1.names import ErrorReason
from ledger import Kind, Reads
from ledger.accounts import escrow
from ledger.names import MemberCode
from service import problems
from service.path import rights
from service.path.runner import Runner
from service.plans import batches
from service.plans.plan import Plan, Serials
from service.policy import present
from service.rpc.amounts import fee_within, require_parts_allowed
from service.rpc.context import Context
from service.rpc.facts import MemberFacts
from service.rpc.payments import PREPAYMENT
from service.settings import RulesSettings


@dataclass(frozen=True, kw_only=True)
class Batches(batch_pb2_grpc.BatchServiceServicer):
    """See protos/jzb/v1/batch.proto."""

    runner: Runner
    reads: Reads
    members: MemberFacts
    rules: RulesSettings

    async def BatchPrepay(
        self, request: batch_pb2.BatchPrepayRequest, context: Context
    ) -> batch_pb2.BatchPrepayResponse:
        """Flag 1."""

        async def plan(serials: Serials) -> Plan:
            payees = [MemberCode(order.payee_member_id) for order in request.orders]
            return batches.prepay(
                request, await self.members.facts([MemberCode(request.payer_member_id)], payees), serials
            )

        return batch_pb2.BatchPrepayResponse(
            operation=await self.runner.carry_out(request, plan, rows=len(request.orders))
        )

    async def BatchConfirm(
        self, request: batch_pb2.BatchConfirmRequest, context: Context
    ) -> batch_pb2.BatchConfirmResponse:
        """Flag 2."""
        for order in request.orders:
            fee_within(order.amount_fen, order.fee_fen)

        async def plan(serials: Serials) -> Plan:
            return await self._confirmation(request, serials)

        return batch_pb2.BatchConfirmResponse(
            operation=await self.runner.carry_out(request, plan, rows=len(request.orders))
        )

    async def BatchPay(self, request: batch_pb2.BatchPayRequest, context: Context) -> batch_pb2.BatchPayResponse:
        """Flag 3."""
        for payment in request.payments:
            fee_within(payment.amount_fen, payment.fee_fen)

        async def plan(serials: Serials) -> Plan:
            if not self.rules.batch_direct_pay:
                raise problems.not_enabled(
                    "6052 FunctionFlag 3",
                    "direct batch payment is not switched on: the quick start says the bank does not offer it",
                    "JZB_RULES__BATCH_DIRECT_PAY",
                )
            payees = [MemberCode(payment.payee_member_id) for payment in request.payments]
            return batches.pay(
                request, await self.members.facts([MemberCode(request.payer_member_id)], payees), serials
            )

        return batch_pb2.BatchPayResponse(
            operation=await self.runner.carry_out(request, plan, rows=len(request.payments))
        )

    async def _confirmation(self, request: batch_pb2.BatchConfirmRequest, serials: Serials) -> Plan:
        wanted = [order.order_no for order in request.orders]
        sides = await self.reads.order_sides(wanted, PREPAYMENT)
        for order_no in wanted:
            if order_no not in sides:
                raise problems.not_found(ErrorReason.ORDER_NOT_FOUND, "order", order_no)
            if not all(map(present().has_member, sides[order_no])):
                raise rights.hidden(request, order_no)
        payer_id = sides[wanted[0]][0]
        for order_no in wanted:
            if sides[order_no][0] != payer_id:
                raise problems.precondition(
                    ErrorReason.ORDERS_OF_SEVERAL_PAYERS,
                    f"order {order_no} was prepaid by {sides[order_no][0]}, order {wanted[0]} by {payer_id}",
                    "confirm the orders of each payer in a batch of their own; the request id is not used up",
                    order_no=order_no,
                    payer_member_id=sides[order_no][0],
                )
        members = await self.reads.members({member_id for pair in sides.values() for member_id in pair})
        payees = {order_no: members[sides[order_no][1]] for order_no in wanted}
        rules = self.rules
        if not rules.order_in_parts:
            pockets = {
                order.order_no: escrow(members[payer_id].sub_account, order.order_no) for order in request.orders
            }
            remaining = await self.reads.remaining(pockets.values())
            for order in request.orders:
                require_parts_allowed(rules, order.amount_fen, remaining[pockets[order.order_no].name])
        settled_as = Kind[rules.confirmed_money.upper()]
        return batches.confirm(request, members[payer_id], payees, serials, settled_as)
