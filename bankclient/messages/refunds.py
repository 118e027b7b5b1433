"""Refunds of completed payments: 6164 (quick start: 会员间交易退款-不验证)."""

from typing import Literal, Self

from pydantic import model_validator

from bankclient.messages.wire import Booked, Request, Text22, Text30, Text32, Text120, Yuan


class RefundPayment(Request[Booked]):
    """6164 会员间交易退款-不验证: give back a completed payment, wholly or in part.

    FunctionFlag names the kind of the original: 1 a confirmed order (6034/6101/6006 flag 2), 2 a
    direct payment (flags 6, 9), 3 a confirmation by the platform (6031), 4 a batch confirmation, 5
    a batch payment, 6 a payment out of frozen money (6163/6166/6165). OldTranSeqNo: for 1, 2, 3 the
    CnsmrSeqNo of the payment; for 4, 5 the serial of one row; for 6 the serial of one row, or the
    payment's CnsmrSeqNo to refund its fee, with the fee in ReturnAmt, ReturnCommission 0 and the
    fee sub-account as OldOutSubAcctNo. One row a call. ReturnAmt is what the buyer gets, the fee given
    back (ReturnCommission) inside; the seller gives the rest, and the refund advance account that fee.
    ReservedMsg: the original booking date, required
    when it is older than three months (the first six digits of its FrontSeqNo). The message
    未检索到原交易，正在尝试查询历史数据，请稍后再试 asks to wait five minutes.

    Source: quick start, under the same heading.
    """

    code = "6164"
    service_id = "MemberTransactionRefund"
    needs = (("FunctionFlag", "13456", ("OldOrderNo",)),)

    FunctionFlag: Literal["1", "2", "3", "4", "5", "6"]
    OldTranSeqNo: Text22
    OldOutSubAcctNo: Text32
    OldOutMemberCode: Text32
    OldInSubAcctNo: Text32
    OldInMemberCode: Text32
    ReturnAmt: Yuan
    ReturnCommission: Yuan
    OldOrderNo: Text30 | None = None
    Remark: Text120 | None = None
    ReservedMsg: Text120 | None = None

    @model_validator(mode="after")
    def _fee_goes_by_itself(self) -> Self:
        if self.FunctionFlag == "6" and self.ReturnCommission != 0:
            raise ValueError("FunctionFlag 6 takes no ReturnCommission: refund the fee by itself")
        return self
