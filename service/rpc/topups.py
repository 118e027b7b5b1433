"""TopUpService: money that payment channels have collected (6129, 6216)."""

from __future__ import annotations

from jzb.v1 import topup_pb2, topup_pb2_grpc
from service import view
from service.plans import topups
from service.plans.plan import Plan, Serials
from service.rpc.desk import Context, Desk, fee_within


class TopUps(topup_pb2_grpc.TopUpServiceServicer):
    """See protos/jzb/v1/topup.proto."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def TopUp(self, request: topup_pb2.TopUpRequest, context: Context) -> topup_pb2.TopUpResponse:
        """6129."""
        fee_within(request.amount_fen, request.fee_fen)

        async def plan(serials: Serials) -> Plan:
            facts = await self._desk.facts(others=[request.member_id])
            return topups.top_up(request, facts, serials, self._desk.settings.rules.top_up_amount)

        settled = await self._desk.runner.run(request, plan, check_only=request.validate_only)
        return topup_pb2.TopUpResponse(operation=view.operation(settled.operation, settled.parts))

    async def SplitTopUp(self, request: topup_pb2.SplitTopUpRequest, context: Context) -> topup_pb2.SplitTopUpResponse:
        """6216."""
        for share in request.shares:
            fee_within(share.amount_fen, share.fee_fen)

        async def plan(serials: Serials) -> Plan:
            facts = await self._desk.facts(others=[share.member_id for share in request.shares])
            return topups.split_top_up(request, facts, serials)

        settled = await self._desk.runner.run(request, plan, rows=len(request.shares), check_only=request.validate_only)
        return topup_pb2.SplitTopUpResponse(operation=view.operation(settled.operation, settled.parts))
