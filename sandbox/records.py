"""What the bank remembers besides balances: members, calls, trades, orders, payments, withdrawals,
clearing days and its counters.

Each record is frozen, and consists of text, numbers, flags and tuples of text, so that the store can
write any of them down without knowing it. To remember something new, add a class here. The names of
classes and fields are in the log: a field that is renamed has its old name in `FIELDS_BEFORE`. Amounts are
int fen, days `yyyyMMdd`, instants ISO 8601 in Asia/Shanghai.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

SUCCEEDED: Final = "0"
FAILED: Final = "1"
ACCEPTED: Final = "5"
SENT: Final = "6"
"""TranStatus of 6110 (quick start, 6110)."""


RECORDS: Final[dict[str, type[Record]]] = {}
"""Every class of record by the name it has in the log."""

FIELDS_BEFORE: Final = {"remaining_fen": "left_fen", "remaining_fee_fen": "left_fee_fen"}
"""What a field is called in the logs of sandboxes before 0.2.0, where that is not its name."""


class Record:
    """Anything the store can keep, by a key that is unique within its class: its first field unless it says another."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]
    """Its fields, in order."""

    def __init_subclass__(cls) -> None:
        RECORDS[cls.__name__] = cls

    @property
    def key(self) -> str:
        return str(getattr(self, self.__match_args__[0]))


@dataclass(frozen=True, slots=True)
class Member(Record):
    """A member's sub-account (6000). `kind` is 00 (pays) or SH (collects).

    `same_name` is the sub-account of the other kind that the same customer has (6167). `holder` is the name
    that the first card has fixed.
    """

    sub_acct_no: str
    code: str
    kind: str
    name: str
    opened_day: str
    closed: bool = False
    same_name: str = ""
    mobile: str = ""
    holder: str = ""


@dataclass(frozen=True, slots=True)
class MemberCode(Record):
    """Which sub-account a platform's member code (TranNetMemberCode) got; codes are not reused."""

    code: str
    sub_acct_no: str


@dataclass(frozen=True, slots=True)
class Call(Record):
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


@dataclass(frozen=True, slots=True)
class Trade(Record):
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


@dataclass(frozen=True, slots=True)
class FrontSerial(Record):
    """The trade behind a FrontSeqNo."""

    front_seq_no: str
    serial: str


@dataclass(frozen=True, slots=True)
class Order(Record):
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
class Payment(Record):
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
class Credit(Record):
    """What of a top-up can still be taken back: the member's part and the fee apart (6130, 6217).

    `name` is the FrontSeqNo of a 6129; a row of a 6216 is known by its total order and sub-account (`row_name`).
    """

    name: str
    sub_acct_no: str
    channel_type: str
    channel_seq_no: str
    order_no: str
    remaining_fen: int
    remaining_fee_fen: int


def row_name(total_order_no: str, sub_acct_no: str) -> str:
    """Name of the `Credit` of a row of 6216: a sub-account appears once in it."""
    return f"{total_order_no}:{sub_acct_no}"


@dataclass(frozen=True, slots=True)
class AcquiredShare(Record):
    """One share of an order that an acquiring product collected, as its remark names it (6145 to 6147).

    `number` is that of the sub-order, of a plain order the order's own; `booked_to` the sub-account that has the
    money, `meant_for` where the notice would book it when that is not `named` (a wrong booking). Both `booked_to` and
    `front_seq_no` are empty while the bank has missed the order. `holds_fee`: the fee is frozen with the rest.
    """

    number: str
    order_no: str
    channel: str
    named: str
    amount_fen: int
    fee_fen: int
    pay_mode: str
    meant_for: str = ""
    booked_to: str = ""
    front_seq_no: str = ""
    booked_at: str = ""
    rebooked: bool = False
    holds_fee: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawal(Record):
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


@dataclass(frozen=True, slots=True)
class Inflow(Record):
    """A transfer into the pooled account (6050); `sub_acct_no` is empty for one that lies, or lay, in suspense."""

    front_seq_no: str
    day: str
    sub_acct_no: str
    amount_fen: int
    payer_account: str
    payer_name: str
    payer_bank_name: str
    remark: str


