"""What the bank says of a day, as data: the columns of each file and list, and which postings it is to show.

The columns are those of the bank's files (bankclient/files/layouts.py has them with how they are read); names and
remarks are left out of the tables, since they may be a person's. Which kinds of operation a file shows follows from the
interfaces it lists: quick start 2.3, notes.md 6, catalogue 6072 and 6073.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from ledger.day.values import FileType

OUTSIDE: Final = "outside"
"""The booking text by which a list says that nothing in the books is behind a line: a charge of the bank (6109), which
it takes from an account outside; the channels' principal of a clearing (6050), which 6108 has already.
"""

LIST_COLUMNS: Final = (
    *("number", "member", "sub_account", "amount", "fee", "day", "time", "bank_serial", "serial", "booking"),
    "order_no",
)
"""The columns of a list, as they are written for it. ``number`` counts from 1; amounts in yuan with two decimals;
``day`` is YYYYMMDD, ``time`` HHMMSS, 000000 where the bank says none. A line of 6108 has the day it clears (YYYYMMDD)
for a serial, and no sign to its amount.
"""

_JY: Final = (
    *("number", "booking", "payer", "payer_sub_account", "", "payee", "payee_sub_account", "", "amount", "fee"),
    *("day", "time", "bank_serial", "serial", "", "order_no"),
)
_CASH_TAIL: Final = ("amount", "fee", "day", "time", "bank_serial", "serial", "", "booking", "order_no")
_CASH: Final = ("number", "member", "sub_account", "", *_CASH_TAIL)
_CASH_WITHOUT_NAME: Final = ("number", "member", "sub_account", *_CASH_TAIL)
_YE: Final = ("number", "member", "sub_account", "amount", "")


@dataclass(frozen=True, slots=True)
class Source:
    """One file or list. ``layouts`` name its columns by their place, empty where a column is not kept; ``kinds`` are
    the operations whose postings it has to show, ``also`` those that it may show beside another.
    """

    layouts: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...]
    also: tuple[str, ...] = ()

    def layout(self, columns: int) -> tuple[str, ...]:
        """The layout of so many columns."""
        return next(one for one in self.layouts if len(one) == columns)


SOURCES: Final[Mapping[FileType, Source]] = {
    # 6129, 6216, 6130, 6217, and what an acquiring product has collected (6147, or by itself).
    FileType.TOP_UPS: Source(
        (_CASH, _CASH_WITHOUT_NAME),
        ("TOP_UP", "SPLIT_TOP_UP", "REVOKE_TOP_UP", "REVOKE_SPLIT_TOP_UP", "RECORD_ORDER"),
    ),
    # 6033, 6085, 6111.
    FileType.WITHDRAWALS: Source((_CASH, _CASH_WITHOUT_NAME), ("WITHDRAW",)),
    # All between sub-accounts: 6034 and 6031 with their kin, 6007 (freezes and releases are in it), 6163, 6164, 6139,
    # 6140, 6145.
    FileType.TRANSACTIONS: Source(
        (_JY,),
        (
            *("PAY_T1", "PAY_T0", "PREPAY_ORDER", "CONFIRM_ORDER", "CANCEL_ORDER", "SETTLE_CONFIRM", "SETTLE_CANCEL"),
            *("BATCH_PREPAY", "BATCH_CONFIRM", "BATCH_PAY", "FREEZE", "RELEASE", "PAY_FROZEN", "REFUND"),
            # As the journal has them: AllocateSuspense and ReverseSuspenseAllocation had other names once.
            *("CLEAR_SUSPENSE", "UNDO_CLEAR_SUSPENSE", "REBOOK_ORDER"),
        ),
    ),
    # Compared with the journal's balances, not with postings.
    FileType.BALANCES: Source((_YE,), ()),
    # A return is in both lists; it is entered by whichever had it first.
    FileType.TRANSFERS_IN: Source((LIST_COLUMNS,), ("TRANSFER_IN",), ("WITHDRAWAL_RETURN",)),
    FileType.RETURNS: Source((LIST_COLUMNS,), ("WITHDRAWAL_RETURN",), ("TRANSFER_IN",)),
    FileType.CLEARINGS: Source((LIST_COLUMNS,), ("CLEARING",)),
    # The bank takes its charges from an account outside of the books.
    FileType.CHARGES: Source((LIST_COLUMNS,), ()),
}

KINDS: Final[Mapping[str, FileType]] = {kind: type_ for type_, source in SOURCES.items() for kind in source.kinds}
"""Which file or list shows a kind of operation."""

UNSEEN_KINDS: Final = frozenset({"ADOPTION", "CATCH_UP", "ADJUSTMENT"})
"""Kinds that post and that the bank lists nowhere: they are entries of our own."""

AMOUNT_ASKED: Final = ("REBOOK_ORDER",)
"""The bank lists these with the amount that was asked for (6145 Amt is the whole share, its fee included, though the
fee may have been taken before); of all others the amount of the posting.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLine:
    """A row of a list, in the terms of `LIST_COLUMNS`."""

    member: str = ""
    sub_account: str = ""
    amount_fen: int
    fee_fen: int = 0
    day: date
    time: str = "000000"
    bank_serial: str = ""
    serial: str = ""
    booking: str = ""
    order_no: str = ""


def written(lines: Iterable[ListLine]) -> Iterable[bytes]:
    """The content of a list's file, a line each. No field may hold an `&` or the end of a line: those are left out."""
    for number, one in enumerate(lines, start=1):
        fields = (
            *(str(number), one.member, one.sub_account, _yuan(one.amount_fen), _yuan(one.fee_fen)),
            *(f"{one.day:%Y%m%d}", one.time, one.bank_serial, one.serial, one.booking, one.order_no),
        )
        text = "".join(field.translate(_NOT_IN_FIELDS) + "&" for field in fields)
        yield f"{text}\n".encode("gb18030", "replace")


_NOT_IN_FIELDS: Final = {ord(character): None for character in "&\r\n"}


def _yuan(fen: int) -> str:
    whole, rest = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{whole}.{rest:02d}"
