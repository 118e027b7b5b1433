"""Orders paid through the bank's acquiring products: 6146, 6147, 6145 (quick start 2.4).

The acquiring system tells JZB of a paid order on its own, with delay. Order of calls: 6146 asks;
when the bank does not know the order (ERR020), 6147 makes it fetch it; when it was booked to the
wrong sub-account, 6145 books it again.
"""

from typing import Literal

from bankclient.messages.wire import (
    Booked,
    Prose,
    Reply,
    ReplyYuan,
    Request,
    Rmb,
    Text30,
    Text32,
    Text120,
    Word,
    Yuan,
)
from bankclient.words import Reason

AcquiringChannel = Literal["01", "02", "03", "04", "YST1"]
"""01 橙E收款, 02 and 03 cross-bank quick collection (older), 04 aggregated payment (older), YST1
云收款.
"""


class AcquiringOrderReply(Reply):
    """TranStatus has a scale of its own: 0 success, 1 failed, 2 abnormal, 3 reversed, 5 pending."""

    TranStatus: Word
    TranAmt: ReplyYuan
    CommissionAmt: ReplyYuan | None = None
    PayMode: Word | None = None
    TranDate: Word | None = None
    TranTime: Word | None = None
    OrderInSubAcctNo: Word | None = None
    OrderInSubAcctName: Prose | None = None
    OrderActInSubAcctNo: Word | None = None
    OrderActInSubAcctName: Prose | None = None
    FrontSeqNo: Word | None = None
    TranDesc: Reason | None = None


class AcquiringOrder(Request[AcquiringOrderReply]):
    """6146 查询充值明细-见证收单: was an acquiring order booked, and where.

    OrderNo is TraderOrderNo for an ordinary order, suborderId for a sub-order. ERR020: unknown to
    JZB.

    Source: quick start, under the same heading.
    """

    code = "6146"
    service_id = "ChargeDetailQuery"
    changes = False

    AcquiringChannelType: AcquiringChannel
    OrderNo: Text30
    ReservedMsg: Text120 | None = None


class SupplyAcquiringOrderReply(Reply):
    """What was booked, where the bank says so."""

    FrontSeqNo: Word
    SubAcctNo: Word | None = None
    Amt: ReplyYuan | None = None
    Remark: Prose | None = None
    ReservedMsg: Prose | None = None


class SupplyAcquiringOrder(Request[SupplyAcquiringOrderReply]):
    """6147 平台补账-见证收单: make JZB fetch an order it missed (quick start: same heading).

    OrderNo is always TraderOrderNo. After a lost answer ask 6146.
    """

    code = "6147"
    service_id = "PlatformAccountSupply"

    AcquiringChannelType: AcquiringChannel
    OrderNo: Text30
    Amt: Yuan
    ReservedMsg: Text120 | None = None


class RebookAcquiringOrder(Request[Booked]):
    """6145 调账-见证收单: send the right sub-account for money that was parked.

    Single wrong sub-orders can be booked again, by suborderId. After a lost answer ask 6146.

    Source: quick start, under the same heading.
    """

    code = "6145"
    service_id = "AccountRegulation"

    AcquiringChannelType: AcquiringChannel
    OrderNo: Text30
    SubAcctNo: Text32
    TranNetMemberCode: Text32
    SubAcctName: Text120
    Amt: Yuan
    Remark: Text120
    Ccy: Rmb = "RMB"
    ReservedMsg: Text120 | None = None
