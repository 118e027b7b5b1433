"""Members: open and close a sub-account (6000), find it (6092, 6037).

Quick start: 会员注册与绑定.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bankclient.messages import (
    FindSubAccount,
    FindSubAccountReply,
    MemberBalances,
    MemberBalancesReply,
    OpenMember,
    OpenMemberReply,
)
from sandbox import codes
from sandbox.desk import Desk
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import Member, MemberCode

FIRST_SUB_ACCOUNT: Final = 1000
"""Members' numbers rise from about here (notes.md 2)."""

CLOSE: Final = "3"


@handles(OpenMember)
def open_member(desk: Desk, request: OpenMember) -> OpenMemberReply:
    """6000. A member code is given out once, also after its sub-account was closed."""
    if request.FunctionFlag == CLOSE:
        return _close(desk, request)
    if desk.store.get(MemberCode, request.TranNetMemberCode) is not None:
        raise Refused(codes.MEMBER_EXISTS)
    number = desk.store.next_number("sub_account", FIRST_SUB_ACCOUNT)
    member = Member(
        sub_acct_no=f"{desk.settings.mrch_code}{number:012d}",
        code=request.TranNetMemberCode,
        kind=request.MemberProperty,
        name=request.UserNickname or "",
        opened_day=desk.today,
    )
    desk.store.put(member)
    desk.store.put(MemberCode(member.code, member.sub_acct_no))
    return OpenMemberReply(SubAcctNo=member.sub_acct_no)


def _close(desk: Desk, request: OpenMember) -> OpenMemberReply:
    member = desk.member_by_code(request.TranNetMemberCode)
    if desk.books.sub_account(member.sub_acct_no).total_fen:
        raise Refused(codes.BALANCE_LEFT)
    desk.store.put(replace(member, closed=True))
    return OpenMemberReply(SubAcctNo=member.sub_acct_no)


@handles(FindSubAccount)
def find_sub_account(desk: Desk, request: FindSubAccount) -> FindSubAccountReply:
    """6092. The property goes into the reserved field, as one client documents."""
    member = desk.member_by_code(request.TranNetMemberCode)
    return FindSubAccountReply(SubAcctNo=member.sub_acct_no, ReservedMsg=member.kind)


@handles(MemberBalances)
def member_balances(desk: Desk, request: MemberBalances) -> MemberBalancesReply:
    """6037. Pre-paid orders do not count as frozen here (notes.md 9.8); 6093 has both."""
    member = desk.member_by_code(request.TranNetMemberCode)
    sub_account = desk.books.sub_account(member.sub_acct_no)
    return MemberBalancesReply(
        SubAcctNo=member.sub_acct_no,
        SubAcctCashBal=sub_account.withdrawable,
        SubAcctAvailBal=sub_account.available_fen,
        SubAcctFreezeAmt=sub_account.frozen_fen,
    )
