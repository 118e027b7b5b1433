"""How an account of the sandbox is named: below the books, which move its money, and the errors that name it."""

from __future__ import annotations

from typing import NamedTuple


class AccountRef(NamedTuple):
    """An account that money can lie in. `owner` is a sub-account or a suffix, `key` a bank day or an order."""

    kind: str
    owner: str
    key: str
