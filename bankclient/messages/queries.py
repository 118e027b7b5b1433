"""Questions about single calls and balances: 6110, 6010, 6011, 6093, 6114 (quick start: 会员查询).

They move nothing, may be repeated freely and answer for the moment of asking.
"""

from typing import Literal

from bankclient.messages.wire import (
    Count,
    Day,
    Paged,
    Prose,
    Reply,
    ReplyYuan,
    Request,
    Row,
    SubAccount,
    Text22,
    Text32,
    Text120,
    Word,
)
from bankclient.words import Reason


class TransactionStatusReply(Reply):
    """TranStatus: 0 success and 1 failure are final; 2 unclear, 5 accepted, 6 in process: ask on.

    TranAmt is in fen. FailMsg is filled on success too.
    """

    BookingFlag: Word
    TranStatus: Word
    TranAmt: ReplyYuan
    TranDate: Word | None = None
    TranTime: Word | None = None
    InSubAcctNo: Word | None = None
    OutSubAcctNo: Word | None = None
    FailMsg: Reason | None = None
    OldTranFrontSeqNo: Word | None = None


class TransactionStatus(Request[TransactionStatusReply]):
    """6110 查询银行单笔交易状态: the state of one earlier money call (quick start: same heading).

    FunctionFlag: 2 member transactions, 3 withdrawals, 4 top-ups. TranNetSeqNo is the CnsmrSeqNo of
    that call, for 6216 and 6217 the serial of the row. ERR020: not found, ask again every 3 to 5
    minutes and after several equal answers take it as failed. Any other code: the question failed,
    not the payment.
    """

    code = "6110"
    service_id = "SingleTransactionStatusQuery"
    changes = False

    FunctionFlag: Literal["2", "3", "4"]
    TranNetSeqNo: Text22
    SubAcctNo: Text32 | None = None
    TranDate: Day | None = None
    ReservedMsg: Text120 | None = None


class SubAccountBalancesRow(Row):
    """Available money and, within it, withdrawable CashAmt, in fen; no frozen amount.

    In-transit is negative while a channel owes money.
    """

    SubAcctNo: SubAccount
    SubAcctProperty: Word
    TranNetMemberCode: Word
    SubAcctName: Prose
    AcctAvailBal: ReplyYuan
    CashAmt: ReplyYuan
    MaintenanceDate: Word


class SubAccountBalancesReply(Paged[SubAccountBalancesRow]):
    """One page of balances."""

    AcctArray: tuple[SubAccountBalancesRow, ...] = ()


class SubAccountBalances(Request[SubAccountBalancesReply]):
    """6010 查询银行子账户余额: balances of one member, or of all functional sub-accounts.

    QueryFlag: 2 the member in SubAcctNo, 3 every functional sub-account with its number and
    property.

    Source: catalogue 6010.
    """

    code = "6010"
    service_id = "CustAcctIdBalanceQuery"
    changes = False
    needs = (("QueryFlag", "2", ("SubAcctNo",)),)

    QueryFlag: Literal["2", "3"]
    SubAcctNo: Text32 | None = None
    PageNum: Count = 1
    ReservedMsg: Text120 | None = None


class PooledBalanceReply(Reply):
    """CurBalabce (the bank's spelling) is today's balance, LastBalance yesterday's, in fen."""

    LastBalance: ReplyYuan
    CurBalabce: ReplyYuan
    Balance: ReplyYuan | None = None
    AddedBalance: ReplyYuan | None = None
    ReservedMsg: Prose | None = None


class PooledBalance(Request[PooledBalanceReply]):
    """6011 查询资金汇总账户余额: the real pooled account (catalogue 6011)."""

    code = "6011"
    service_id = "SupAcctIdBalanceQuery"
    changes = False

    ReservedMsg: Text120 | None = None


class EscrowBalanceReply(Reply):
    """SubAcctAssureAmt is pre-paid and frozen money together, in fen."""

    TranNetMemberCode: Word
    SubAcctAvailBal: ReplyYuan
    SubAcctAssureAmt: ReplyYuan
    ReservedMsg: Prose | None = None


class EscrowBalance(Request[EscrowBalanceReply]):
    """6093 查询会员子账号余额: available money and money in escrow.

    ReservedMsg "SameAccount" counts the same-name twin too.

    Source: catalogue 6093; not in the quick start.
    """

    code = "6093"
    service_id = "QueryCustAcctIdBalance"
    changes = False

    SubAcctNo: Text32
    ReservedMsg: Text120 | None = None


class DayEndBalancesRow(Row):
    """Closing balances of one day, in fen. Date is yyMMdd here.

    CashStatus: 0 waiting, 1 done, 2 nothing to do, 3 abnormal.
    """

    Date: Word
    DayAcctAvailBal: ReplyYuan
    DayCashBal: ReplyYuan
    DayFreezeBal: ReplyYuan
    DayCashOccurAmt: ReplyYuan
    DayWaitCashBal: ReplyYuan
    CashStatus: Word


class DayEndBalancesReply(Paged[DayEndBalancesRow]):
    """One page of days."""

    AcctArray: tuple[DayEndBalancesRow, ...] = ()


class DayEndBalances(Request[DayEndBalancesReply]):
    """6114 查询子帐号历史余额及待转可提现状态信息: closing balances of the last ten days.

    Source: catalogue 6114.
    """

    code = "6114"
    service_id = "CustAcctIdHistoryBalanceQuery"
    changes = False

    SubAcctNo: Text32
    StartDate: Day | None = None
    EndDate: Day | None = None
    PageNum: Count = 1
    ReservedMsg: Text120 | None = None
