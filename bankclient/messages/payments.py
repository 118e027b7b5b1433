"""Payments between two members: 6034, 6101, 6006, 6031 (quick start: 会员间交易类).

Flags: 1 pre-pay an order into escrow, 2 confirm it, 3 give it back; 6 pay directly, payee may
withdraw next day; 9 the same, today. Payer and payee keep their places in every flag, also in 3.
TranAmt is what the payer pays, and TranFee is taken out of it: 100 with 10 brings the payee 90.
"""

from typing import Literal

from bankclient.messages.wire import (
    Booked,
    Request,
    Rmb,
    Text7,
    Text30,
    Text32,
    Text120,
    Text256,
    Text500,
    Yuan,
)


class _MemberPayment(Request[Booked]):
    needs = (("FunctionFlag", "123", ("OrderNo",)),)

    FunctionFlag: Literal["1", "2", "3", "6", "9"]
    OutSubAcctNo: Text32
    OutMemberCode: Text32
    InSubAcctNo: Text32
    InMemberCode: Text32
    TranAmt: Yuan
    TranFee: Yuan
    OutSubAcctName: Text120 | None = None
    InSubAcctName: Text120 | None = None
    TranType: Literal["01"] = "01"
    Ccy: Rmb = "RMB"
    OrderNo: Text30 | None = None
    OrderContent: Text500 | None = None
    Remark: Text120 | None = None
    ReservedMsg: Text120 | None = None


class MemberPayment(_MemberPayment):
    """6034 会员间交易-不验证: pay between members, no verification.

    A retry carries the same CnsmrSeqNo. After a confirmation a refund goes through 6164, not flag
    3. OrderNo is one for the three steps and is not shared with 6139 or 6007.

    Source: quick start: 会员间交易-不验密.
    """

    code = "6034"
    service_id = "MemberTransaction"

    WebSign: Text256 | None = None


class MemberPaymentBySms(_MemberPayment):
    """6101 会员间交易-验证短信动态码: as 6034, authorised by an SMS code (quick start 2.5).

    Ask 6082 TranType 2 first; for flags 2, 6 and 9 that names the receiving sub-account too.
    """

    code = "6101"
    service_id = "MemberTranVerifyTextMsgs"

    MessageCheckCode: Text7
    MessageOrderNo: Text32 | None = None


class MemberPaymentByPassword(_MemberPayment):
    """6006 会员交易-验密: as 6034, authorised by the bank's password page (quick start 2.5).

    Both account names are required here. WebSign is the signature the page returned.
    """

    code = "6006"
    service_id = "MemberTransactionsInspection"

    OutSubAcctName: Text120
    InSubAcctName: Text120
    WebSign: Text256


class SettleOrder(Request[Booked]):
    """6031 平台订单管理: the platform ends an order whose buyer is silent.

    Flags: 2 confirm it for the buyer, 3 give it back.

    6110 does not promise to know it: after a lost answer look in 6072 or repeat with the same
    serial. A confirmation is refunded by 6164 flag 3.

    Source: quick start 2.5.
    """

    code = "6031"
    service_id = "PlatformOrderManagement"

    FunctionFlag: Literal["2", "3"]
    OutSubAcctNo: Text32
    OutMemberCode: Text32
    OutSubAcctName: Text120
    InSubAcctNo: Text32
    InMemberCode: Text32
    InSubAcctName: Text120
    TranAmt: Yuan
    TranFee: Yuan
    OrderNo: Text30
    TranType: Literal["01"] = "01"
    Ccy: Rmb = "RMB"
    OrderContent: Text500 | None = None
    Remark: Text120 | None = None
    ReservedMsg: Text120 | None = None
