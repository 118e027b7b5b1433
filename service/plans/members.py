"""Plans about members: a sub-account is opened and closed (6000), a customer gets both kinds (6167), a mobile changes
(6084). They move no money.
"""

from __future__ import annotations

from typing import Literal

from bankclient import ConfirmMobileChange, LinkSameName, OpenMember
from jzb.v1 import member_pb2
from jzb.v1.names import OperationKind
from ledger import Draft, Leg, Member
from ledger.accounts import LIMITS, standing
from ledger.names import MemberCode
from service.plans.plan import Plan
from service.questions.cards import MobileQuery
from service.questions.members import MemberQuery, SameNameQuery

PROPERTY_CODES: dict[int, Literal["00", "SH"]] = {
    member_pb2.MEMBER_PROPERTY_ORDINARY: "00",
    member_pb2.MEMBER_PROPERTY_MERCHANT: "SH",
}
"""The bank's property codes (quick start: 会员子账户开立)."""


def open_member(request: member_pb2.OpenMemberRequest) -> Plan:
    """6000 flag 1. A lost answer is settled by 6092."""
    member_property = PROPERTY_CODES[request.property]
    return Plan(
        kind=OperationKind.OPEN_MEMBER,
        message=OpenMember(
            FunctionFlag="1",
            TranNetMemberCode=request.member_id,
            MemberProperty=member_property,
            UserNickname=request.nickname or None,
            Mobile=request.mobile or None,
            Email=request.email or None,
        ),
        query=MemberQuery(MemberCode(request.member_id), member_property, opening=True),
        payer=MemberCode(request.member_id),
    )


def close_member(member: Member) -> Plan:
    """6000 flag 3. From its reservation on nothing new is opened with the member, unless it is not closed after all."""
    member_property: Literal["00", "SH"] = "00" if member.property == "00" else "SH"
    return Plan(
        kind=OperationKind.CLOSE_MEMBER,
        message=OpenMember(FunctionFlag="3", TranNetMemberCode=member.member_id, MemberProperty=member_property),
        drafts=(Draft((Leg(standing(member.sub_account), LIMITS, 1),), payer=member.member_id),),
        query=MemberQuery(member.member_id, member_property, opening=False),
        payer=member.member_id,
    )


def link_same_name(request: member_pb2.LinkSameNameRequest, ordinary: Member | None, merchant: Member | None) -> Plan:
    """6167: flag 1 opens both sub-accounts of a customer, 2 adds the ordinary one, 3 the merchant's."""
    flag: Literal["1", "2", "3"] = "1" if merchant is None else "2"
    if ordinary is not None:
        flag = "3"
    return Plan(
        kind=OperationKind.LINK_SAME_NAME,
        message=LinkSameName(
            FunctionFlag=flag,
            MerSubAcctMemberCode=request.merchant_member_id,
            CommonSubAcctMemberCode=request.ordinary_member_id,
            MerSubAcctNickname=request.merchant_nickname or None,
            CommonSubAcctNickname=request.ordinary_nickname or None,
            Mobile=request.mobile or None,
            Email=request.email or None,
        ),
        query=SameNameQuery(MemberCode(request.ordinary_member_id), MemberCode(request.merchant_member_id)),
        payer=MemberCode(request.ordinary_member_id),
        payee=MemberCode(request.merchant_member_id),
        with_members=tuple(member.sub_account for member in (ordinary, merchant) if member),
    )


MODIFY_TYPES: dict[int, Literal["1", "2"]] = {
    member_pb2.MOBILE_PROOF_OLD_MOBILE: "1",
    member_pb2.MOBILE_PROOF_CARD: "2",
}
"""ModifyType of 6083 and 6084."""


def change_mobile(request: member_pb2.ConfirmMobileChangeRequest, member: Member, digest: bytes) -> Plan:
    """6084. ``digest`` recognises the new mobile in 6098 should the answer be lost."""
    return Plan(
        kind=OperationKind.CHANGE_MOBILE,
        message=ConfirmMobileChange(
            TranNetMemberCode=member.member_id,
            SubAcctNo=member.sub_account,
            ModifyType=MODIFY_TYPES[request.proof],
            MessageOrderNo=request.message_order_no,
            MessageCheckCode=request.code,
        ),
        query=MobileQuery(member.sub_account, digest.hex()),
        payer=member.member_id,
        with_members=(member.sub_account,),
    )
