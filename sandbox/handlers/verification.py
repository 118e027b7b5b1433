"""Codes for money calls: 6082. Quick start 2.5: 申请提现或支付短信动态码."""

from __future__ import annotations

from typing import Final

from bankclient.messages import RequestSmsCode, SmsCodeReply
from sandbox import codes, sms
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.handlers.registry import handles

PURPOSES: Final = {"1": sms.WITHDRAWAL, "2": sms.PAYMENT}


@handles(RequestSmsCode)
def request_sms_code(context: Context, request: RequestSmsCode) -> SmsCodeReply:
    """6082 TranType 1 and 2. The payee stands in Remark or in ReservedMsg: both are read (notes.md 9.5)."""
    purpose = PURPOSES.get(request.TranType)
    if purpose is None:
        raise Refused(codes.WRONG_FLAG, "批次号短信未开通")
    member = context.member(request.SubAcctNo or "", request.TranNetMemberCode)
    named = (text for text in (request.Remark, request.ReservedMsg) if text)
    sent = sms.send(context, purpose, member.sub_acct_no, named=next(named, ""))
    return SmsCodeReply(ReceiveMobile="****", MessageOrderNo=sent.order_no)
