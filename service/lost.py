"""What the bank has booked on a member since some moment, and the books do not know (6072, 6073)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

from bankclient import BANK_ZONE, CashMovements, CashMovementsRow, SubAccountTransactions, SubAccountTransactionsRow
from ledger import Member
from service.bankday import bank_today
from service.rpc.asking import rows
from service.rpc.desk import Desk

TOP_UP, WITHDRAWAL = "top-up", "withdrawal"
KINDS: Final[Mapping[str, tuple[str, int, int]]] = {
    "1": ("payment", -1, 1),
    "2": ("freeze", -1, 0),
    "3": ("release", 0, 1),
    "4": ("suspense clearing", -1, 1),
    "6": ("pre-payment", -1, 0),
    "7": ("payment out of escrow or frozen money", 0, 1),
    "8": ("pre-payment returned", 1, 0),
    "9": ("payment to the platform", -1, 1),
    "22": ("booking moved", -1, 1),
    "23": ("freeze", -1, 0),
    "24": ("release", 0, 1),
    "25": ("refund", -1, 1),
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

    bank_serial: str
    booked_at: datetime
    kind: str
    amount_fen: int
    payer: str
    payee: str
    remark: str

    @property
    def bank_day(self) -> date:
        """The bank's day of the booking."""
        return self.booked_at.astimezone(BANK_ZONE).date()


async def lost_of(desk: Desk, member: Member, since: datetime) -> list[tuple[Lost, int]]:
    """What was booked on a member since and is unknown here, and what it did to the available money."""
    found: list[tuple[Lost, int]] = []
    first, today = since.astimezone(BANK_ZONE).date(), bank_today()
    spans: list[tuple[Literal["1", "2"], date | None, date | None]] = [("1", None, None)]
    if first < today:
        spans.insert(0, ("2", first, today - timedelta(days=1)))
    for flag, begin, end in spans:
        question = SubAccountTransactions(
            FunctionFlag=flag, SubAcctNo=member.sub_account, QueryFlag="1", StartDate=begin, EndDate=end
        )
        async for row in rows(desk.bank, question, "TranItemArray"):
            found.append(_transaction(row))
        for way in ("2", "3"):
            movements = CashMovements(
                FunctionFlag=flag,
                SubAcctNo=member.sub_account,
                QueryFlag="2" if way == "2" else "3",
                BeginDate=begin,
                EndDate=end,
            )
            async for movement in rows(desk.bank, movements, "TranItemArray"):
                found.append(_movement(movement))
    recent = [(one, effect_fen) for one, effect_fen in found if one.booked_at > since - SKEW]
    known = await desk.reads.known_bank_serials(member.member_id, {one.bank_serial for one, _ in recent})
    return [(one, effect_fen) for one, effect_fen in recent if one.bank_serial not in known]


def _transaction(row: SubAccountTransactionsRow) -> tuple[Lost, int]:
    kind, out, into = KINDS.get(row.BookingType, (f"booking type {row.BookingType}", 0, 0))
    effect = out if row.BookingFlag == "1" else into
    lost = Lost(
        bank_serial=row.FrontSeqNo,
        booked_at=_booked_at(row.TranDate, row.TranTime),
        kind=kind,
        amount_fen=row.TranAmt,
        payer=row.OutSubAcctNo or "",
        payee=row.InSubAcctNo or "",
        remark=row.Remark or "",
    )
    return lost, effect * row.TranAmt


def _movement(row: CashMovementsRow) -> tuple[Lost, int]:
    is_withdrawal = row.BookingFlag == "01"
    lost = Lost(
        bank_serial=row.FrontSeqNo,
        booked_at=_booked_at(row.TranDate, row.TranTime),
        kind=WITHDRAWAL if is_withdrawal else TOP_UP,
        amount_fen=row.TranAmt,
        payer=row.SubAcctNo if is_withdrawal else "",
        payee="" if is_withdrawal else row.SubAcctNo,
        remark=row.Remark or "",
    )
    return lost, -row.TranAmt if is_withdrawal else row.TranAmt - (row.Commission or 0)


def _booked_at(day_text: str, time_text: str) -> datetime:
    """When the bank booked; now, for what is no time, so that the row is looked at."""
    try:
        return datetime.strptime(f"{day_text}{time_text}", "%Y%m%d%H%M%S").replace(tzinfo=BANK_ZONE)
    except ValueError:
        return datetime.now(BANK_ZONE)
