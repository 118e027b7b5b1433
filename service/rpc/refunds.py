"""RefundService: finished payments given back (6164, all six sources)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from jzb.v1 import refund_pb2, refund_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from ledger import Breach, Filter, Kind, Lists, PartState, Payment, Reads
from ledger.names import Serial
from service import problems, view
from service.bankday import days_now
from service.path import rights
from service.path.runner import Runner
from service.plans import refunds
from service.plans.plan import Plan, Serials
from service.rpc.amounts import fee_within
from service.rpc.context import Context
from service.rpc.facts import MemberFacts
from service.rpc.listing import page_seen
from service.rpc.pages import page_size, page_start, page_token, start_id
from service.settings import RulesSettings


@dataclass(frozen=True, kw_only=True)
class Refunds(refund_pb2_grpc.RefundServiceServicer):
    """See protos/jzb/v1/refund.proto."""

    runner: Runner
    reads: Reads
    lists: Lists
    members: MemberFacts
    rules: RulesSettings
    platform: str

    async def Refund(self, request: refund_pb2.RefundRequest, context: Context) -> refund_pb2.RefundResponse:
        """6164."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            return await self._plan(request, serials)

        return refund_pb2.RefundResponse(operation=await self.runner.carry_out(request, plan))

    async def GetRefundable(
        self, request: refund_pb2.GetRefundableRequest, context: Context
    ) -> refund_pb2.GetRefundableResponse:
        """From the mirror."""
        payment = await self._payment(request)
        window = timedelta(days=self.rules.refund_window_days)
        pending = await self.reads.pending_refunds(payment.serial)
        day = payment.part.bank_day
        return refund_pb2.GetRefundableResponse(
            refundable=refund_pb2.Refundable(
                payment_serial=payment.serial,
                payer_member_id=payment.part.payer,
                payee_member_id=payment.part.payee,
                order_no=payment.part.order_no or payment.operation.order_no,
                amount_fen=payment.part.amount_fen,
                fee_fen=payment.part.fee_fen,
                remaining_fen=payment.refundable_fen,
                remaining_fee_fen=payment.refundable_fee_fen,
                held_fen=sum(part.amount_fen for part in pending),
                held_fee_fen=sum(part.fee_fen for part in pending),
                held_parts=[view.part_message(part) for part in pending],
                last_refund_day=(day + window).isoformat() if day else "",
            )
        )

    async def ListRefunds(
        self, request: refund_pb2.ListRefundsRequest, context: Context
    ) -> refund_pb2.ListRefundsResponse:
        """From the mirror, newest first: of the refunds that the payment's payer has had since, those that name it."""
        payment = await self._payment(request)
        wanted = Filter(
            kinds=frozenset({OperationKind.REFUND}),
            member_id=payment.part.payer,
            since=payment.operation.created_at,
        )
        page, _ = await page_seen(
            self.reads,
            self.lists,
            wanted,
            behind=start_id(page_start(request.page_token, request)),
            size=page_size(request.page_size),
            takes=lambda full: view.original(*full) == payment.serial,
        )
        return refund_pb2.ListRefundsResponse(
            refunds=[view.operation(*full) for full in page.full_operations],
            next_page_token=page_token(str(page.further), request) if page.further else "",
        )

    async def _plan(self, request: refund_pb2.RefundRequest, serials: Serials) -> Plan:
        payment = await self._payment(request)
        rules = self.rules
        # Around midnight the bank may be a day behind: then it has the last word on the window. The day of an old
        # payment is told it rather a day too early.
        earliest, latest = days_now()
        day = payment.part.bank_day
        if day is not None and earliest - day > timedelta(days=rules.refund_window_days):
            raise problems.precondition(
                ErrorReason.REFUND_WINDOW_CLOSED,
                f"the payment was booked on {day}; it could be refunded for {rules.refund_window_days} days",
                "ask the bank for a longer window and set JZB_RULES__REFUND_WINDOW_DAYS; the request id is not used up",
                payment_serial=payment.serial,
                bank_day=str(day),
                window_days=str(rules.refund_window_days),
            )
        if request.fee_fen and refunds.SOURCES[payment.operation.kind] == refunds.FEE_BY_ITSELF:
            # The bank takes no fee part here, so the floor is told before a message is made.
            raise problems.floor_broken(
                Breach(Kind.REFUNDABLE_FEE.value, "", payment.serial, request.fee_fen, payment.refundable_fee_fen), None
            )
        sides = [side for side in (payment.part.payer, payment.part.payee) if side]
        members = (await self.members.facts(others=sides)).members
        return refunds.refund(
            request,
            payment,
            members[payment.part.payer],
            members.get(payment.part.payee),
            serials,
            today=latest,
            fee_sub_account=f"{self.platform}{rules.fee_suffix}",
        )

    async def _payment(
        self, request: refund_pb2.RefundRequest | refund_pb2.GetRefundableRequest | refund_pb2.ListRefundsRequest
    ) -> Payment:
        payment = await self.reads.payment(Serial(request.payment_serial))
        if payment is None or payment.operation.kind not in refunds.SOURCES:
            raise problems.not_found(ErrorReason.PAYMENT_NOT_FOUND, "payment", request.payment_serial)
        if payment.part.state is PartState.VOIDED:
            raise problems.not_found(ErrorReason.PAYMENT_NOT_FOUND, "payment", request.payment_serial)
        rights.require_own(request, payment.part.payer, payment.part.payee)
        return payment
