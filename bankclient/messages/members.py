"""Members of the platform and their sub-accounts: 6000, 6167, 6092, 6037, 6244.

A member is known by the platform's own code (TranNetMemberCode) and, once opened, by the bank's
sub-account number. Property 00 pays only, SH collects only (quick start: 会员子账户开立).
"""

from typing import Literal

from bankclient.messages.wire import (
    Prose,
    Reply,
    ReplyYuan,
    Request,
    SubAccount,
    Text11,
    Text12,
    Text14,
    Text20,
    Text32,
    Text64,
    Text120,
    Word,
)


class OpenMemberReply(Reply):
    """Keep SubAcctNo: every later call needs it."""

    SubAcctNo: SubAccount
    ReservedMsg: Prose | None = None


class OpenMember(Request[OpenMemberReply]):
    """6000 会员子账户开立: open a member's sub-account, or close it (quick start: 会员子账户开立).

    Flags: 1 open, 3 close. MemberProperty: 00 pays and does not collect, except acquiring top-ups
    and suspense allocation; SH collects and does not pay. After a lost answer ask 6092, not 6110.
    """

    code = "6000"
    service_id = "OpenCustAcctId"

    FunctionFlag: Literal["1", "3"]
    TranNetMemberCode: Text32
    MemberProperty: Literal["00", "SH"]
    UserNickname: Text120 | None = None
    Mobile: Text12 | None = None
    Email: Text120 | None = None
    ReservedMsg: Text120 | None = None


class LinkSameNameReply(Reply):
    """SameNameAcctRelRelation is "1" once the two sub-accounts are linked."""

    SameNameAcctRelRelation: Word
    MerSubAcctNo: SubAccount
    CommonSubAcctNo: SubAccount
    ReservedMsgOne: Prose | None = None
    ReservedMsgTwo: Prose | None = None


class LinkSameName(Request[LinkSameNameReply]):
    """6167 维护同名账户关联关系: give one customer both kinds of sub-account.

    Flags: 1 open both, 2 add an ordinary one to a merchant's, 3 add a merchant's to an ordinary
    one. One card check then serves both. No public service id, and the fields are those of the
    sibling 6293 (catalogue, confidence low): ask the bank before use. After a lost answer ask 6092.

    Source: quick start, under the same heading.
    """

    code = "6167"
    service_id = None

    FunctionFlag: Literal["1", "2", "3"]
    MerSubAcctMemberCode: Text32
    CommonSubAcctMemberCode: Text32
    MerSubAcctNickname: Text64 | None = None
    CommonSubAcctNickname: Text64 | None = None
    Mobile: Text11 | None = None
    Email: Text64 | None = None
    ReservedMsgOne: Text120 | None = None
    ReservedMsgTwo: Text120 | None = None
    ReservedMsgThree: Text120 | None = None
    ReservedMsgFour: Text120 | None = None


class FindSubAccountReply(Reply):
    """ReservedMsg may hold the member property."""

    SubAcctNo: SubAccount
    ReservedMsg: Prose | None = None


class FindSubAccount(Request[FindSubAccountReply]):
    """6092 根据会员代码查询会员子账号: find a member's sub-account (quick start 2.5).

    What to ask when the answer of 6000 was lost.
    """

    code = "6092"
    service_id = "QueryCustAcctIdByThirdCustId"
    changes = False

    TranNetMemberCode: Text32
    ReservedMsg: Text120 | None = None


class MemberBalancesReply(Reply):
    """Withdrawable, available (it includes the withdrawable) and frozen money, in fen."""

    SubAcctNo: SubAccount
    SubAcctCashBal: ReplyYuan
    SubAcctAvailBal: ReplyYuan
    SubAcctFreezeAmt: ReplyYuan
    ReservedMsg: Prose | None = None


class MemberBalances(Request[MemberBalancesReply]):
    """6037 查询会员子账号: a member's sub-account and its three balances.

    Whether SubAcctFreezeAmt counts pre-paid orders too is not settled (notes.md 9.8); 6093 counts
    both.

    Source: quick start: 会员资金冻结.
    """

    code = "6037"
    service_id = "QueryCustAcctId"
    changes = False

    TranNetMemberCode: Text32
    ReservedMsg: Text120 | None = None


class RegisterBehaviorReply(Reply):
    """With flag 2 ReinSuccessFlag is S once the record is complete, F before. It is empty with flag 1.

    What else flag 2 tells of a company and its representative is not read: the platform has it.
    """

    ReinSuccessFlag: Word | None = None
    ReservedMsg: Prose | None = None


class RegisterBehavior(Request[RegisterBehaviorReply]):
    """6244 登记行为记录信息: hand in how a member signed, or ask whether a merchant's record is complete.

    Flags: 1 hands in the click with which the member agreed, and wants all four facts about it; 2 asks
    whether the record of a SH sub-account was completed afterwards (补录). Not in the quick start: two
    public clients (catalogue). SignChannel: 1 app, 2 page, 3 official account, 4 mini program.
    """

    code = "6244"
    service_id = "RegisterBehaviorRecordInfo"
    needs = (("FunctionFlag", "1", ("OpClickTime", "IpAddress", "MacAddress", "SignChannel")),)

    FunctionFlag: Literal["1", "2"]
    SubAcctNo: Text32
    TranNetMemberCode: Text32
    OpClickTime: Text14 | None = None
    IpAddress: Text20 | None = None
    MacAddress: Text20 | None = None
    SignChannel: Literal["1", "2", "3", "4"] | None = None
    ReservedMsgOne: Text120 | None = None
    ReservedMsgTwo: Text120 | None = None
