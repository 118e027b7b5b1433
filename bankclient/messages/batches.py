"""Payments to several members in one call: 6052, 6120, 6133 (quick start: 6164).

Flags: 1 pre-pay several orders, 2 confirm several, 3 pay directly (the quick start: not offered).
Row serials (TranSeqNo) never repeat and differ from CnsmrSeqNo, or 6164 cannot refund the row. The
greatest number of rows is not published. 6110 does not promise to know these calls: after a lost
answer look in 6072 or repeat with the same serial.
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


class BatchPaymentRow(RequestRow):
    """One payee and order of a batch. TranFee is taken out of TranAmt."""

    InSubAcctNo: Text32
    InMemberCode: Text32
    TranAmt: Yuan
    TranFee: Yuan
    OrderNo: Text30
    TranSeqNo: Text20
    Ccy: Rmb = "RMB"
    OrderContent: Text500 | None = None
    Remark: Text120 | None = None


class _BatchPayment(Request[Booked]):
    rows_counted_in = "OrdersCount"

    FunctionFlag: Literal["1", "2", "3"]
    OutSubAcctNo: Text32
    OutMemberCode: Text32
    OrdersCount: Count
    ReservedMsg: Text120 | None = None
    TranItemArray: Annotated[tuple[BatchPaymentRow, ...], Field(min_length=1)]


class BatchPayment(_BatchPayment):
    """6052 会员批量交易-不验证: pay several members, no verification."""

    code = "6052"
    service_id = "MembershipBatchTransactions"

    WebSign: Text256 | None = None


class BatchPaymentBySms(_BatchPayment):
    """6120 会员批量交易-验证短信动态码: pay several members, SMS verified."""

    code = "6120"
    service_id = "MbrBatchTransVerifiedTextMsgs"

    MessageOrderNo: Text32 | None = None
    MessageCheckCode: Text7 | None = None


class BatchPaymentByPassword(_BatchPayment):
    """6133 会员批量交易-验密: pay several members, password verified.

    No public service id, and the fields are those of its siblings (catalogue, confidence low).
    """

    code = "6133"
    service_id = None

    WebSign: Text256
