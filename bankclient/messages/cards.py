"""Withdrawal cards of a member: bind, confirm, list, mend, unbind (quick start: 会员注册与绑定).

Two ways to bind, each in two steps: the UnionPay check with an SMS code (6066, 6067), or a small
transfer whose amount is reported back (6055, 6064). The fields are personal: they must never be
logged. Two members can share one card by joining both values of a field with "|::|".
"""

from typing import Generic, Literal, Self

from pydantic import model_validator

from bankclient.messages.wire import (
    Accepted,
    Booked,
    Count,
    Day,
    ListReply,
    Prose,
    R_co,
    Reply,
    Request,
    Rmb,
    Row,
    Text2,
    Text7,
    Text12,
    Text14,
    Text20,
    Text22,
    Text32,
    Text120,
    Word,
    Yuan,
)
from bankclient.words import Reason


class _CardToBind(Request[R_co], Generic[R_co]):
    SubAcctNo: Text32
    TranNetMemberCode: Text32
    MemberName: Text120
    MemberGlobalType: Text2
    MemberGlobalId: Text20
    MemberAcctNo: Text32
    BankType: Literal["1", "2"]
    AcctOpenBranchName: Text120
    Mobile: Text12
    CnapsBranchId: Text14 | None = None
    EiconBankBranchId: Text14 | None = None
    ReservedMsg: Text120 | None = None

    @model_validator(mode="after")
    def _other_bank_is_named(self) -> Self:
        if self.BankType == "2" and not (self.CnapsBranchId or self.EiconBankBranchId):
            raise ValueError("BankType 2 needs CnapsBranchId or EiconBankBranchId")
        return self


class BindCardByUnionPay(_CardToBind[Accepted]):
    """6066 会员绑定提现账户-银联鉴权: check card and holder at UnionPay, SMS goes out.

    Success is not yet a bound card: 6067 completes it within 120 seconds, unless ReservedMsg says
    VERIFIED (a same-name twin was checked before). At most six tries a card a day. For cards of
    other banks the quick start wants EiconBankBranchId. ERR135: a check is under way.

    Source: quick start, under the same heading.
    """

    code = "6066"
    service_id = "BindRelateAcctUnionPay"


class MaybeBooked(Reply):
    """A reply whose bank serial may be missing."""

    FrontSeqNo: Word | None = None
    ReservedMsg: Prose | None = None


class ConfirmUnionPayCode(Request[MaybeBooked]):
    """6067 会员绑定提现账户-回填银联鉴权短信码: hand in the SMS code of 6066.

    More than five wrong codes, or 120 seconds, void the attempt: start again at 6066.

    Source: quick start, under the same heading.
    """

    code = "6067"
    service_id = "BindRelateAccReUnionPay"

    TranNetMemberCode: Text32
    SubAcctNo: Text32
    MemberAcctNo: Text32
    MessageCheckCode: Text7
    ReservedMsg: Text120 | None = None


class BindCardBySmallTransfer(_CardToBind[Accepted]):
    """6055 会员绑定提现账户-小额鉴权: start binding by a small transfer.

    ReservedMsg "1" (default): the bank pays out at most 0.50 yuan, reported by 6064 within 48
    hours, one start in 24 hours. "2": the user pays in, and the reply's ReservedMsg holds the
    amount. ERR145: an earlier attempt still waits. After a lost answer ask 6061.

    Source: quick start, under the same heading.
    """

    code = "6055"
    service_id = "BindRelateAcctSmallAmount"


class ConfirmSmallTransfer(Request[Booked]):
    """6064 验证鉴权金额: report the amount of the small transfer (quick start: same heading).

    More than five wrong amounts void the attempt. For the pay-in direction AuthAmt is 0 and the
    call asks how the attempt stands.
    """

    code = "6064"
    service_id = "CheckAmount"

    TranNetMemberCode: Text32
    SubAcctNo: Text32
    TakeCashAcctNo: Text32
    AuthAmt: Yuan
    Ccy: Rmb = "RMB"
    ReservedMsg: Text120 | None = None


class SmallTransferResultReply(Reply):
    """ReturnStatu (the bank's spelling): "0" arrived, "1" failed, "2" not yet confirmed."""

    ReturnStatu: Word
    ReturnMsg: Reason | None = None
    ReservedMsg: Prose | None = None


class SmallTransferResult(Request[SmallTransferResultReply]):
    """6061 查询小额鉴权转账结果: did the pay-out of 6055 reach the card (catalogue 6061).

    OldTranSeqNo is the CnsmrSeqNo of 6055; the published length of 20 is too short for it (notes.md
    9.7).
    """

    code = "6061"
    service_id = "SmallAmountTransferQuery"
    changes = False

    OldTranSeqNo: Text22
    TranDate: Day
    ReservedMsg: Text120 | None = None


class BoundCardsRow(Row):
    """One bound card, or with QueryFlag 3 the identity the bank holds."""

    FundSummaryAcctNo: Word
    SubAcctNo: Word
    TranNetMemberCode: Word
    MemberName: Prose
    MemberGlobalType: Word
    MemberGlobalId: Word
    MemberAcctNo: Word
    BankType: Word
    AcctOpenBranchName: Prose
    Mobile: Word
    CnapsBranchId: Word | None = None
    EiconBankBranchId: Word | None = None


class BoundCards(Request[ListReply[BoundCardsRow]]):
    """6098 会员绑定信息查询: list bound cards (catalogue 6098).

    QueryFlag: 1 all members, 2 one sub-account, 3 its identity. What to ask when the answer of a
    binding, unbinding or correction was lost.
    """

    code = "6098"
    service_id = "MemberBindQuery"
    changes = False
    needs = (("QueryFlag", "23", ("SubAcctNo",)),)

    QueryFlag: Literal["1", "2", "3"]
    SubAcctNo: Text32 | None = None
    PageNum: Count = 1
    ReservedMsg: Text120 | None = None


class CorrectCardBranch(Request[Accepted]):
    """6138 维护会员绑定提现账户联行号: mend branch name and routing numbers of a bound card.

    Source: catalogue 6138.
    """

    code = "6138"
    service_id = "MntMbrBindRelateAcctBankCode"

    SubAcctNo: Text32
    MemberBindAcctNo: Text32
    AcctOpenBranchName: Text120
    CnapsBranchId: Text14 | None = None
    EiconBankBranchId: Text14 | None = None
    ReservedMsg: Text120 | None = None

    @model_validator(mode="after")
    def _branch_is_named(self) -> Self:
        if not (self.CnapsBranchId or self.EiconBankBranchId):
            raise ValueError("one of CnapsBranchId and EiconBankBranchId is needed")
        return self


class UnbindCard(Request[MaybeBooked]):
    """6065 会员解绑提现账户: remove a card from a sub-account (quick start: same heading)."""

    code = "6065"
    service_id = "UnbindRelateAcct"

    FunctionFlag: Literal["1"]
    TranNetMemberCode: Text32
    SubAcctNo: Text32
    MemberAcctNo: Text32
    ReservedMsg: Text120 | None = None
