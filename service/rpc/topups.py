"""TopUpService: money that payment channels have collected, and its way back (6129, 6216, 6130, 6217)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jzb.v1 import topup_pb2, topup_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from ledger import Operation, Part, PartState, Reads, State
from ledger.accounts import revocable, revocable_fee
from ledger.names import MemberCode, Serial
from service import problems
from service.path import rights
from service.path.runner import Runner
from service.plans import revocations, topups
from service.plans.plan import Plan, Serials
from service.policy import present
from service.problems import Problem
from service.questions.top_up_reading import FIRST, TopUpReading
from service.rpc.amounts import fee_within
from service.rpc.context import Context
from service.rpc.facts import MemberFacts
from service.settings import RulesSettings

_OfTopUp = topup_pb2.RevokeTopUpRequest | topup_pb2.RevokeSplitTopUpRequest | topup_pb2.GetRevocableRequest


@dataclass(frozen=True, kw_only=True)
class TopUps(topup_pb2_grpc.TopUpServiceServicer):
    """See protos/jzb/v1/topup.proto."""

    runner: Runner
    reads: Reads
    members: MemberFacts
    rules: RulesSettings
    reading: TopUpReading

    async def TopUp(self, request: topup_pb2.TopUpRequest, context: Context) -> topup_pb2.TopUpResponse:
        """6129."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            facts = await self.members.facts(others=[MemberCode(request.member_id)])
            also_uses = await self.reading.uses(request.fee_fen)
            return topups.top_up(request, facts, serials, self.rules.top_up_amount, also_uses)

        try:
            operation = await self.runner.carry_out(request, plan)
        except Problem as problem:
            if problem.taken != FIRST:
                raise
            # Another process was first by a moment.
            raise self.reading.not_final() from problem
        return topup_pb2.TopUpResponse(operation=operation)

    async def SplitTopUp(self, request: topup_pb2.SplitTopUpRequest, context: Context) -> topup_pb2.SplitTopUpResponse:
        """6216."""
        for share in request.shares:
            fee_within(share.amount_fen, share.fee_fen)

        async def plan(serials: Serials) -> Plan:
            facts = await self.members.facts(others=[MemberCode(share.member_id) for share in request.shares])
            return topups.split_top_up(request, facts, serials)

        return topup_pb2.SplitTopUpResponse(
            operation=await self.runner.carry_out(request, plan, rows=len(request.shares))
        )

    async def RevokeTopUp(
        self, request: topup_pb2.RevokeTopUpRequest, context: Context
    ) -> topup_pb2.RevokeTopUpResponse:
        """6130."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            top_up, parts = await self._booked(request, OperationKind.TOP_UP)
            facts = await self.members.facts(others=[parts[0].payee])
            return revocations.revoke_top_up(request, top_up, facts.members[parts[0].payee], serials)

        return topup_pb2.RevokeTopUpResponse(operation=await self.runner.carry_out(request, plan))

    async def RevokeSplitTopUp(
        self, request: topup_pb2.RevokeSplitTopUpRequest, context: Context
    ) -> topup_pb2.RevokeSplitTopUpResponse:
        """6217."""
        for share in request.shares:
            fee_within(share.amount_fen, share.fee_fen)

        async def plan(serials: Serials) -> Plan:
            top_up, parts = await self._booked(request, OperationKind.SPLIT_TOP_UP)
            by_member = {part.payee: part for part in parts}
            for share in request.shares:
                if share.member_id not in by_member:
                    raise problems.not_found(ErrorReason.MEMBER_NOT_FOUND, "member of the top-up", share.member_id)
            facts = await self.members.facts(others=[MemberCode(share.member_id) for share in request.shares])
            revoked = [
                revocations.RevokedShare(
                    by_member[MemberCode(share.member_id)].serial,
                    by_member[MemberCode(share.member_id)].order_no,
                    facts.members[MemberCode(share.member_id)],
                    share.amount_fen,
                    share.fee_fen,
                )
                for share in request.shares
            ]
            return revocations.revoke_split_top_up(top_up, revoked, serials, self.rules.revoked_order)

        return topup_pb2.RevokeSplitTopUpResponse(
            operation=await self.runner.carry_out(request, plan, rows=len(request.shares))
        )

    async def GetRevocable(
        self, request: topup_pb2.GetRevocableRequest, context: Context
    ) -> topup_pb2.GetRevocableResponse:
        """From the mirror."""
        _, parts = await self._top_up(request, (OperationKind.TOP_UP, OperationKind.SPLIT_TOP_UP))
        limits = [account(part.serial) for part in parts for account in (revocable, revocable_fee)]
        remaining = await self.reads.remaining(limits)
        return topup_pb2.GetRevocableResponse(
            shares=[
                topup_pb2.RevocableShare(
                    serial=part.serial,
                    member_id=part.payee,
                    amount_fen=part.amount_fen,
                    fee_fen=part.fee_fen,
                    remaining_fen=remaining[revocable(part.serial).name] + remaining[revocable_fee(part.serial).name],
                    remaining_fee_fen=remaining[revocable_fee(part.serial).name],
                )
                for part in parts
            ]
        )

    async def _top_up(self, request: _OfTopUp, kinds: Sequence[str]) -> tuple[Operation, list[Part]]:
        found = await self.reads.operation(serial=Serial(request.top_up_serial))
        if found is None or found.kind not in kinds or found.state in (State.REFUSED, State.RELEASED):
            raise problems.not_found(ErrorReason.TOP_UP_NOT_FOUND, "top up", request.top_up_serial)
        parts = (await self.reads.parts([found.id]))[found.id]
        if not any(present().has_member(part.payee) for part in parts):
            # Of one with shares of several the caller has its own.
            raise rights.hidden(request)
        return found, [part for part in parts if part.state is not PartState.VOIDED]

    async def _booked(self, request: _OfTopUp, kind: str) -> tuple[Operation, list[Part]]:
        found, parts = await self._top_up(request, (kind,))
        # 6130 names a top-up by the bank's serial, which 6110 need not tell after a lost answer.
        if not found.state.is_final or (kind == OperationKind.TOP_UP and not found.bank_serial):
            raise problems.precondition(
                ErrorReason.TOP_UP_IN_DOUBT,
                f"the outcome of top-up {request.top_up_serial}, or the bank's serial of it, is not known yet",
                "wait until the top-up is final; the request id is not used up",
                operation_id=str(found.id),
            )
        await self.reads.require_as_opened(found)
        return found, parts
