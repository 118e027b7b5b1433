"""Withdrawals to the bound card, and those that came back (quick start: 会员提现).

000000 means accepted, not paid: 6110 flag 3 tells the end. Even a success may bounce later; 6048
lists those. The three ways name the same amount CashAmt, CashAmt and ApplyTakeCashAmt.
"""

from typing import Literal

from bankclient.messages.wire import (
    Booked,
    Day,
    Prose,
    Reply,
    ReplyYuan,
    Request,
    Rmb,
    Row,
    Text2,
    Text7,
    Text20,
    Text30,
    Text32,
    Text64,
    Text120,
    Text256,
    Unread,
    Word,
    Yuan,
)
from bankclient.words import Reason


class WithdrawReply(Booked):
    """TransferFee is what the bank takes from the platform, in fen."""

    TransferFee: ReplyYuan | None = None


class Withdraw(Request[WithdrawReply]):
    """6033 会员提现-不验证: pay withdrawable money out to the bound card.

    Fees belong to 6085. A super-network number pays at once up to 50 000 yuan; above that the CNAPS
    number serves on workdays from 8:30 to 17:00.

    Source: quick start, under the same heading.
    """

    code = "6033"
    service_id = "MembershipWithdrawCash"

    TranWebName: Text120
    SubAcctNo: Text32
    TranNetMemberCode: Text32
    MemberName: Text120
    TakeCashAcctNo: Text32
    OutAmtAcctName: Text120
    CashAmt: Yuan
    MemberGlobalType: Text2 | None = None
    MemberGlobalId: Text20 | None = None
    Ccy: Rmb = "RMB"
    Remark: Text120 | None = None
    OrderNo: Text30 | None = None
    TakeCashBatchNo: Text64 | None = None
    TakeCashAcctType: Literal["1", "2"] | None = None
    ReservedMsg: Text120 | None = None
    WebSign: Text256 | None = None


class _FeeWithdrawal(Request[Booked]):
    SubAcctNo: Text32
    TranNetMemberCode: Text32
    SubAcctName: Text120
    TakeCashAcctNo: Text32
    TakeCashAcctName: Text120
    TakeCashCommission: Yuan
    Ccy: Rmb = "RMB"
    MessageOrderNo: Text32 | None = None
    MessageCheckCode: Text7 | None = None
    Remark: Text120 | None = None
    ReservedMsg: Text120 | None = None


class WithdrawBySms(_FeeWithdrawal):
    """6085 会员提现-支持手续费: withdraw with a platform fee, SMS verified.

    Ask 6082 TranType 1 first. A platform without SMS may leave the pair out and use 6085 for the
    fee alone.

    Source: quick start: 6110 flag 3.
    """

    code = "6085"
    service_id = "MemberWithdrawCash"

    CashAmt: Yuan
    WebSign: Text256 | None = None


class WithdrawByPassword(_FeeWithdrawal):
    """6111 会员提现-支持手续费及支付密码验证: withdraw with a fee, password verified.

    WebSign is the signature that the bank's password page returned.

    Source: quick start: 6110 flag 3.
    """

    code = "6111"
    service_id = "MemberWithdrawSprtFeePwdVerify"

    ApplyTakeCashAmt: Yuan
    WebSign: Text256


class ReturnedWithdrawalsRow(Row):
    """One bounce. On its own day the four Old fields are empty: ask again next day."""

    RejectBillDate: Word
    RejectInAcctTranSeqNo: Word
    RejectInAcctTranAmt: ReplyYuan
    PayeeWitnessSubAcctNo: Word
    PayeeFrontSeqNo: Word
    OldTranSeqNo: Word | None = None
    OldFrontSeqNo: Word | None = None
    OldMarketSeqNo: Word | None = None
    OldAddMsg: Prose | None = None
    RejectBillReason: Reason | None = None
    RejectInPayerAcctNo: Word | None = None
    RejectInPayerAcctName: Prose | None = None
    RejectInPayerBranchId: Word | None = None
    RejectInPayerBranchName: Prose | None = None
    ReservedMsgOne: Prose | None = None
    ReservedMsgTwo: Prose | None = None
    ReservedMsgThree: Prose | None = None


class ReturnedWithdrawalsReply(Reply):
    """All bounces of the days asked for; there are no pages."""

    TranItemArray: tuple[ReturnedWithdrawalsRow, ...] = ()
    ResultNum: Unread = None
    ReservedMsg: Prose | None = None


class ReturnedWithdrawals(Request[ReturnedWithdrawalsReply]):
    """6048 查询银行提现退单信息: withdrawals the receiving bank sent back (catalogue 6048).

    FunctionFlag: 1 withdrawals, 2 binding pay-outs. The days are those of the bounce. The original
    keeps status 0 in 6110; the money is a new inflow on the sub-account.
    """

    code = "6048"
    service_id = "BankWithdrawCashBackQuery"
    changes = False

    FunctionFlag: Literal["1", "2"]
    StartDate: Day
    EndDate: Day
    ReservedMsg: Text120 | None = None
