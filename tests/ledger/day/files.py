"""Lines of the bank's files, as its samples have them (transport.md 5.5)."""

from __future__ import annotations

from datetime import date

from tests.ledger.bookkeeping import ANN, BOB, DAY

NOON = "120000"


def yuan(fen: int) -> str:
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def front(serial: str) -> str:
    """The bank's serial of a line, where a test does not care."""
    return f"F{serial}"


def jy(
    serial: str,
    fen: int = 1000,
    fee_fen: int = 0,
    *,
    number: int = 1,
    payer: str = "ann",
    payee: str = "bob",
    day: date = DAY,
    time: str = NOON,
    bank_serial: str | None = None,
) -> str:
    """A payment of the file JY."""
    fields = (
        *(str(number), "直接支付", payer, ANN, "甲", payee, BOB, "乙", yuan(fen), yuan(fee_fen), f"{day:%Y%m%d}", time),
        *(front(serial) if bank_serial is None else bank_serial, serial, "备注", "O1"),
    )
    return "".join(f"{field}&" for field in fields)


def cash(
    serial: str, fen: int, fee_fen: int = 0, *, member: str = "ann", number: int = 1, day: date = DAY, time: str = NOON
) -> str:
    """A line of CZ or TX."""
    fields = (
        *(str(number), member, ANN, "甲", yuan(fen), yuan(fee_fen), f"{day:%Y%m%d}", time, front(serial), serial),
        *("", "提现", "O1"),
    )
    return "".join(f"{field}&" for field in fields)


def ye(sub_account: str, fen: int, *, member: str = "ann", number: int = 1) -> str:
    """A balance of the file YE."""
    return f"{number}&{member}&{sub_account}&{yuan(fen)}&&"
