"""WithdrawalService: money paid out to a card (6033)."""

from __future__ import annotations

from jzb.v1 import withdrawal_pb2, withdrawal_pb2_grpc
from service import view
from service.plans import withdrawals
from service.plans.plan import Plan, Serials
from service.rpc.desk import Context, Desk


class Withdrawals(withdrawal_pb2_grpc.WithdrawalServiceServicer):
    """See protos/jzb/v1/withdrawal.proto."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Withdraw(
        self, request: withdrawal_pb2.WithdrawRequest, context: Context
    ) -> withdrawal_pb2.WithdrawResponse:
        """6033; the final word comes later."""

        async def plan(serials: Serials) -> Plan:
            facts = await self._desk.facts(others=[request.member_id])
            return withdrawals.withdraw(request, facts, serials, self._desk.settings.platform)

        settled = await self._desk.runner.run(request, plan, check_only=request.validate_only)
        return withdrawal_pb2.WithdrawResponse(operation=view.operation(settled.operation, settled.parts))
