"""What the bank remembers besides balances: members, calls, trades, orders, payments, withdrawals,
clearing days and its counters.

Each record is frozen, has a `key` that is unique within its class, and consists of text, numbers,
flags and tuples of text, so that the store can write any of them down without knowing it. To
remember something new, add a class here and name it in `RECORDS`. Amounts are int fen, days
`yyyyMMdd`, instants ISO 8601 in Asia/Shanghai.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

SUCCEEDED: Final = "0"
FAILED: Final = "1"
ACCEPTED: Final = "5"
SENT: Final = "6"
"""TranStatus of 6110 (quick start, 6110)."""


class Record(Protocol):
    """Anything the store can keep."""

    @property
    def key(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Member:
    """A member's sub-account (6000). `kind` is 00 (pays) or SH (collects)."""

    sub_acct_no: str
    code: str
    kind: str
    name: str
    opened_day: str
    closed: bool = False

    @property
    def key(self) -> str:
        return self.sub_acct_no


@dataclass(frozen=True, slots=True)
class MemberCode:
    """Which sub-account a platform's member code (TranNetMemberCode) got; codes are not reused."""

    code: str
    sub_acct_no: str

    @property
    def key(self) -> str:
        return self.code


@dataclass(frozen=True, slots=True)
class Call:
    """A request that changed something or was refused, with the answer every repeat gets.

    `fingerprint` tells a repeat from another business under the same serial; `reply` is the JSON
    of the business fields answered.
    """

    serial: str
    service_id: str
    fingerprint: str
    at: str
    return_code: str
    return_message: str
    reply: str

    @property
    def key(self) -> str:
        return self.serial


@dataclass(frozen=True, slots=True)
class Trade:
    """One transaction that 6110 can be asked about: by CnsmrSeqNo or by the serial of a row.

    `asked_by` is the FunctionFlag of 6110 under which it is found, `booking_flag` what 6110 calls
    it. `amount_fen` includes `fee_fen`. `call_serial` is the CnsmrSeqNo of the request.
    """

    serial: str
    call_serial: str
    code: str
    function_flag: str
    asked_by: str
    booking_flag: str
    status: str
    at: str
    day: str
    front_seq_no: str = ""
    out_sub_acct_no: str = ""
    in_sub_acct_no: str = ""
    amount_fen: int = 0
    fee_fen: int = 0
    order_no: str = ""
    remark: str = ""
    fail_message: str = ""

    @property
    def key(self) -> str:
        return self.serial


@dataclass(frozen=True, slots=True)
class FrontSerial:
    """The trade behind a FrontSeqNo."""

    front_seq_no: str
    serial: str

    @property
    def key(self) -> str:
        return self.front_seq_no


@dataclass(frozen=True, slots=True)
class Order:
    """A platform order number in use, and whose money lies under it.

    `kind` is the name space: `order` numbers are shared by 6034, 6007 and their twins (the
    catalogue asks for one number per business), `top_up` by 6129, `total` and `sub` by 6216.
    """

    kind: str
    order_no: str
    opened_by: str
    payer: str = ""
    payee: str = ""

    @property
    def key(self) -> str:
        return order_key(self.kind, self.order_no)


def order_key(kind: str, order_no: str) -> str:
    """Key of an `Order`."""
    return f"{kind}:{order_no}"


@dataclass(frozen=True, slots=True)
class Payment:
    """What of a payment can still be refunded by 6164.

    `source` is the FunctionFlag of 6164 that refunds it, with `fee` for the commission of 6163,
    which is refunded by the CnsmrSeqNo of the payment while its rows go by their own serials.
    """

    source: str
    serial: str
    payer: str
    payees: tuple[str, ...]
    order_no: str
    day: str
    refundable_fen: int
    refundable_fee_fen: int

    @property
    def key(self) -> str:
        return payment_key(self.source, self.serial)


def payment_key(source: str, serial: str) -> str:
    """Key of a `Payment`."""
    return f"{source}:{serial}"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A withdrawal on its way. `outcome` is what it will end as at `due_at`, `status` where it is;
    `returned_day` is set when the receiving bank sent the money back after all."""

    serial: str
    sub_acct_no: str
    amount_fen: int
    fee_fen: int
    accepted_at: str
    due_at: str
    outcome: str = SUCCEEDED
    status: str = ACCEPTED
    return_due: bool = False
    returned_day: str = ""
    return_front_seq_no: str = ""

    @property
    def key(self) -> str:
        return self.serial


@dataclass(frozen=True, slots=True)
class ClearingDay:
    """The one clearing record of a bank day (6108). `finished_day` is empty while it is pending."""

    day: str
    total_fen: int
    finished_day: str = ""

    @property
    def key(self) -> str:
        return self.day


@dataclass(frozen=True, slots=True)
class Counter:
    """The last number given out of a series."""

    name: str
    last: int

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Mark:
    """A fact about the bank as a whole: its first day, how far its clock was moved, and so on."""

    name: str
    text: str

    @property
    def key(self) -> str:
        return self.name


RECORDS: Final[dict[str, type[Record]]] = {
    kind.__name__: kind
    for kind in (
        Member,
        MemberCode,
        Call,
        Trade,
        FrontSerial,
        Order,
        Payment,
        Withdrawal,
        ClearingDay,
        Counter,
        Mark,
    )
}
"""Every class of record by the name it has in the log."""
