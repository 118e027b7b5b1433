"""What the bank has booked on a member since some moment, and the books do not know (6072, 6073)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

from bankclient import (
    BANK_ZONE,
    BankClient,
    CashMovements,
    CashMovementsRow,
    SubAccountTransactions,
    SubAccountTransactionsRow,
    wall_clock,
)
from ledger.names import BankSerial, SubAccount
from service.bankday import bank_day_of, days_now
from service.questions.lists import rows

TOP_UP, REVOCATION, WITHDRAWAL, REFUND = "top-up", "top-up taken back", "withdrawal", "refund"
REVOKED: Final = "撤销"
"""How a top-up that was taken back is told from one in the list of top-ups, where both stand (catalogue 6129)."""

KINDS: Final[Mapping[str, tuple[str, int, int]]] = {
    "1": ("payment", -1, 1),
    "2": ("freeze", -1, 0),
    "3": ("release", 0, 1),
    "4": ("suspense allocation", -1, 1),
    "6": ("pre-payment", -1, 0),
    "7": ("payment out of escrow or frozen money", 0, 1),
    "8": ("pre-payment returned", 1, 0),
    "9": ("payment to the platform", -1, 1),
    "22": ("booking moved", -1, 1),
    "23": ("freeze", -1, 0),
    "24": ("release", 0, 1),
    "25": (REFUND, -1, 1),
    "33": ("release", 0, 1),
}
"""BookingType of 6072 (catalogue, booking_type_6072): what it is, and what it does to the available money of the
sub-account that it lists as out, and as in.
"""

SKEW: Final = timedelta(seconds=60)
"""How far the bank's clock may be behind ours."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A transaction of the bank that the books do not know. The amount is in fen, its fee included."""

    bank_serial: BankSerial
    booked_at: datetime
    kind: str
    amount_fen: int
    payer: SubAccount
    payee: SubAccount
    remark: str

    @property
    def bank_day(self) -> date:
        """The bank's day of the booking."""
        return bank_day_of(self.booked_at)


Moved = tuple[str, str, int, str]
"""What rows of a batch are recognised by: the sub-accounts of payer and payee, empty for the platform's own; fen; and
the order number with which the bank lists them, if it does (`service.questions.booked.noted`).
"""


class KnownBookings:
    """What the books know of the bank's rows.

    By the bank's serials; and the rows of batches and splits, which have serials of their own there, by what they
    moved, as often as the books have it and not after ``until``.
    """

    def __init__(self, serials: set[BankSerial], rows: Iterable[Moved], until: datetime) -> None:
        self._serials = serials
        self._rows = Counter(rows)
        self._until = until

    def contains(self, one: Lost, platforms_own: Collection[str]) -> bool:
        """Whether the books have booked what the bank has."""
        payer, payee = ("" if side in platforms_own else side for side in (one.payer, one.payee))
        if one.bank_serial in self._serials:
            return True
        if one.booked_at > self._until:
            return False
        for order_no in (one.remark.partition(" ")[0], ""):
            moved = (payer, payee, one.amount_fen, order_no)
            if self._rows[moved]:
                self._rows[moved] -= 1
                # It is listed for the other side, too.
                self._serials.add(one.bank_serial)
                return True
        return False


async def bookings_at_bank(bank: BankClient, sub_account: SubAccount, since: datetime) -> list[tuple[Lost, int]]:
    """What the bank has booked on a sub-account since, and what it did to the available money. Raises `Problem`."""
    first, ended = bank_day_of(since - SKEW), days_now()[1] - timedelta(days=1)
    # A day that ends meanwhile is in both lists, and would be in none the other way round.
    present = await _listed(bank, sub_account, "1", None, None)
    history = await _listed(bank, sub_account, "2", first, ended) if first <= ended else []
    found = history + list((Counter(present) - Counter(history)).elements())
    return [(one, effect_fen) for one, effect_fen in found if one.booked_at > since - SKEW]


async def _listed(
    bank: BankClient, sub_account: SubAccount, flag: Literal["1", "2"], begin: date | None, end: date | None
) -> list[tuple[Lost, int]]:
    found: list[tuple[Lost, int]] = []
    question = SubAccountTransactions(
        FunctionFlag=flag, SubAcctNo=sub_account, QueryFlag="1", StartDate=begin, EndDate=end
    )
    async for row in rows(bank, question):
        found.append(_transaction(row))
    ways: tuple[Literal["2", "3"], ...] = ("2", "3")
    for way in ways:
        movements = CashMovements(FunctionFlag=flag, SubAcctNo=sub_account, QueryFlag=way, BeginDate=begin, EndDate=end)
        async for movement in rows(bank, movements):
            found.append(_movement(movement))
    return found


def _transaction(row: SubAccountTransactionsRow) -> tuple[Lost, int]:
    kind, out, into = KINDS.get(row.BookingType, (f"booking type {row.BookingType}", 0, 0))
    effect = out if row.BookingFlag == "1" else into
    lost = Lost(
        bank_serial=BankSerial(row.FrontSeqNo),
        booked_at=_booked_at(row.TranDate, row.TranTime),
        kind=kind,
        amount_fen=row.TranAmt,
        payer=SubAccount(row.OutSubAcctNo or ""),
        payee=SubAccount(row.InSubAcctNo or ""),
        remark=row.Remark or "",
    )
    return lost, effect * row.TranAmt


def _movement(row: CashMovementsRow) -> tuple[Lost, int]:
    kind = WITHDRAWAL if row.BookingFlag == "01" else REVOCATION if REVOKED in (row.BookingMsg or "") else TOP_UP
    net_fen = row.TranAmt if kind is WITHDRAWAL else row.TranAmt - (row.Commission or 0)
    lost = Lost(
        bank_serial=BankSerial(row.FrontSeqNo),
        booked_at=_booked_at(row.TranDate, row.TranTime),
        kind=kind,
        amount_fen=row.TranAmt,
        payer=SubAccount("" if kind is TOP_UP else row.SubAcctNo),
        payee=SubAccount(row.SubAcctNo if kind is TOP_UP else ""),
        remark=row.Remark or "",
    )
    return lost, net_fen if kind is TOP_UP else -net_fen


def _booked_at(day_text: str, time_text: str) -> datetime:
    """When the bank booked; now, for what is no time, so that the row is looked at."""
    try:
        return datetime.strptime(f"{day_text}{time_text}", "%Y%m%d%H%M%S").replace(tzinfo=BANK_ZONE)
    except ValueError:
        return wall_clock().astimezone(BANK_ZONE)
