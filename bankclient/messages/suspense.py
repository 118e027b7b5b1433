"""Money nobody could be matched to: clear it to a member, undo that (quick start: 登记挂账)."""

from bankclient.messages.wire import Booked, Request, Text30, Text32, Text120, Yuan


class AllocateSuspense(Request[Booked]):
    """6139 登记挂账(支持撤销): move suspense money to a member, withdrawable at once.

    Whether TranFee is charged differs by source (notes.md 9.9). Functional sub-accounts cannot be
    the target. In tests it is the way to give a sub-account money.

    Source: quick start, under the same heading.
    """

    code = "6139"
    service_id = "RegisterBillSupportWithdraw"

    SubAcctNo: Text32
    TranNetMemberCode: Text32
    OrderNo: Text30
    SuspendAmt: Yuan
    TranFee: Yuan
    Remark: Text120 | None = None
    ReservedMsgOne: Text120 | None = None
    ReservedMsgTwo: Text120 | None = None
    ReservedMsgThree: Text120 | None = None


class ReverseSuspenseAllocation(Request[Booked]):
    """6140 登记挂账撤销: put money of a 6139 back into suspense, also in parts.

    Source: quick start, under the same heading.
    """

    code = "6140"
    service_id = "RevRegisterBillSupportWithdraw"

    SubAcctNo: Text32
    TranNetMemberCode: Text32
    OldOrderNo: Text30
    CancelAmt: Yuan
    TranFee: Yuan
    Remark: Text120 | None = None
    ReservedMsgOne: Text120 | None = None
    ReservedMsgTwo: Text120 | None = None
    ReservedMsgThree: Text120 | None = None
