"""Frozen money: freeze and release, pay out of it (quick start: 会员资金冻结, 会员资金支付).

Frozen money sits in the escrow sub-account under its order number until it is released or paid.
"""

from typing import Annotated, Literal

from pydantic import Field

from bankclient.messages.wire import (
    Booked,
    Count,
    Request,
    RequestRow,
    Rmb,
    Text7,
    Text20,
    Text30,
    Text32,
    Text120,
    Text256,
    Text500,
    Yuan,
)


class _Freeze(Request[Booked]):
    FunctionFlag: Literal["1", "2", "4", "5", "6", "7"]
    SubAcctNo: Text32
    TranNetMemberCode: Text32
    TranAmt: Yuan
    TranCommission: Yuan
    OrderNo: Text30
    Ccy: Rmb = "RMB"
    OrderContent: Text500 | None = None
    Remark: Text120 | None = None
    ReservedMsg: Text120 | None = None


class Freeze(_Freeze):
    """6007 会员资金冻结-不验证: set money aside, or give it back (quick start: same heading).

    Flags: 1 freeze, 2 release; 4 release what an acquiring payment froze, 5 freeze withdrawable
    money, 6 release into withdrawable, 7 release a frozen 6216 top-up whole (4 to 7: newer text,
    not the quick start). TranCommission counts in a release only, out of TranAmt: 100 with 10 gives
    90 back.
    """

    code = "6007"
    service_id = "MembershipTrancheFreeze"

    ConsumeAmt: Yuan | None = None


class FreezeBySms(_Freeze):
    """6135 会员资金冻结-验证短信动态码: as 6007, SMS verified (quick start 2.5)."""

    code = "6135"
    service_id = "MbrTchFrzVerifiedTextMsgs"

    MessageCheckCode: Text7
    MessageOrderNo: Text32 | None = None


class FreezeByPassword(_Freeze):
    """6134 会员资金冻结-支付密码验密: as 6007, password verified (quick start: 6110 flag 2).

    No public service id, and the fields are those of its siblings (catalogue, confidence low).
    """

    code = "6134"
    service_id = None

    WebSign: Text256


class PayFrozenRow(RequestRow):
    """One payee. TranSeqNo never repeats and differs from CnsmrSeqNo: 6164 flag 6 refunds by it."""

    TranSeqNo: Text20
    InSubAcctNo: Text32
    InTranNetMemberCode: Text32
    TranAmt: Yuan


class _PayFrozen(Request[Booked]):
    rows_counted_in = "InSubAcctNum"

    OutSubAcctNo: Text32
    OutTranNetMemberCode: Text32
    Commission: Yuan
    OrderNo: Text30
    InSubAcctNum: Count
    Ccy: Rmb = "RMB"
    Remark: Text120 | None = None
    ReservedMsg: Text120 | None = None
    TranItemArray: Annotated[tuple[PayFrozenRow, ...], Field(min_length=1)]


class PayFrozen(_PayFrozen):
    """6163 会员资金支付-不验证: pay frozen money to one or several members.

    Whether Commission comes on top of the rows or out of them is not published, nor whether one
    frozen order may be paid in several calls (notes.md 10). Refund row by row through 6164 flag 6,
    the fee by itself.

    Source: quick start: 会员资金支付-支持退款.
    """

    code = "6163"
    service_id = "MembershipTranchePay"


class PayFrozenBySms(_PayFrozen):
    """6166 会员资金支付-验短信动态码: as 6163, SMS verified (quick start: 6110 flag 2)."""

    code = "6166"
    service_id = "MbrTchPayVerifiedTextMsgs"

    MessageOrderNo: Text32 | None = None
    MessageCheckCode: Text7 | None = None


class PayFrozenByPassword(_PayFrozen):
    """6165 会员资金支付-支付密码验密: as 6163, password verified (quick start: 6110 flag 2).

    No public service id, and the fields are those of its siblings (catalogue, confidence low).
    """

    code = "6165"
    service_id = None

    WebSign: Text256
