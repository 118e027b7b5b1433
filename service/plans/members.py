"""Plans that open and close a member's sub-account (6000). They move no money."""

from __future__ import annotations

from typing import Literal

from bankclient import OpenMember
from jzb.v1 import member_pb2
from ledger import Member
from service.plans.plan import MemberAsk, Plan

PROPERTY_CODES: dict[int, Literal["00", "SH"]] = {
    member_pb2.MEMBER_PROPERTY_ORDINARY: "00",
    member_pb2.MEMBER_PROPERTY_MERCHANT: "SH",
}
"""The bank's property codes (quick start: 会员子账户开立)."""


def open_member(request: member_pb2.OpenMemberRequest) -> Plan:
    """6000 flag 1. A lost answer is settled by 6092."""
    member_property = PROPERTY_CODES[request.property]
    return Plan(
        kind="OPEN_MEMBER",
        message=OpenMember(
            FunctionFlag="1",
            TranNetMemberCode=request.member_id,
            MemberProperty=member_property,
            UserNickname=request.nickname or None,
            Mobile=request.mobile or None,
            Email=request.email or None,
        ),
        drafts=(),
        ask=MemberAsk(request.member_id, member_property, opening=True),
        payer=request.member_id,
    )


def close_member(member: Member) -> Plan:
    """6000 flag 3."""
    member_property: Literal["00", "SH"] = "00" if member.property == "00" else "SH"
    return Plan(
        kind="CLOSE_MEMBER",
        message=OpenMember(FunctionFlag="3", TranNetMemberCode=member.member_id, MemberProperty=member_property),
        drafts=(),
        ask=MemberAsk(member.member_id, member_property, opening=False),
        payer=member.member_id,
    )
