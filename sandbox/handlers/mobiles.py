"""The mobile to which the bank sends a member's codes is changed: 6083, 6084. Quick start 2.5: 手机号码管理."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bankclient.messages import Accepted, ChangeMobile, ConfirmMobileChange, SmsCodeReply
from sandbox import codes, sms
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import BoundCard, MobileChange, card_key

BY_CARD: Final = "2"


@handles(ChangeMobile)
def change_mobile(context: Context, request: ChangeMobile) -> SmsCodeReply:
    """6083. Type 1 texts to the old mobile, 2 to the new one, which UnionPay takes for the bound card's own here."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    receiver = member.mobile
    if request.ModifyType == BY_CARD:
        card = context.store.get(BoundCard, card_key(member.sub_acct_no, request.BankCardNo or ""))
        if card is None or card.unbound:
            raise Refused(codes.NO_CARD)
        receiver = request.NewMobile
    if not receiver:
        raise Refused(codes.NO_VERIFICATION, "会员未登记手机号码")
    sent = sms.send(context, sms.MOBILE, member.sub_acct_no, mobile=receiver)
    context.store.put(MobileChange(sent.order_no, request.ModifyType, request.NewMobile))
    return SmsCodeReply(ReceiveMobile=receiver[-4:], MessageOrderNo=sent.order_no)


@handles(ConfirmMobileChange)
def confirm_mobile_change(context: Context, request: ConfirmMobileChange) -> Accepted:
    """6084."""
    member = context.member(request.SubAcctNo, request.TranNetMemberCode)
    sms.use(context, sms.MOBILE, member.sub_acct_no, request.MessageOrderNo, request.MessageCheckCode)
    change = context.store.get(MobileChange, request.MessageOrderNo)
    if change is None or change.modify_type != request.ModifyType:
        raise Refused(codes.NO_VERIFICATION)
    context.store.put(replace(member, mobile=change.new_mobile))
    return Accepted()
