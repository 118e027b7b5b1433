"""Top-ups in transit through a payment channel, and their revocation (quick start: 会员充值).

They credit available money that turns withdrawable after the clearing of its day (6108). After a
lost answer: 6110 flag 4, by CnsmrSeqNo for 6129 and 6130, by the serial of each row for 6216 and
6217.
"""

from typing import Annotated

from pydantic import Field

from bankclient.messages.wire import (
    Count,
    Prose,
    Reply,
    ReplyYuan,
    Request,
    RequestRow,
    Rmb,
    Row,
    Text4,
    Text30,
    Text32,
    Text50,
    Text64,
    Text120,
    Text500,
    Word,
    Yuan,
)


class TopUpReply(Reply):
    """The bank's serial; 6130 names the top-up by it."""

    FrontSeqNo: Word
    MemberSubAcctPreAvailBal: ReplyYuan | None = None
    ReservedMsgOne: Prose | None = None
    ReservedMsgTwo: Prose | None = None


class TopUp(Request[TopUpReply]):
    """6129 会员在途充值(经第三方支付渠道): credit one member for a channel payment.

    By the quick start MemberFillAmt is what the payer paid, and Commission is taken out of it: 100
    with 10 leaves the member 90. Another source reads it as the net amount (notes.md 9.1). The
    member fields have names of their own here: MemberSubAcctNo, TranWebMemberId.

    Source: quick start, under the same heading.
    """

    code = "6129"
    service_id = "MemberRechargeThirdPay"

    MemberSubAcctNo: Text32
    TranWebMemberId: Text32
    MemberFillAmt: Yuan
    Commission: Yuan
    PayChannelType: Text4
    PayChannelAssignMerNo: Text50
    PayChannelTranSeqNo: Text50
    EjzbOrderNo: Text32
    Ccy: Rmb = "RMB"
    EjzbOrderContent: Text500 | None = None
    Remark: Text120 | None = None
    ReservedMsgOne: Text120 | None = None
    ReservedMsgTwo: Text120 | None = None
    ReservedMsgThree: Text120 | None = None


class RevokeTopUpReply(Reply):
    """The bank's serial of the revocation."""

    FrontSeqNo: Word
    ReservedMsgOne: Prose | None = None
    ReservedMsgTwo: Prose | None = None


class RevokeTopUp(Request[RevokeTopUpReply]):
    """6130 撤销会员在途充值: take back a 6129, wholly or in part (quick start: same heading).

    Amount and fee are taken back apart; each total stays within the original.
    """

    code = "6130"
    service_id = "RevokeMemberRechargeThirdPay"

    OldFillFrontSeqNo: Text30
    OldFillPayChannelType: Text4
    OldPayChannelTranSeqNo: Text50
    OldFillEjzbOrderNo: Text32
    ApplyCancelMemberAmt: Yuan
    ApplyCancelCommission: Yuan
    Remark: Text120 | None = None
    ReservedMsgOne: Text120 | None = None
    ReservedMsgTwo: Text120 | None = None
    ReservedMsgThree: Text120 | None = None


class SplitTopUpRow(RequestRow):
    """One member's part. Always send SubOrderBussSeqNo: a lost answer is asked by it."""

    RechargeSubAcctNo: Text32
    SubOrderFillMemberCd: Text32
    SubOrderTranAmt: Yuan
    SubOrderTranFee: Yuan
    SubOrderNo: Text64
    SubOrderContent: Text500 | None = None
    SubOrderBussSeqNo: Text64 | None = None
    SubOrderRemark: Text120 | None = None
    ReservedMsg: Text32 | None = None


class SplitTopUpReplyRow(Row):
    """The bank's serial of one row; rows answer in request order by assumption only."""

    FrontSeqNo: Word


class SplitTopUpReply(Reply):
    """One row for each part."""

    TranItemArray: tuple[SplitTopUpReplyRow, ...] = ()
    ReservedMsgOne: Prose | None = None
    ReservedMsgTwo: Prose | None = None
    OrdersCount: Word | None = None


class SplitTopUp(Request[SplitTopUpReply]):
    """6216 第三方支付渠道在途充值（分账）: credit up to 25 members for one channel payment.

    The example of the quick start: 1000 for A 500 with fee 50, B 300 with fee 30, C 200 with fee
    20. A row's amount is what the member gets and its fee comes beside it: 450 + 50, 270 + 30, 180
    + 20, and TranTotalAmt is the sum of both columns (catalogue 6216). A sub-account appears once.

    Source: quick start, under the same heading.
    """

    code = "6216"
    service_id = "OnWayTopThirdPaySplit"
    rows_counted_in = "OrdersCount"

    PayChannelType: Text4
    PayChannelAssignMerNo: Text64
    TotalOrderNo: Text64
    TranTotalAmt: Yuan
    OrdersCount: Count
    ReservedMsgOne: Text120 | None = None
    ReservedMsgTwo: Text120 | None = None
    TranItemArray: Annotated[tuple[SplitTopUpRow, ...], Field(min_length=1, max_length=25)]


class RevokeSplitTopUpRow(RequestRow):
    """One member's part to take back. Send SubOrderRefundSeqNo: a lost answer is asked by it."""

    SubOrderRefundSubAcctNo: Text32
    SubOrderRefundMemberCd: Text32
    SubOrderMemberRefundAmt: Yuan
    SubOrderFeeRefundAmt: Yuan
    SubOrderRefundOrderNo: Text64
    SubOrderRefundSeqNo: Text64 | None = None
    ReservedMsg: Text120 | None = None


class RevokeSplitTopUpReplyRow(Row):
    """The bank's serial of one row."""

    FrontSeqNo: Word | None = None


class RevokeSplitTopUpReply(Reply):
    """One row for each part."""

    TranItemArray: tuple[RevokeSplitTopUpReplyRow, ...] = ()
    ReservedMsgOne: Prose | None = None
    ReservedMsgTwo: Prose | None = None
    OrdersCount: Word | None = None


class RevokeSplitTopUp(Request[RevokeSplitTopUpReply]):
    """6217 第三方支付渠道在途充值撤销（分账）: take back rows of a 6216, wholly or in part.

    Per row the member's part and the fee part each stay within the original row. Whether
    SubOrderRefundOrderNo repeats SubOrderNo is not published.

    Source: quick start, under the same heading.
    """

    code = "6217"
    service_id = "RevokeOnWayTopThirdPaySplit"
    rows_counted_in = "RefundOrderNum"

    OldPayChannelType: Text4
    OldTotalOrderNo: Text64
    TotalRefundAmt: Yuan
    RefundOrderNum: Count
    ReservedMsgOne: Text120 | None = None
    ReservedMsgTwo: Text120 | None = None
    TranItemArray: Annotated[tuple[RevokeSplitTopUpRow, ...], Field(min_length=1, max_length=25)]
