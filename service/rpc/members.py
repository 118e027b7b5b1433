"""MemberService: sub-accounts of the platform's members (6000, 6092, 6167), their mobiles (6083, 6084) and
their agreement to the bank's terms (6244).
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from bankclient import BankClient, ChangeMobile, RegisterBehavior, RegisterBehaviorReply
from jzb.v1 import member_pb2, member_pb2_grpc
from jzb.v1.names import ErrorReason, OperationKind
from ledger import Member, Reads
from ledger.names import MemberCode
from service import policy, problems, view
from service.path.parties import Parties
from service.path.runner import Runner
from service.plans import members
from service.plans.plan import Plan, Serials
from service.problems import member_exists, precondition
from service.questions.calls import call_once
from service.rpc.context import Context
from service.rpc.dates import moment
from service.rpc.facts import CardFacts, MemberFacts
from service.rpc.pages import page_size, page_start, page_token
from service.serials import SerialSource


@dataclass(frozen=True, kw_only=True)
class Members(member_pb2_grpc.MemberServiceServicer):
    """See protos/jzb/v1/member.proto."""

    runner: Runner
    reads: Reads
    bank: BankClient
    new_serial: SerialSource
    members: MemberFacts
    card_facts: CardFacts
    parties: Parties

    async def OpenMember(
        self, request: member_pb2.OpenMemberRequest, context: Context
    ) -> member_pb2.OpenMemberResponse:
        """6000 flag 1."""

        async def plan(_: Serials) -> Plan:
            found = await self.reads.member(MemberCode(request.member_id))
            if found is not None and found.is_open:
                raise member_exists(MemberCode(request.member_id), found.sub_account)
            return members.open_member(request)

        return member_pb2.OpenMemberResponse(
            operation=await self.runner.carry_out(request, plan),
            member=view.member(await self.members.get(MemberCode(request.member_id))),
        )

    async def CloseMember(
        self, request: member_pb2.CloseMemberRequest, context: Context
    ) -> member_pb2.CloseMemberResponse:
        """6000 flag 3."""

        async def plan(_: Serials) -> Plan:
            member = await self.members.get_open(MemberCode(request.member_id))
            if needed := await self.parties.needed(member):
                raise needed
            return members.close_member(member)

        return member_pb2.CloseMemberResponse(
            operation=await self.runner.carry_out(request, plan),
            member=view.member(await self.members.get(MemberCode(request.member_id))),
        )

    async def LinkSameName(
        self, request: member_pb2.LinkSameNameRequest, context: Context
    ) -> member_pb2.LinkSameNameResponse:
        """6167."""

        async def plan(_: Serials) -> Plan:
            ordinary, merchant = await self._unlinked(
                MemberCode(request.ordinary_member_id), MemberCode(request.merchant_member_id)
            )
            await self.parties.require_settled(
                MemberCode(request.ordinary_member_id),
                MemberCode(request.merchant_member_id),
                kinds=(OperationKind.OPEN_MEMBER, OperationKind.CLOSE_MEMBER, OperationKind.LINK_SAME_NAME),
            )
            return members.link_same_name(request, ordinary, merchant)

        return member_pb2.LinkSameNameResponse(
            operation=await self.runner.carry_out(request, plan),
            ordinary=view.member(await self.members.get(MemberCode(request.ordinary_member_id))),
            merchant=view.member(await self.members.get(MemberCode(request.merchant_member_id))),
        )

    async def RequestMobileChange(
        self, request: member_pb2.RequestMobileChangeRequest, context: Context
    ) -> member_pb2.RequestMobileChangeResponse:
        """6083. Nothing is reserved: a lost answer costs a text, and the next one brings a new code."""
        member = await self.members.get_open(MemberCode(request.member_id))
        number = None
        if request.card_id:
            number = (await self.card_facts.get_bound(request.card_id, MemberCode(request.member_id)))[1].number
        message = ChangeMobile(
            TranNetMemberCode=member.member_id,
            SubAcctNo=member.sub_account,
            ModifyType=members.MODIFY_TYPES[request.proof],
            NewMobile=request.mobile,
            BankCardNo=number,
        )
        reply = await call_once(self.bank, message, await self.new_serial())
        return member_pb2.RequestMobileChangeResponse(message_order_no=reply.MessageOrderNo, mobile=reply.ReceiveMobile)

    async def ConfirmMobileChange(
        self, request: member_pb2.ConfirmMobileChangeRequest, context: Context
    ) -> member_pb2.ConfirmMobileChangeResponse:
        """6084."""

        async def plan(_: Serials) -> Plan:
            member = await self.members.get_open(MemberCode(request.member_id))
            digest = self.card_facts.require_vault().digest(request.mobile)
            await self.parties.require_settled(member.member_id, kinds=(OperationKind.CHANGE_MOBILE,))
            return members.change_mobile(request, member, digest)

        return member_pb2.ConfirmMobileChangeResponse(operation=await self.runner.carry_out(request, plan))

    async def RecordAgreement(
        self, request: member_pb2.RecordAgreementRequest, context: Context
    ) -> member_pb2.RecordAgreementResponse:
        """6244 flag 1. Nothing is reserved: the bank keeps what it is told, and once more does no harm."""
        await self._registered(
            MemberCode(request.member_id),
            FunctionFlag="1",
            OpClickTime=clicked(request.click_time),
            IpAddress=request.ip_address,
            MacAddress=request.mac_address,
            SignChannel=str(request.channel),
        )
        return member_pb2.RecordAgreementResponse()

    async def GetRecordState(
        self, request: member_pb2.GetRecordStateRequest, context: Context
    ) -> member_pb2.GetRecordStateResponse:
        """6244 flag 2."""
        reply = await self._registered(MemberCode(request.member_id), FunctionFlag="2")
        return member_pb2.GetRecordStateResponse(is_complete=reply.ReinSuccessFlag == "S")

    async def _registered(self, member_id: MemberCode, **fields: str) -> RegisterBehaviorReply:
        member = await self.members.get_open(member_id)
        message = RegisterBehavior.model_validate(
            {"SubAcctNo": member.sub_account, "TranNetMemberCode": member.member_id, **fields}
        )
        return await call_once(self.bank, message, await self.new_serial())

    async def GetMember(self, request: member_pb2.GetMemberRequest, context: Context) -> member_pb2.GetMemberResponse:
        """From the mirror."""
        return member_pb2.GetMemberResponse(member=view.member(await self.members.get(MemberCode(request.member_id))))

    async def ListMembers(
        self, request: member_pb2.ListMembersRequest, context: Context
    ) -> member_pb2.ListMembersResponse:
        """From the mirror, in order of member code."""
        size = page_size(request.page_size)
        found = await self.reads.members_page(
            # A token has the code of the last row, and so must not end behind one that is left out.
            page_start(request.page_token, request),
            size + 1,
            policy.present().members,
        )
        page = found[:size]
        return member_pb2.ListMembersResponse(
            members=[view.member(member) for member in page],
            next_page_token=page_token(page[-1].member_id, request) if len(found) > size else "",
        )

    async def _unlinked(self, ordinary_id: MemberCode, merchant_id: MemberCode) -> tuple[Member | None, Member | None]:
        if ordinary_id == merchant_id:
            raise problems.invalid(
                "merchant_member_id", f"{merchant_id} cannot be both members", ErrorReason.SAME_MEMBER
            )
        found = await self.reads.members([ordinary_id, merchant_id])
        ordinary, merchant = found.get(ordinary_id), found.get(merchant_id)
        for member, member_property in ((ordinary, "00"), (merchant, "SH")):
            if member is None:
                continue
            if member.same_name:
                raise precondition(
                    ErrorReason.SAME_NAME_LINKED,
                    f"member {member.member_id} is linked with {member.same_name} already",
                    "use another member code; the request id is not used up",
                    member_id=member.member_id,
                    same_name_member_id=member.same_name,
                )
            if not member.is_open:
                raise precondition(
                    ErrorReason.MEMBER_CLOSED,
                    f"member {member.member_id} is closed",
                    "use an open member, or a new code; the request id is not used up",
                    member_id=member.member_id,
                )
            if member.property != member_property or (ordinary and merchant):
                raise member_exists(member.member_id, member.sub_account)
        return ordinary, merchant


def clicked(click_time: Timestamp) -> str:
    """A moment as 6244 writes it: yyyyMMddHHmmss in Asia/Shanghai. Raises `Problem`."""
    return moment("click_time", click_time).strftime("%Y%m%d%H%M%S")
