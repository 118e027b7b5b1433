"""FreezeService: money set aside, given back, and paid out to several members (6007, 6163)."""

from __future__ import annotations

from dataclasses import dataclass

from bankclient import yuan
from jzb.v1 import freeze_pb2, freeze_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from ledger import Account, Kind, Lists, Member, Order, Reads
from ledger.accounts import frozen_fee
from ledger.names import NO_SUB_ACCOUNT, MemberCode
from service import problems
from service.path import rights
from service.path.runner import Runner
from service.plans import freezes
from service.plans.plan import Plan, Serials
from service.problems import Problem
from service.rpc.amounts import fee_within
from service.rpc.context import Context
from service.rpc.facts import MemberFacts
from service.rpc.orders import Ordered, one_order, orders_page
from service.settings import RulesSettings

FREEZE = (OperationKind.FREEZE,)
ACQUIRED = (OperationKind.REBOOK_ORDER, OperationKind.RECORD_ORDER)
"""What freezes money under an order number, besides 6007: acquired orders with PayModel 0, and the move of one, which
says where the money is since. An acquired order that froze nothing may have the number of a freeze.
"""

_OfOrder = freeze_pb2.ReleaseRequest | freeze_pb2.PayFrozenRequest | freeze_pb2.GetFreezeRequest


