"""The changes of a platform's operations in the order of their commits, each with its operation as a whole.

One statement reads a page, so that an operation and its parts are of one moment: that of the event, or a later one.
Writers take turns on a platform and number events within their turn, so no event is committed with a number below one
that was there to be read: whoever goes on from the last number misses none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from ledger.journal import full_operation_from_row
from ledger.lookups import fetched
from ledger.operations import FullOperation, State
from ledger.proofs import DOUBTED, Proofs
from ledger.session import Pool
from ledger.statements import EVENTS, EVENTS_OF_ONE

Name: TypeAlias = tuple[str, str]
"""What an operation is found by, and which it is: its id, a member in it, an order number of it or of a part."""

LAST: Final = 2**63 - 1
"""No event is behind this number."""


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One change of an operation's state, at the time of its commit, and the operation as of then or later.

    ``seq`` grows in commit order on a platform: it is the cursor of a watch. ``references`` are what the operation is
    found by besides its own columns.
    """

    seq: int
    state: State
    at: datetime
    references: frozenset[Name]
    full: FullOperation

    def names(self) -> frozenset[Name]:
        """All that the operation is found by."""
        operation = self.full.operation
        own = {
            ("operation", str(operation.id)),
            ("member", operation.payer),
            ("member", operation.payee),
            ("order", operation.order_no),
        }
        return self.references | own


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events are wanted: those that meet every filter that is not empty.

    A member or an order number is met by the operation or by any of its parts. The states are those that events
    brought; an operation may have gone on since. ``is_shown`` leaves out what its reader may not see.
    """

    operation_id: UUID | None = None
    member_id: str = ""
    order_no: str = ""
    kinds: frozenset[str] = field(default_factory=frozenset)
    states: frozenset[State] = field(default_factory=frozenset)
    is_shown: Callable[[FullOperation], bool] | None = None

    def names(self) -> tuple[Name, ...]:
        """What a wanted operation is found by, beginning with what fewest operations share."""
        named = (
            ("operation", "" if self.operation_id is None else str(self.operation_id)),
            ("order", self.order_no),
            ("member", self.member_id),
        )
        return tuple(name for name in named if name[1])

    def takes(self, event: Event, names: Collection[Name]) -> bool:
        """Whether an event with these names is wanted: in memory what `ledger.statements.EVENTS` decides in SQL."""
        return (
            (not self.states or event.state in self.states)
            and (not self.kinds or event.full.operation.kind in self.kinds)
            and all(name in names for name in self.names())
            and (self.is_shown is None or self.is_shown(event.full))
        )


EVERYTHING: Final = Wanted()


@dataclass(frozen=True, slots=True)
class Page:
    """What was wanted of the events that were looked at. ``end`` is the last of these, wanted or not."""

    events: list[Event]
    end: int
    is_full: bool
    """Whether as many were looked at as may be: there may be more."""


class Events:
    """One platform's events, read on connections of their own. With ``proofs`` what is not as it was sealed is in
    doubt, and so is its event.
    """

    def __init__(self, pool: Pool, platform: str, proofs: Proofs | None = None) -> None:
        self._pool = pool
        self._platform = platform
        self._proofs = proofs

    async def after(self, seq: int, limit: int, wanted: Wanted = EVERYTHING, *, upto: int = LAST) -> Page:
        """Look at the next ``limit`` events behind ``seq``, up to ``upto``. Raises `LedgerUnavailable`."""
        values = {
            "platform": self._platform,
            "after": seq,
            "upto": upto,
            "limit": limit,
            "operation_id": wanted.operation_id,
            "states": [state.value for state in wanted.states],
            "kinds": list(wanted.kinds),
            "order_no": wanted.order_no,
            "member_id": wanted.member_id,
        }
        rows = await fetched(self._pool, EVENTS if wanted.operation_id is None else EVENTS_OF_ONE, values)
        found = [_event(row) for row in rows if row[-2] is not None]
        if self._proofs is not None:
            checked = await self._proofs.checked([event.full for event in found])
            found = [_as_checked(event, full) for event, full in zip(found, checked, strict=True)]
        if wanted.is_shown is not None:
            found = [event for event in found if wanted.is_shown(event.full)]
        return Page(found, rows[-1][0] if rows else seq, len(rows) == limit)


def _event(row: Any) -> Event:
    seq, state, at, references, *full = row
    return Event(
        seq, State(state), at, frozenset((kind, value) for kind, value in references), full_operation_from_row(full)
    )


def _as_checked(event: Event, full: FullOperation) -> Event:
    if full is event.full:
        return event
    is_doubted = full.operation.message == DOUBTED
    return replace(event, full=full, state=full.operation.state if is_doubted else event.state)
