"""The mobile to which the bank sends a member's codes is changed: 6083, 6084. Quick start 2.5: 手机号码管理."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bankclient.messages import Accepted, ChangeMobile, ConfirmMobileChange, SmsCodeReply
from sandbox import codes, sms
from sandbox.desk import Desk
from sandbox.errors import Refused
from sandbox.handlers.registry import handles
from sandbox.records import BoundCard, MobileChange, card_key

BY_CARD: Final = "2"


@handles(ChangeMobile)
def change_mobile(desk: Desk, request: ChangeMobile) -> SmsCodeReply:
    """6083. Type 1 texts to the old mobile, 2 to the new one, which UnionPay takes for the bound card's own here."""
    member = desk.member(request.SubAcctNo, request.TranNetMemberCode)
    receiver = member.mobile
    if request.ModifyType == BY_CARD:
        card = desk.store.get(BoundCard, card_key(member.sub_acct_no, request.BankCardNo or ""))
        if card is None or card.unbound:
            raise Refused(codes.NO_CARD)
        receiver = request.NewMobile
    if not receiver:
        raise Refused(codes.NO_VERIFICATION, "会员未登记手机号码")
    sent = sms.send(desk, sms.MOBILE, member.sub_acct_no, mobile=receiver)
    desk.store.put(MobileChange(sent.order_no, request.ModifyType, request.NewMobile))
    return SmsCodeReply(ReceiveMobile=receiver[-4:], MessageOrderNo=sent.order_no)


@handles(ConfirmMobileChange)
def confirm_mobile_change(desk: Desk, request: ConfirmMobileChange) -> Accepted:
    """6084."""
    member = desk.member(request.SubAcctNo, request.TranNetMemberCode)
    sms.use(desk, sms.MOBILE, member.sub_acct_no, request.MessageOrderNo, request.MessageCheckCode)
    change = desk.store.get(MobileChange, request.MessageOrderNo)
    if change is None or change.modify_type != request.ModifyType:
        raise Refused(codes.NO_VERIFICATION)
    desk.store.put(replace(member, mobile=change.new_mobile))
    return Accepted()
