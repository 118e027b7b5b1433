"""The bank's words for people, without what is personal in them. Pure.

A reason may name the card, the phone or the holder that it is about. What is given on, stored or shown has neither; the
whole text is in the signed answer alone (`bankclient.evidence`), which is kept encrypted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import AfterValidator

HIDDEN: Final = "***"

TEXT_MIN: Final = 2
"""A shorter name is a character that half of all texts have."""

_NUMBER: Final = re.compile(r"\d(?:[ -]?\d){5,}[Xx]?")
"""Six digits and more, in groups or not: cards, phones, identity numbers, codes."""


def masked(text: str, personal: Iterable[str] = ()) -> str:
    """The text without long numbers, and without these values."""
    for value in sorted({one for one in personal if len(one) >= TEXT_MIN}, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _NUMBER.sub(HIDDEN, text)


Reason = Annotated[str, AfterValidator(masked)]
"""A reason in a reply, as it may be stored."""
