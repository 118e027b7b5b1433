"""Serials under which the bank is called (CnsmrSeqNo, transport.md 4). None is ever used twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bankclient import consumer_serial
from ledger import SerialNumbers
from ledger.names import Serial
from service.bankday import bank_today

SerialSource = Callable[[], Awaitable[Serial]]
"""`new_serial` of one platform."""


async def new_serial(uid: str, numbers: SerialNumbers) -> Serial:
    """A serial of today, from a number that nobody has had. Raises `LedgerUnavailable`."""
    return Serial(consumer_serial(uid, bank_today(), await numbers.next() % 10**10))
