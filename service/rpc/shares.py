"""How many of the long calls one caller may have open: so that nobody takes the room of all others."""

from __future__ import annotations

from typing import Final

from service import problems
from service.path.admission import ConcurrencyLimit

KEPT_MAX: Final = 10_000
"""Callers that are remembered; of more, those that have nothing open are forgotten."""


class Shares:
    """So many ``what`` at once of each caller, in one process."""

    def __init__(self, what: str, maximum: int) -> None:
        self._what = what
        self._maximum = maximum
        self._of: dict[str, ConcurrencyLimit] = {}

    def of(self, who: str) -> ConcurrencyLimit:
        """What counts this caller's, with room for one more. Raises `Problem`."""
        limit = self._of.get(who)
        if limit is None:
            if len(self._of) >= KEPT_MAX:
                self._of = {one: kept for one, kept in self._of.items() if kept.in_use}
            limit = self._of[who] = ConcurrencyLimit(self._maximum)
        if limit.is_reached:
            raise problems.overloaded(f"{self._maximum} {self._what} of this caller are open already")
        return limit
