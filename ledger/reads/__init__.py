"""What can be asked of the mirror. Reads never lock and never cache: an answer is the last commit's.

Amounts are fen. ``available`` is withdrawable plus waiting, holds taken off; frozen and escrow are sums over order
pockets. There is a module for each reader; what they share is in `queries`. `Reads` has them all.
"""

from __future__ import annotations

from ledger.reads.answers import Answers
from ledger.reads.books import Books
from ledger.reads.cards import Cards
from ledger.reads.clearing import Clearing, SpenderAfterClearing, WaitingDay
from ledger.reads.members import Members
from ledger.reads.overview import Difference, InDoubt, Overview, Overviews
from ledger.reads.payments import Order, OrderMoney, Payment, Payments
from ledger.reads.queue import Leased, Queue
from ledger.reads.recovery import CATCH_UP, Recovery
from ledger.reads.timeline import Held, Moment, MomentKind, Timelines
from ledger.reads.work import Patience, Suspended, Work, WorkKind, WorkNote, WorkQueue, WorkSum, WorkWanted

__all__ = [
    "CATCH_UP",
    "Cards",
    "Difference",
    "Held",
    "InDoubt",
    "Leased",
    "Moment",
    "MomentKind",
    "Order",
    "OrderMoney",
    "Overview",
    "Patience",
    "Payment",
    "Reads",
    "SpenderAfterClearing",
    "Suspended",
    "WaitingDay",
    "Work",
    "WorkKind",
    "WorkNote",
    "WorkSum",
    "WorkWanted",
]


class Reads(Members, Payments, Clearing, Queue, Recovery, Books, Overviews, Answers, Timelines, WorkQueue):
    """One platform's reads: those of operations and balances come with those of payments."""
