"""Whoever sends what cannot be right, again and again, waits longer for each refusal.

A refusal costs the service a millisecond in which it serves nobody else; two hundred callers that send nonsense as fast
as they are answered would take all of them. So each has some refusals at once, and after them one a second.
The wait costs nothing: the call is answered late, and whoever calls in turn does not send the next one meanwhile.
"""

from __future__ import annotations

import time
from typing import Final

WAIT_MAX_S: Final = 5.0

KEPT_MAX: Final = 10_000
"""Callers that are remembered; of more, those that wait for nothing are forgotten."""


class Slowing:
    """Of one process. The clock is monotonic, in seconds."""

    def __init__(self, at_once: int, per_s: float) -> None:
        self._free_s = at_once / per_s
        self._each_s = 1 / per_s
        self._paid_until_s: dict[str, float] = {}

    def wait_s(self, who: str, now_s: float | None = None) -> float:
        """How long the next refusal of this caller is to wait."""
        now_s = time.monotonic() if now_s is None else now_s
        paid_until_s = max(self._paid_until_s.get(who, now_s), now_s) + self._each_s
        if len(self._paid_until_s) >= KEPT_MAX:
            self._paid_until_s = {one: until_s for one, until_s in self._paid_until_s.items() if until_s > now_s}
        # No debt is remembered that could not be waited for: a caller that was mended is served as before soon.
        self._paid_until_s[who] = min(paid_until_s, now_s + self._free_s + WAIT_MAX_S)
        return max(0.0, self._paid_until_s[who] - now_s - self._free_s)
