"""What names a place where money can lie: below the books, which move it, and the errors that name it."""

from __future__ import annotations

from typing import NamedTuple


class AccountRef(NamedTuple):
    """Where money can lie. `owner` is a sub-account or a suffix, `key` a bank day or an order."""

    kind: str
    owner: str
    key: str
