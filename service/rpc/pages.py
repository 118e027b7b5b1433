"""Pages of a list: their size, and the token of the next one (AIP-158)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from uuid import UUID

from google.protobuf.message import Message

from jzb.v1.names import ErrorReason
from service import problems

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200

ROW_DIGITS_MAX = 9
"""No list has more rows than a number of so many digits says."""


def page_size(asked: int) -> int:
    """How many rows a page gets (AIP-158)."""
    return min(asked, PAGE_SIZE_MAX) if asked > 0 else PAGE_SIZE_DEFAULT


def page_token(last: str, request: Message | None = None) -> str:
    """The token of the page behind ``last``, good for this list with the request's filters; without one a cursor, good
    for any filters.
    """
    return base64.urlsafe_b64encode(_filters(request) + last.encode()).decode().rstrip("=")


def page_start(token: str, request: Message | None = None, field: str = "page_token") -> str:
    """What `page_token` was made from; empty for the first page. Raises `Problem`."""
    if not token:
        return ""
    filters = _filters(request)
    try:
        found = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if not found.startswith(filters):
            raise problems.invalid(field, "belongs to other filters", ErrorReason.PAGE_TOKEN_INVALID)
        start = found.removeprefix(filters).decode("utf-8")
    except (UnicodeError, binascii.Error, ValueError):
        raise problems.invalid(field, "is not a token of this service", ErrorReason.PAGE_TOKEN_INVALID) from None
    # PostgreSQL takes no NUL, and nothing that a page begins behind has a control character.
    if not start.isprintable():
        raise problems.invalid(field, "is not a token of this service", ErrorReason.PAGE_TOKEN_INVALID)
    return start


def start_id(start: str) -> UUID | None:
    """The id behind which a page begins, of what `page_start` found; None for the first page. Raises `Problem`."""
    try:
        return UUID(start) if start else None
    except ValueError:
        raise no_token() from None


def start_row(start: str) -> int:
    """How many rows are before a page, of what `page_start` found. Raises `Problem`."""
    if start and not (start.isascii() and start.isdigit() and len(start) <= ROW_DIGITS_MAX):
        raise no_token()
    return int(start or 0)


def no_token() -> problems.Problem:
    """The error for a page token that was made for another list, or by somebody else."""
    return problems.invalid("page_token", "is not a token of this list", ErrorReason.PAGE_TOKEN_INVALID)


def _filters(request: Message | None) -> bytes:
    if request is None:
        return b""
    content = type(request)()
    content.CopyFrom(request)
    for name in ("page_size", "page_token"):
        content.ClearField(name)
    listed = content.DESCRIPTOR.full_name.encode() + content.SerializeToString(deterministic=True)
    return hashlib.sha256(listed).digest()[:6]
