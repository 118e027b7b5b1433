"""Amounts: int fen inside, decimal yuan text on the wire (transport.md 5.5, notes.md section 3).

Promises that the two functions are exact and undo each other, and that nothing inexact gets
through: no float, no exponent, no part of a fen, nothing outside a signed 64-bit integer. It must
never round.
"""

import re
from typing import Final

from bankclient.errors import MessageInvalid

FEN_MAX: Final = 2**63 - 1
FEN_MIN: Final = -(2**63)

STATED_FEN_MAX: Final = 10**15
"""The most, of either sign, that is believed of the bank: what one movement in the books may be."""

_YUAN_TEXT: Final = re.compile(r"(-?)([0-9]{1,20})(?:\.([0-9]{1,20}))?", re.ASCII)


def yuan(fen: int) -> str:
    """Write an amount in fen as the bank's text in yuan, with two decimals: 1234 is "12.34"."""
    if type(fen) is not int:
        raise MessageInvalid("an amount is an int in fen")
    if not FEN_MIN <= fen <= FEN_MAX:
        raise MessageInvalid("the amount is outside a 64-bit integer")
    whole, rest = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{whole}.{rest:02d}"


def fen(text: str) -> int:
    """Read the bank's text in yuan ("33.0", "7200", "-5.00") as an exact amount in fen."""
    found = _YUAN_TEXT.fullmatch(text)
    if found is None:
        raise MessageInvalid("the amount is not a plain decimal number in yuan")
    sign, whole, decimals = found.groups("")
    if decimals[2:].strip("0"):
        raise MessageInvalid("the amount has a part smaller than one fen")
    # By digits: Decimal rounds to the 28 of its context.
    amount = int(f"{sign}{whole}{decimals[:2]:0<2}")
    if not FEN_MIN <= amount <= FEN_MAX:
        raise MessageInvalid("the amount is outside a 64-bit integer")
    return amount
