"""Which numbers in a text look like a card, a mobile or an identity number of China, and the text without them.

The contract says that order numbers and request ids are no place for such numbers (protos/jzb/v1/core.proto). A caller
may use one all the same, a mobile as a member code for instance; spans and logs do not show it. One in ten numbers of
15 to 19 digits is taken for a card that is none: it can be shown in neither, and is found in the books. Ids of ours are
UUIDs, and no number: with the hyphens, one in ten thousand would look like a card or a mobile.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "(hidden)"

_LONG_ENOUGH: Final = re.compile(r"\d[\d -]{9}")
"""A quick look first: most texts have nothing of the kind."""

_UUID: Final = r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
_CANDIDATE: Final = re.compile(
    rf"(?P<uuid>{_UUID})|"
    r"(?<!\d)(?:"
    r"\d{17}[Xx]|\d{15,19}"
    r"|(?:(?:00)?86[- ]?)?1[3-9]\d{9}"
    r"|\d{4}(?P<of_card>[- ])\d{4}(?P=of_card)\d{4}(?P=of_card)\d{3,4}(?:(?P=of_card)\d{1,3})?"
    r"|1[3-9]\d(?P<of_mobile>[- ])\d{4}(?P=of_mobile)\d{4}"
    r")(?!\d)"
)
_IDENTITY_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_IDENTITY_CHECKS: Final = "10X98765432"
"""The last character of an identity number, by the weighted sum of the others modulo 11 (GB 11643)."""


def looks_personal(text: str) -> bool:
    """Whether a number in the text looks like a card, a mobile or an identity number."""
    return _LONG_ENOUGH.search(text) is not None and any(map(_is_one, _CANDIDATE.finditer(text)))


def masked(text: str) -> str:
    """The text without its numbers that look so."""
    return _CANDIDATE.sub(lambda found: HIDDEN if _is_one(found) else found[0], text)


def _is_one(found: re.Match[str]) -> bool:
    if found["uuid"]:
        return False
    digits = re.sub("[- ]", "", found[0]).upper()
    return len(digits) < 15 or _is_card(digits) or _is_identity(digits)


def _is_card(digits: str) -> bool:
    """By Luhn's check digit (ISO/IEC 7812-1)."""
    if not digits.isdecimal():
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _is_identity(digits: str) -> bool:
    if len(digits) != 18:
        return False
    weighed = sum(weight * int(digit) for weight, digit in zip(_IDENTITY_WEIGHTS, digits, strict=False))
    return digits[-1] == _IDENTITY_CHECKS[weighed % 11]
