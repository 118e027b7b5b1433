"""MemberService: sub-accounts of the platform's members (6000, 6092)."""

from __future__ import annotations

from jzb.v1 import member_pb2, member_pb2_grpc
from ledger import Member
from service import view
from service.plans import members
from service.plans.plan import Plan, Serials
from service.problems import member_exists, precondition
from service.rpc.desk import Context, Desk, page_size, page_start, page_token


class Members(member_pb2_grpc.MemberServiceServicer):
    """See protos/jzb/v1/member.proto."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def OpenMember(
        self, request: member_pb2.OpenMemberRequest, context: Context
    ) -> member_pb2.OpenMemberResponse:
        """6000 flag 1."""

        async def plan(_: Serials) -> Plan:
            found = await self._desk.reads.member(request.member_id)
            if found is not None and found.is_open:
                raise member_exists(request.member_id, found.sub_account)
            return members.open_member(request)

        settled = await self._desk.runner.run(request, plan)
        return member_pb2.OpenMemberResponse(
            operation=view.operation(settled.operation, settled.parts),
            member=view.member(await self._desk.member(request.member_id)),
        )

    async def CloseMember(
        self, request: member_pb2.CloseMemberRequest, context: Context
    ) -> member_pb2.CloseMemberResponse:
        """6000 flag 3."""

        async def plan(_: Serials) -> Plan:
            member = (await self._desk.facts(others=[request.member_id])).members[request.member_id]
            await self._refuse_if_not_empty(member)
            return members.close_member(member)

        settled = await self._desk.runner.run(request, plan)
        return member_pb2.CloseMemberResponse(
            operation=view.operation(settled.operation, settled.parts),
            member=view.member(await self._desk.member(request.member_id)),
        )

    async def GetMember(self, request: member_pb2.GetMemberRequest, context: Context) -> member_pb2.GetMemberResponse:
        """From the mirror."""
        return member_pb2.GetMemberResponse(member=view.member(await self._desk.member(request.member_id)))

    async def ListMembers(
        self, request: member_pb2.ListMembersRequest, context: Context
    ) -> member_pb2.ListMembersResponse:
        """From the mirror, in order of member code."""
        size = page_size(request.page_size)
        found = await self._desk.reads.members_page(page_start(request.page_token), size + 1)
        page = found[:size]
        return member_pb2.ListMembersResponse(
            members=[view.member(member) for member in page],
            next_page_token=page_token(page[-1].member_id) if len(found) > size else "",
        )

    async def _refuse_if_not_empty(self, member: Member) -> None:
        balance = (await self._desk.reads.balances([member.sub_account]))[member.sub_account]
        left_fen = balance.available_fen + balance.frozen_fen + balance.escrow_fen + balance.held_fen
        if left_fen:
            raise precondition(
                "MEMBER_NOT_EMPTY",
                f"member {member.member_id} still has {left_fen} fen",
                "pay, withdraw or release it first; the request id is not used up",
                member_id=member.member_id,
                balance_fen=str(left_fen),
            )
