"""Play money in the bank's test environment: 6211 (catalogue 6211; not in the quick start)."""

from bankclient.messages.wire import (
    Prose,
    Reply,
    Request,
    Text20,
    Text32,
    Text100,
    Text120,
    Word,
    Yuan,
)


class TrialTransferReply(Reply):
    """WitnessSysSeqNo takes the place of FrontSeqNo here."""

    WitnessSysSeqNo: Word
    HoldOne: Prose | None = None
    HoldTwo: Prose | None = None


class TrialTransfer(Request[TrialTransferReply]):
    """6211 指定转账划款: pay from a fixed test account to a card or the pooled account.

    For the bank's test environment only; it must never be sent in production.
    """

    code = "6211"
    service_id = "ApntTransfer"

    RecvAcctNo: Text32
    ApplyTakeCashAmt: Yuan
    MarketChargeCommission: Yuan
    RecvAcctName: Text120 | None = None
    RecvAcctOpenBranchName: Text100 | None = None
    RecvAcctOpenBranchInterbankId: Text20 | None = None
    Remark: Text120 | None = None
    HoldOne: Text120 | None = None
    HoldTwo: Text120 | None = None
    HoldThree: Text120 | None = None
