"""Members: open and close a sub-account (6000), both of one customer (6167), find it (6092, 6037), what it
agreed to (6244).

Quick start: 会员注册与绑定.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bankclient.messages import (
    FindSubAccount,
    FindSubAccountReply,
    LinkSameName,
    LinkSameNameReply,
    MemberBalances,
    MemberBalancesReply,
    OpenMember,
    OpenMemberReply,
    RegisterBehavior,
    RegisterBehaviorReply,
)
from sandbox import codes
from sandbox.context import MERCHANT, ORDINARY, Context
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import BoundCard, Member, MemberCode

FIRST_SUB_ACCOUNT: Final = 1000
"""Members' numbers rise from about here (notes.md 2)."""

CLOSE: Final = "3"


@handles(OpenMember)
def open_member(context: Context, request: OpenMember) -> OpenMemberReply:
    """6000. A member code is given out once, also after its sub-account was closed."""
    if request.FunctionFlag == CLOSE:
        return _close(context, request)
    member = _open(context, request.TranNetMemberCode, request.MemberProperty, request.UserNickname, request.Mobile)
    return OpenMemberReply(SubAcctNo=member.sub_acct_no)


def _open(context: Context, code: str, kind: str, name: str | None, mobile: str | None) -> Member:
    if context.store.get(MemberCode, code) is not None:
        raise Refused(codes.MEMBER_EXISTS)
    number = context.store.next_number("sub_account", FIRST_SUB_ACCOUNT)
    member = Member(
        sub_acct_no=f"{context.settings.mrch_code}{number:012d}",
        code=code,
        kind=kind,
        name=name or "",
        opened_day=context.today,
        mobile=mobile or "",
    )
    context.store.put(member)
    context.store.put(MemberCode(member.code, member.sub_acct_no))
    return member


@handles(LinkSameName)
def link_same_name(context: Context, request: LinkSameName) -> LinkSameNameReply:
    """6167. Flag 1 opens both, 2 adds the ordinary one to a merchant's, 3 the merchant's to an ordinary one."""
    merchant_code, ordinary_code = request.MerSubAcctMemberCode, request.CommonSubAcctMemberCode
    if request.FunctionFlag == "2":
        merchant = _known(context, merchant_code, MERCHANT)
    else:
        merchant = _open(context, merchant_code, MERCHANT, request.MerSubAcctNickname, request.Mobile)
    if request.FunctionFlag == "3":
        ordinary = _known(context, ordinary_code, ORDINARY)
    else:
        ordinary = _open(context, ordinary_code, ORDINARY, request.CommonSubAcctNickname, request.Mobile)
    context.store.put(replace(merchant, same_name=ordinary.sub_acct_no))
    context.store.put(replace(ordinary, same_name=merchant.sub_acct_no))
    return LinkSameNameReply(
        SameNameAcctRelRelation="1", MerSubAcctNo=merchant.sub_acct_no, CommonSubAcctNo=ordinary.sub_acct_no
    )


def _known(context: Context, code: str, kind: str) -> Member:
    member = context.member_by_code(code)
    if member.kind != kind or member.same_name:
        raise Refused(codes.MEMBER_EXISTS)
    return member


def _close(context: Context, request: OpenMember) -> OpenMemberReply:
    member = context.member_by_code(request.TranNetMemberCode)
    if context.books.sub_account(member.sub_acct_no).total_fen:
        raise Refused(codes.BALANCE_LEFT)
    if any(one.sub_acct_no == member.sub_acct_no and not one.unbound for one in context.store.all(BoundCard)):
        raise Refused(codes.CARDS_BOUND)
    context.store.put(replace(member, closed=True))
    return OpenMemberReply(SubAcctNo=member.sub_acct_no)


@handles(FindSubAccount)
def find_sub_account(context: Context, request: FindSubAccount) -> FindSubAccountReply:
    """6092. The property goes into the reserved field, as one client documents."""
    member = context.member_by_code(request.TranNetMemberCode)
    return FindSubAccountReply(SubAcctNo=member.sub_acct_no, ReservedMsg=member.kind)


@handles(MemberBalances)
def member_balances(context: Context, request: MemberBalances) -> MemberBalancesReply:
    """6037. Pre-paid orders do not count as frozen here (notes.md 9.8); 6093 has both."""
    member = context.member_by_code(request.TranNetMemberCode)
    sub_account = context.books.sub_account(member.sub_acct_no)
    return MemberBalancesReply(
        SubAcctNo=member.sub_acct_no,
        SubAcctCashBal=sub_account.withdrawable,
        SubAcctAvailBal=sub_account.available_fen,
        SubAcctFreezeAmt=sub_account.frozen_fen,
    )


@handles(RegisterBehavior)
def register_behavior(context: Context, request: RegisterBehavior) -> RegisterBehaviorReply:
    """6244. No click is in the future. A merchant's record is complete once a card was checked and bound."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    if request.FunctionFlag == "1":
        if (request.OpClickTime or "") > f"{context.now:%Y%m%d%H%M%S}":
            raise Refused(codes.FIELD_INVALID)
        return RegisterBehaviorReply()
    if member.kind != MERCHANT:
        raise Refused(codes.WRONG_FLAG)
    bound = any(one.sub_acct_no == member.sub_acct_no and not one.unbound for one in context.store.all(BoundCard))
    return RegisterBehaviorReply(ReinSuccessFlag="S" if bound else "F")
