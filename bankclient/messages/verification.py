"""SMS codes: 6082 for money calls, 6083 and 6084 to change the mobile (quick start 2.5).

MessageOrderNo of the reply and the code the user typed travel together into the call they
authorise. Phone numbers and codes must never be logged.
"""

from typing import Literal

from bankclient.messages.wire import (
    Accepted,
    Prose,
    Reply,
    Request,
    Text7,
    Text12,
    Text30,
    Text32,
    Text120,
    Word,
    Yuan,
)


class SmsCodeReply(Reply):
    """The masked number; MessageOrderNo goes into the call that carries the code."""

    ReceiveMobile: Word
    MessageOrderNo: Word
    ReservedMsg: Prose | None = None


class RequestSmsCode(Request[SmsCodeReply]):
    """6082 申请提现或支付短信动态码: text a code for a withdrawal or payment (quick start 2.5).

    TranType: 1 withdrawal, 2 payment; 3 and 4 pay and cancel a batch number (newer document). For
    6101 flags 2, 6 and 9 the receiving sub-account goes into Remark or ReservedMsg: sources differ
    (notes.md 9.5). A new request is a new code.
    """

    code = "6082"
    service_id = "ApplicationTextMsgDynamicCode"
    needs = (("TranType", "34", ("OrderNo",)), ("TranType", "12", ("TranNetMemberCode", "SubAcctNo", "TranAmt")))

    TranType: Literal["1", "2", "3", "4"]
    TranNetMemberCode: Text32 | None = None
    SubAcctNo: Text32 | None = None
    TranAmt: Yuan | None = None
    BankCardNo: Text32 | None = None
    OrderNo: Text30 | None = None
    Remark: Text120 | None = None
    ReservedMsg: Text120 | None = None


class ChangeMobile(Request[SmsCodeReply]):
    """6083 申请修改手机号码: start a change of the registered mobile (quick start 2.5).

    ModifyType: 1 code to the old number; 2 UnionPay check of the new one, personal cards only.
    """

    code = "6083"
    service_id = "ApplyForChangeOfCellPhoneNum"
    needs = (("ModifyType", "2", ("BankCardNo",)),)

    TranNetMemberCode: Text32
    SubAcctNo: Text32
    ModifyType: Literal["1", "2"]
    NewMobile: Text12
    BankCardNo: Text32 | None = None
    MobileLocation: Literal["1", "2"] | None = None
    ReservedMsg: Text120 | None = None


class ConfirmMobileChange(Request[Accepted]):
    """6084 回填动态码-修改手机: complete 6083 with its code (quick start 2.5)."""

    code = "6084"
    service_id = "BackfillDynamicPassword"

    TranNetMemberCode: Text32
    SubAcctNo: Text32
    ModifyType: Literal["1", "2"]
    MessageOrderNo: Text32
    MessageCheckCode: Text7
    ReservedMsg: Text120 | None = None
