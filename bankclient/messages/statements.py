"""Lists by day: clearing, inflows, payments, withdrawals, charges (quick start: 会员查询).

They list what is done, never what was asked: rows carry FrontSeqNo, not CnsmrSeqNo. The signature
covers the last row only (transport.md 2.3).
"""

from typing import Literal

from bankclient.messages.wire import (
    Count,
    Day,
    ListReply,
    Paged,
    Prose,
    ReplyYuan,
    Request,
    Row,
    Text32,
    Text120,
    Word,
)
from bankclient.words import Reason


class ClearingResultRow(Row):
    """The clearing of one day; TotalAmt is the money it needs, in fen.

    ReconcileStatus: 0 passed, 1 failed. ClearingState: 0 done, 1 failed, 2 abnormal, 3 pending; it
    stays 3 while the money that arrived does not cover TotalAmt.
    """

    Date: Word
    SubAcctType: Word
    ReconcileStatus: Word
    TotalAmt: ReplyYuan
    ClearingState: Word
    ReconcileReturnMsg: Reason | None = None
    ClearingReturnMsg: Reason | None = None
    ClearingFinishDate: Word | None = None


class ClearingResult(Request[ListReply[ClearingResultRow]]):
    """6108 查询银行在途清算结果: was the in-transit money of a day cleared.

    FunctionFlag: 1 all days, 2 the given days. Ask with the day of the money: on the 7th for the
    6th. Tried every 15 minutes from 8:00 to 20:00, days in order.

    Source: quick start, under the same heading.
    """

    code = "6108"
    service_id = "BankClearQuery"
    changes = False
    needs = (("FunctionFlag", "2", ("StartDate", "EndDate")),)

    FunctionFlag: Literal["1", "2"]
    StartDate: Day | None = None
    EndDate: Day | None = None
    PageNum: Count = 1
    ReservedMsg: Text120 | None = None


class TransfersInRow(Row):
    """One inflow. InAcctType: 02 credited to a member (a bounce too), 03 in suspense."""

    InAcctType: Word
    TranNetMemberCode: Word
    SubAcctNo: Word
    TranAmt: ReplyYuan
    Ccy: Word
    AccountingDate: Word
    FrontSeqNo: Word
    InAcctNo: Word | None = None
    InAcctName: Prose | None = None
    BankName: Prose | None = None
    Remark: Prose | None = None


class TransfersIn(Request[ListReply[TransfersInRow]]):
    """6050 查询普通转账充值明细: transfers into the pooled account.

    FunctionFlag: 1 today, 0 earlier days (one source says 2, notes.md 9.11). The money of the daily
    clearing shows here too, as 03 with the remark 跨行支付本金清算: never clear it to a member.

    Source: catalogue 6050; not in the quick start.
    """

    code = "6050"
    service_id = "CommonTransferRechargeQuery"
    changes = False

    FunctionFlag: Literal["1", "0"]
    StartDate: Day
    EndDate: Day
    PageNum: Count = 1
    ReservedMsg: Text120 | None = None


class SubAccountTransactionsRow(Row):
    """One success. BookingFlag: 1 out, 2 in. BookingType: catalogue, booking_type_6072."""

    BookingFlag: Word
    TranStatus: Word
    TranAmt: ReplyYuan
    TranDate: Word
    TranTime: Word
    FrontSeqNo: Word
    BookingType: Word
    InSubAcctNo: Word | None = None
    OutSubAcctNo: Word | None = None
    Remark: Prose | None = None


class SubAccountTransactions(Request[ListReply[SubAccountTransactionsRow]]):
    """6072 查询银行时间段内交易明细: payments, freezes, refunds of one sub-account.

    FunctionFlag: 1 today, 2 earlier days. QueryFlag: 1 all, 2 out, 3 in. Not in the quick start.

    Source: catalogue 6072.
    """

    code = "6072"
    service_id = "BankTransactionDetailsQuery"
    changes = False
    needs = (("FunctionFlag", "2", ("StartDate", "EndDate")),)

    FunctionFlag: Literal["1", "2"]
    SubAcctNo: Text32
    QueryFlag: Literal["1", "2", "3"]
    StartDate: Day | None = None
    EndDate: Day | None = None
    PageNum: Count = 1
    ReservedMsg: Text120 | None = None


class CashMovementsRow(Row):
    """One success. BookingFlag: 01 withdrawal, acquiring refund; 02 top-up, acquiring credit."""

    BookingFlag: Word
    TranStatus: Word
    TranNetMemberCode: Word
    SubAcctNo: Word
    SubAcctName: Prose
    TranAmt: ReplyYuan
    TranDate: Word
    TranTime: Word
    FrontSeqNo: Word
    BookingMsg: Prose | None = None
    Commission: ReplyYuan | None = None
    Remark: Prose | None = None


class CashMovements(Request[ListReply[CashMovementsRow]]):
    """6073 查询银行时间段内清分提现明细: withdrawals or top-ups of one sub-account.

    FunctionFlag: 1 today, 2 earlier days. QueryFlag: 2 withdrawals, 3 top-ups. The first day is
    BeginDate here, StartDate elsewhere. Not in the quick start.

    Source: catalogue 6073.
    """

    code = "6073"
    service_id = "BankWithdrawCashDetailsQuery"
    changes = False
    needs = (("FunctionFlag", "2", ("BeginDate", "EndDate")),)

    FunctionFlag: Literal["1", "2"]
    SubAcctNo: Text32
    QueryFlag: Literal["2", "3"]
    BeginDate: Day | None = None
    EndDate: Day | None = None
    PageNum: Count = 1
    ReservedMsg: Text120 | None = None


class BankChargesRow(Row):
    """One charge, in fen. FeeType: 1 withdrawal, 2 verification, 3 service.

    TranStatus: 0 taken, 1 failed, 2 timed out, 3 not processed.
    """

    FeeType: Word
    FeeStartDate: Word
    FeeEndDate: Word
    FeeDeductDate: Word
    ChargeAmt: ReplyYuan
    TranStatus: Word


class BankChargesReply(Paged[BankChargesRow]):
    """One page of charges."""

    FeeArray: tuple[BankChargesRow, ...] = ()


class BankCharges(Request[BankChargesReply]):
    """6109 查询银行费用扣收结果: what the bank charged the platform.

    Source: catalogue 6109; not in the quick start.
    """

    code = "6109"
    service_id = "BankCostDsDealResultQuery"
    changes = False
    needs = (("FunctionFlag", "2", ("StartDate", "EndDate")),)

    FunctionFlag: Literal["1", "2"]
    StartDate: Day | None = None
    EndDate: Day | None = None
    PageNum: Count = 1
    ReservedMsg: Text120 | None = None