@dataclass(frozen=True, slots=True)
class SuspenseClearing(Record):
    """What of a 6139 can still be put back into suspense by 6140, fee included, and of its fee."""

    order_no: str
    sub_acct_no: str
    remaining_fen: int
    remaining_fee_fen: int


@dataclass(frozen=True, slots=True)
class SmsCode(Record):
    """A text with a code (`sandbox.sms`). `order_no` is its MessageOrderNo, `named` the payee it authorises."""

    order_no: str
    purpose: str
    sub_acct_no: str
    mobile: str
    code: str
    sent_at: str
    ends_at: str
    named: str = ""
    used: bool = False


@dataclass(frozen=True, slots=True)
class BoundCard(Record):
    """A card that was bound to a sub-account, and how its holder is known (6098)."""

    sub_acct_no: str
    card_no: str
    name: str
    id_type: str
    id_no: str
    bank_type: str
    branch: str
    cnaps: str
    super_bank: str
    mobile: str
    unbound: bool = False

    @property
    def key(self) -> str:
        return card_key(self.sub_acct_no, self.card_no)


@dataclass(frozen=True, slots=True)
class CardCheck(Record):
    """The check of a card for a sub-account that was begun last (6066, 6055), and what would prove it.

    `kind` is sms, out or in; `serial` that of the request; `card` what will be bound. `paid_in` is set when
    the holder has paid in what was asked.
    """

    kind: str
    serial: str
    card: tuple[str, ...]
    began_at: str
    ends_at: str
    code: str = ""
    amount_fen: int = 0
    wrong: int = 0
    over: bool = False
    paid_in: bool = False

    @property
    def key(self) -> str:
        return card_key(self.card[0], self.card[1])


def card_key(sub_acct_no: str, card_no: str) -> str:
    """Key of a card of a sub-account."""
    return f"{sub_acct_no}:{card_no}"


@dataclass(frozen=True, slots=True)
class MobileChange(Record):
    """A change of a member's mobile that waits for its code (6083)."""

    order_no: str
    modify_type: str
    new_mobile: str


@dataclass(frozen=True, slots=True)
class WebSignature(Record):
    """What the bank's password page returned once a member had typed the right password (`sandbox.passwords`)."""

    signature: str
    sub_acct_no: str
    used: bool = False


@dataclass(frozen=True, slots=True)
class ClearingDay(Record):
    """The one clearing record of a bank day (6108). `finished_day` is empty while it is pending."""

    day: str
    total_fen: int
    finished_day: str = ""


@dataclass(frozen=True, slots=True)
class DayEnd(Record):
    """What a member had when a bank day ended; days without a change repeat no record (6114, file YE).

    `credited_fen` is what of `waiting_fen` was booked on that day itself.
    """

    sub_acct_no: str
    day: str
    available_fen: int
    withdrawable_fen: int
    frozen_fen: int
    escrow_fen: int
    waiting_fen: int
    credited_fen: int

    @property
    def key(self) -> str:
        return f"{self.sub_acct_no}:{self.day}"


@dataclass(frozen=True, slots=True)
class PooledDayEnd(Record):
    """The pooled real account when a bank day ended (6011)."""

    day: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class BankCharge(Record):
    """What the bank charged the platform (6109), paid from an account outside these books.

    `fee_type`: 1 withdrawals, 2 verification, 3 service; `status`: 0 taken, 1 failed, 2 timed out, 3 not processed.
    """

    number: int
    fee_type: str
    first_day: str
    last_day: str
    taken_day: str
    amount_fen: int
    status: str = SUCCEEDED

    @property
    def key(self) -> str:
        return str(self.number)


@dataclass(frozen=True, slots=True)
class Counter(Record):
    """The last number given out of a series."""

    name: str
    last: int


@dataclass(frozen=True, slots=True)
class Mark(Record):
    """A fact about the bank as a whole: its first day, how far its clock was moved, and so on."""

    name: str
    text: str
