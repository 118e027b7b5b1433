"""AcquiringService: orders that the bank's acquiring products collect, and their way to members (6145, 6146, 6147)."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from bankclient import AcquiringOrder, BankClient, yuan
from jzb.v1 import acquiring_pb2, acquiring_pb2_grpc, core_pb2
from jzb.v1.names import ErrorReason, OperationKind
from ledger import Account, Kind, Operation, PartState, Reads, State
from ledger.names import BankSerial, MemberCode, SubAccount
from service import problems, view
from service.path import rights
from service.path.runner import Runner, Settled
from service.plans import acquiring, order_remark
from service.plans.acquiring import CHANNELS
from service.plans.order_remark import Violation
from service.plans.plan import Plan, Serials, Stored
from service.policy import present
from service.problems import Problem
from service.questions.acquiring import AcquiredQuery
from service.questions.bookings import booked_on
from service.questions.calls import query_bank
from service.rpc.amounts import fee_within
from service.rpc.context import Context
from service.rpc.dates import booked_at
from service.rpc.facts import AccountNames, MemberFacts
from service.rpc.order_remarks import invalid, plain_amount, remark_of
from service.settings import RulesSettings

RECORD = (OperationKind.RECORD_ORDER,)

LENGTHS = {
    acquiring_pb2.REMARK_CARRIER_PAY_API: order_remark.PAY_API_MAX,
    acquiring_pb2.REMARK_CARRIER_CASHIER_PAGE: order_remark.CASHIER_PAGE_MAX,
}
STATES = {
    "0": acquiring_pb2.BANK_ORDER_STATE_BOOKED,
    "1": acquiring_pb2.BANK_ORDER_STATE_FAILED,
    "2": acquiring_pb2.BANK_ORDER_STATE_ABNORMAL,
    "3": acquiring_pb2.BANK_ORDER_STATE_REVERSED,
    "5": acquiring_pb2.BANK_ORDER_STATE_PENDING,
}
"""TranStatus of 6146."""
CREDITS = {"0": acquiring_pb2.ORDER_CREDIT_FROZEN, "1": acquiring_pb2.ORDER_CREDIT_AVAILABLE}
"""PayMode of 6146."""


@dataclass(frozen=True, kw_only=True)
class AcquiringRpc(acquiring_pb2_grpc.AcquiringServiceServicer):
    """See protos/jzb/v1/acquiring.proto."""

    runner: Runner
    reads: Reads
    bank: BankClient
    members: MemberFacts
    names: AccountNames
    rules: RulesSettings
    platform: str

    async def BuildOrderRemark(
        self, request: acquiring_pb2.BuildOrderRemarkRequest, context: Context
    ) -> acquiring_pb2.BuildOrderRemarkResponse:
        """From the mirror."""
        named = [MemberCode(share.member_id) for share in request.shares]
        named += [MemberCode(refund.member_id) for refund in request.refunds]
        facts = await self.members.facts(others=named)
        remark = remark_of(request, facts, self.platform)
        text, length_max = order_remark.written(remark), LENGTHS[request.carrier]
        _, violations = order_remark.checked(
            text, platform=remark.platform, amount_fen=request.amount_fen, length_max=length_max
        )
        if remark.order_type == order_remark.PLAIN and remark.rows[0].amount_fen != request.amount_fen:
            violations.insert(0, plain_amount(remark.rows[0].amount_fen, request.amount_fen))
        if violations:
            raise invalid(violations)
        return acquiring_pb2.BuildOrderRemarkResponse(remark=text, length=len(text), length_max=length_max)

    async def CheckOrderRemark(
        self, request: acquiring_pb2.CheckOrderRemarkRequest, context: Context
    ) -> acquiring_pb2.CheckOrderRemarkResponse:
        """From the mirror."""
        length_max = LENGTHS[request.carrier]
        remark, violations = order_remark.checked(
            request.remark,
            platform=self.platform,
            amount_fen=request.amount_fen,
            length_max=length_max,
        )
        found = await self.reads.members_by_sub_account({row.sub_account for row in remark.rows})
        members = {number: member for number, member in found.items() if present().has_member(member.member_id)}
        for index, row in enumerate(remark.rows):
            member = members.get(row.sub_account)
            if row.sub_account and (member is None or not member.is_open):
                path = f"{order_remark.LIST}[{index}].SubAccNo"
                violations.append(Violation(path, f"{row.sub_account} is no open member: the money would be parked"))
        return acquiring_pb2.CheckOrderRemarkResponse(
            violations=[
                acquiring_pb2.RemarkViolation(
                    field=violation.path,
                    description=violation.description,
                    amounts=[
                        core_pb2.NamedAmount(name=name, amount_fen=value) for name, value in violation.amounts.items()
                    ],
                )
                for violation in violations
            ],
            rows=[
                acquiring_pb2.RemarkRow(
                    sub_account=row.sub_account,
                    member_id=members[row.sub_account].member_id if row.sub_account in members else "",
                    credit=CREDITS["0" if row.is_frozen else "1"],
                    amount_fen=row.amount_fen,
                    fee_fen=row.fee_fen,
                    sub_order_no=row.number,
                    refund_no=row.refund_number,
                )
                for row in remark.rows
            ],
            remark_type=remark.remark_type,
            length=len(request.remark),
            length_max=length_max,
        )

    async def RecordOrder(
        self, request: acquiring_pb2.RecordOrderRequest, context: Context
    ) -> acquiring_pb2.RecordOrderResponse:
        """6146, and 6147 when the bank missed the order."""
        for share in request.shares:
            fee_within(share.amount_fen, share.fee_fen)
        _sums(request)

        async def plan(serials: Serials) -> Plan:
            facts = await self.members.facts(others=[MemberCode(share.member_id) for share in request.shares])
            at_release = self.rules.acquired_fee == "at_release"
            own_alone = bool(present().members)
            return acquiring.record_order(request, facts, serials, fee_at_release=at_release, own_alone=own_alone)

        settled = await self.runner.run(request, plan)
        return acquiring_pb2.RecordOrderResponse(operation=settled.message, bookings=await self._bookings(settled))

    async def RebookOrder(
        self, request: acquiring_pb2.RebookOrderRequest, context: Context
    ) -> acquiring_pb2.RebookOrderResponse:
        """6145."""

        async def plan(serials: Serials) -> Plan:
            return await self._rebooking(request, serials)

        return acquiring_pb2.RebookOrderResponse(operation=await self.runner.carry_out(request, plan))

    async def GetBankOrder(
        self, request: acquiring_pb2.GetBankOrderRequest, context: Context
    ) -> acquiring_pb2.GetBankOrderResponse:
        """6146."""
        question = AcquiringOrder(AcquiringChannelType=CHANNELS[request.channel], OrderNo=request.order_no)
        reply = await query_bank(self.bank, question)
        if reply is None:
            raise problems.not_found(ErrorReason.ACQUIRED_ORDER_NOT_FOUND, "acquired order", request.order_no)
        named, booked = SubAccount(reply.OrderInSubAcctNo or ""), SubAccount(reply.OrderActInSubAcctNo or "")
        members = await self.reads.members_by_sub_account({named, booked})
        day = booked_on(BankSerial(reply.FrontSeqNo or ""), reply.TranDate)
        return acquiring_pb2.GetBankOrderResponse(
            state=STATES.get(reply.TranStatus, acquiring_pb2.BANK_ORDER_STATE_UNSPECIFIED),
            amount_fen=reply.TranAmt,
            fee_fen=reply.CommissionAmt or 0,
            credit=CREDITS.get(reply.PayMode or "", acquiring_pb2.ORDER_CREDIT_UNSPECIFIED),
            named_sub_account=named,
            named_member_id=members[named].member_id if named in members else "",
            booked_sub_account=booked,
            booked_member_id=members[booked].member_id if booked in members else "",
            bank_serial=reply.FrontSeqNo or "",
            bank_day=day.isoformat() if day else "",
            book_time=booked_at(reply.TranDate or "", reply.TranTime or ""),
            failure=reply.TranDesc or "",
        )

    async def _rebooking(self, request: acquiring_pb2.RebookOrderRequest, serials: Serials) -> Plan:
        order = await self.reads.order(request.order_no, RECORD)
        entered = order.operation if order else None
        found = None
        if entered is not None and entered.state is State.DONE:
            await self.reads.require_as_opened(entered)
            parts = (await self.reads.parts([entered.id])).get(entered.id, [])
            found = _query_of(entered).share(parts, request.order_no)
        if entered is None or found is None or found[1].state is not PartState.POSTED:
            raise problems.not_found(ErrorReason.ACQUIRED_ORDER_NOT_FOUND, "acquired order", request.order_no)
        share, part = found
        rights.require_own(request, part.payee)
        facts = await self.members.facts(others=[MemberCode(request.member_id)])
        right = facts.members[MemberCode(request.member_id)]
        credits = (await self.reads.credited(entered.id)).get(part.part, [])
        holder = next((credit for credit, _ in credits if credit.owner or credit.kind is Kind.PARKING), None)
        if holder is None or holder.owner == right.sub_account:
            raise _booked_already(request)
        payer = None
        if holder.kind is not Kind.PARKING:
            payer = (await self.reads.members_by_sub_account([holder.owner]))[holder.owner]
        name = await self.names.of(right)
        return acquiring.rebook_order(
            request, entered.serial, _query_of(entered).channel, share, part, payer, right, name, serials
        )

    async def _bookings(self, settled: Settled) -> list[acquiring_pb2.OrderBooking]:
        if settled.operation.id == view.NOT_RECORDED:
            return []
        credited = await self.reads.credited(settled.operation.id)
        owners = {credit.owner for credits in credited.values() for credit, _ in credits if credit.owner}
        members = await self.reads.members_by_sub_account(owners)
        bookings = []
        for share, part in _query_of(settled.operation).with_parts(settled.parts):
            if part.state is not PartState.POSTED:
                continue
            accounts: list[Account] = [credit for credit, _ in credited.get(part.part, [])]
            bookings.append(
                acquiring_pb2.OrderBooking(
                    order_no=share.order_no,
                    member_id=part.payee,
                    booked_member_id=next((members[one.owner].member_id for one in accounts if one.owner), ""),
                    state=acquiring_pb2.BOOKING_STATE_PARKED
                    if any(one.kind is Kind.PARKING for one in accounts)
                    else acquiring_pb2.BOOKING_STATE_BOOKED,
                    amount_fen=part.amount_fen,
                    fee_fen=part.fee_fen,
                )
            )
        return bookings


def _query_of(entered: Operation) -> AcquiredQuery:
    query = Stored.from_json(entered.plan).query
    if not isinstance(query, AcquiredQuery):
        raise TypeError(f"operation {entered.id} is not the entry of an acquired order")
    return query


def _sums(request: acquiring_pb2.RecordOrderRequest) -> None:
    total_fen = sum(share.amount_fen for share in request.shares)
    if total_fen != request.amount_fen:
        text = f"is {yuan(request.amount_fen)}, the shares add up to {yuan(total_fen)}"
        raise Problem(
            grpc.StatusCode.INVALID_ARGUMENT,
            ErrorReason.ORDER_AMOUNTS_DIFFER,
            f"amount_fen: {text}",
            next_step="correct the request; the request id is not used up",
            metadata={"field": "amount_fen"},
            amounts={"amount": request.amount_fen, "sum": total_fen},
            violations=[("amount_fen", text)],
        )


def _booked_already(request: acquiring_pb2.RebookOrderRequest) -> Problem:
    return problems.precondition(
        ErrorReason.ACQUIRED_ORDER_IN_PLACE,
        f"nothing of order {request.order_no} is with anybody else than member {request.member_id}",
        "nothing has to be moved; the request id is not used up",
        order_no=request.order_no,
        member_id=request.member_id,
    )