@dataclass(frozen=True, kw_only=True)
class Freezes(freeze_pb2_grpc.FreezeServiceServicer):
    """See protos/jzb/v1/freeze.proto."""

    runner: Runner
    reads: Reads
    lists: Lists
    members: MemberFacts
    rules: RulesSettings

    async def Freeze(self, request: freeze_pb2.FreezeRequest, context: Context) -> freeze_pb2.FreezeResponse:
        """6007 flag 1."""

        async def plan(serials: Serials) -> Plan:
            return freezes.freeze(request, await self.members.facts(others=[MemberCode(request.member_id)]), serials)

        return freeze_pb2.FreezeResponse(operation=await self.runner.carry_out(request, plan))

    async def Release(self, request: freeze_pb2.ReleaseRequest, context: Context) -> freeze_pb2.ReleaseResponse:
        """6007 flag 2; flag 4 for an acquired order."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            order, member = await self._order(request)
            is_acquired = order.operation.kind != OperationKind.FREEZE
            order_fee_fen = await self._order_fee(order, member, request.order_no, "fee_fen", request.fee_fen)
            if request.amount_fen < order_fee_fen:
                text = f"the order's fee of {yuan(order_fee_fen)} goes with the first release"
                raise problems.invalid("amount_fen", text, rule="order_fee")
            if is_acquired and not order_fee_fen and request.fee_fen and self._fee_at_release:
                raise _no_other_fee(
                    "fee_fen", "the release of money that an acquired order froze has no fee of its own"
                )
            return freezes.release(request, member, serials, is_acquired=is_acquired, order_fee_fen=order_fee_fen)

        return freeze_pb2.ReleaseResponse(operation=await self.runner.carry_out(request, plan))

    async def PayFrozen(self, request: freeze_pb2.PayFrozenRequest, context: Context) -> freeze_pb2.PayFrozenResponse:
        """6163."""
        most = self.rules.payees_max
        if len(request.payees) > most:
            text = f"{len(request.payees)} payees, and this platform's limit is {most}"
            raise problems.invalid("payees", text, rule="payees_max")

        async def plan(serials: Serials) -> Plan:
            order, member = await self._order(request)
            facts = await self.members.facts(
                [member.member_id], [MemberCode(payee.member_id) for payee in request.payees]
            )
            field, stated_fen = "fee_on_top_fen", request.fee_on_top_fen
            order_fee_fen = await self._order_fee(order, member, request.order_no, field, stated_fen)
            return freezes.pay_frozen(request, member, facts, serials, order_fee_fen)

        return freeze_pb2.PayFrozenResponse(
            operation=await self.runner.carry_out(request, plan, rows=len(request.payees))
        )

    async def GetFreeze(self, request: freeze_pb2.GetFreezeRequest, context: Context) -> freeze_pb2.GetFreezeResponse:
        """From the mirror."""
        order, _ = await self._order(request)
        found = await one_order(self.reads, Kind.FROZEN, order.operation.id, request.order_no)
        return freeze_pb2.GetFreezeResponse(order=_message(found))

    async def ListFreezes(
        self, request: freeze_pb2.ListFreezesRequest, context: Context
    ) -> freeze_pb2.ListFreezesResponse:
        """From the mirror, newest first."""

        def takes(one: Ordered) -> bool:
            # An acquired order may have frozen nothing, or its money was moved and is listed where it is since.
            is_frozen = one.full.operation.kind in FREEZE or bool(one.money.put_fen)
            is_elsewhere = one.full.operation.kind == OperationKind.RECORD_ORDER and one.money.has_moved
            return is_frozen and not is_elsewhere and request.member_id in ("", _holder(one))

        kinds = (*FREEZE, *ACQUIRED)
        found, further = await orders_page(self.reads, self.lists, request, Kind.FROZEN, kinds, takes)
        return freeze_pb2.ListFreezesResponse(orders=map(_message, found), next_page_token=further)

    async def _order(self, request: _OfOrder) -> tuple[Order, Member]:
        order, member = await self._found(request.order_no)
        rights.require_own(request, member.member_id)
        return order, member

    async def _found(self, order_no: str) -> tuple[Order, Member]:
        freeze = await self.reads.order(order_no, FREEZE)
        if freeze is not None:
            return freeze, await self.members.get(freeze.operation.payer)
        for kind in ACQUIRED:
            order = await self.reads.order(order_no, [kind])
            if order is None:
                continue
            for credit, _ in await self._frozen(order, order_no):
                found = await self.reads.members_by_sub_account([credit.owner])
                return order, found[credit.owner]
        raise problems.not_found(ErrorReason.ORDER_NOT_FOUND, "frozen order", order_no)

    async def _frozen(self, order: Order, order_no: str) -> list[tuple[Account, int]]:
        """The pocket in which an acquired order has frozen its money, where it was moved last, and how much."""
        credited = await self.reads.credited(order.operation.id)
        return [
            (credit, amount_fen)
            for credits in credited.values()
            for credit, amount_fen in credits
            if credit.kind is Kind.FROZEN and credit.ref in (order_no, frozen_fee(NO_SUB_ACCOUNT, order_no).ref)
        ]

    @property
    def _fee_at_release(self) -> bool:
        return self.rules.acquired_fee == "at_release"

    async def _order_fee(self, order: Order, member: Member, order_no: str, field: str, stated_fen: int) -> int:
        """The fee of an acquired order that is frozen with its money and goes with this call. What another call holds
        of it counts as there: the floor refuses this one until that has ended. ``field`` of the request may state it.
        Raises `Problem`.
        """
        if order.operation.kind == OperationKind.FREEZE:
            return 0
        fee_fen, _ = await self.reads.pocket(frozen_fee(member.sub_account, order_no))
        if fee_fen and stated_fen not in (0, fee_fen):
            text = f"the bank takes the order's own fee of {yuan(fee_fen)} with this call and no other"
            raise _no_other_fee(field, text)
        return fee_fen


def _holder(one: Ordered) -> MemberCode:
    """Whose money it is; of a freeze that is under way, whose it will be."""
    return one.money.member_id or one.parts[-1].payer


def _message(one: Ordered) -> freeze_pb2.FrozenOrder:
    return freeze_pb2.FrozenOrder(
        member_id=_holder(one),
        frozen_fen=one.money.put_fen,
        released_fen=one.done_fen([OperationKind.RELEASE]),
        paid_fen=one.done_fen([OperationKind.PAY_FROZEN]),
        **one.described,
    )


def _no_other_fee(field: str, message: str) -> Problem:
    return problems.not_enabled("6007 FunctionFlag 4 with a fee", f"{field}: {message}", "JZB_RULES__ACQUIRED_FEE")
