"""Columns of a batch as PostgreSQL array literals.

A batch sends one array a column. Written as text here they cost a fraction of the driver's own conversion, which looks
at every element's type; the statements cast them (``%s::text[]``).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from uuid import UUID

NONE = str(None)


def texts(values: Iterable[str | None]) -> str:
    """Texts, each quoted; None is NULL.

    What PostgreSQL cannot keep (NUL, half of a UTF-16 pair) becomes a question mark: a text of the bank must never stop
    the settlement it came with.
    """
    found = list(values)
    if None not in found:
        joined = '","'.join(found)  # type: ignore[arg-type]  # no None is left
        is_plain = joined.isascii() and "\\" not in joined and "\0" not in joined
        if is_plain and found and joined.count('"') == 2 * (len(found) - 1):
            return '{"' + joined + '"}'
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in found]) + "}"


def numbers(values: Iterable[int | None]) -> str:
    """Integers; None is NULL."""
    return "{" + ",".join(map(str, values)).replace(NONE, "NULL") + "}"


def ids(values: Iterable[UUID]) -> str:
    """Ids."""
    return "{" + ",".join([f"{value.int:032x}" for value in values]) + "}"


def days(values: Iterable[date | None]) -> str:
    """Days; None is NULL."""
    return "{" + ",".join(map(str, values)).replace(NONE, "NULL") + "}"


def digests(values: Iterable[bytes]) -> str:
    """Bytes, in hex."""
    return hexes(value.hex() for value in values)


def hexes(values: Iterable[str]) -> str:
    """Bytes that are in hex already."""
    return "{" + ",".join([f'"\\\\x{value}"' for value in values]) + "}"


def seconds(values: Iterable[float]) -> str:
    """Durations as intervals."""
    return "{" + ",".join([f'"{value:.6f} seconds"' for value in values]) + "}"


def _quoted(value: str) -> str:
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    if "\0" in value:
        value = value.replace("\0", "?")
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
