"""Pages of a reply: 20 rows each, oldest first (catalogue, e.g. 6010).

The two counts carry the meanings of their labels, which is a choice: ResultNum the rows of this
reply, TotalNum the rows in all (notes.md 9.21).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sandbox import codes
from sandbox.errors import Refused

ROWS_A_PAGE: Final = 20

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """The rows of one page and the fields every paged reply has."""

    rows: Sequence[T]
    fields: dict[str, str]


def page_of(rows: Sequence[T], number: int) -> Page[T]:
    """The page of that number, from 1. No rows at all is ERR020, a page behind the last E80011."""
    if not rows:
        raise Refused(codes.NO_RECORD)
    start = (number - 1) * ROWS_A_PAGE
    if start >= len(rows):
        raise Refused(codes.PAGE_OUT_OF_RANGE)
    chosen = rows[start : start + ROWS_A_PAGE]
    return Page(
        chosen,
        {
            "ResultNum": str(len(chosen)),
            "StartRecordNo": str(start + 1),
            "EndFlag": "1" if start + len(chosen) == len(rows) else "0",
            "TotalNum": str(len(rows)),
        },
    )
