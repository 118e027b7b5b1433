"""Admission of money calls: each has a permit from before its plan is made until it is settled.

What is refused here has reserved nothing. A permit counts from the moment it is given, so no more calls are admitted
than the limit says; it belongs to the call's task, not to its caller. Every decision is made at once: nobody queues for
a permit, and no lock is held over an await.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import TracebackType
from typing import Any, Self

from service import problems
from service.settings import BreakerSettings

TRIAL_RETRY_S = 1.0
"""What callers are told to wait while a call on trial is under way."""


class BreakerState(IntEnum):
    """How an interface stands, as the metric has it."""

    CLOSED = 0
    ON_TRIAL = 1
    OPEN = 2


class Breaker:
    """One interface's: opens after some calls in a row without an answer, then lets one through at a time on trial.

    Pure, the time is an argument. Of pybreaker, aiobreaker and purgatory none fits: they wrap a call and count its
    exceptions, whereas here the decision comes before the reservation and the verdict is a value that comes much later.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._unanswered = 0
        self._open_until_s: float | None = None
        self._is_on_trial = False

    @property
    def state(self) -> BreakerState:
        """How it stands; open until a trial begins, however late that is."""
        if self._open_until_s is None:
            return BreakerState.CLOSED
        return BreakerState.ON_TRIAL if self._is_on_trial else BreakerState.OPEN

    def wait_s(self, now_s: float) -> float:
        """For how long calls are refused; 0 when one may begin."""
        if self._open_until_s is None:
            return 0.0
        return TRIAL_RETRY_S if self._is_on_trial else max(0.0, self._open_until_s - now_s)

    def begin(self) -> bool:
        """A call begins; returns whether it is the one on trial."""
        self._is_on_trial = self._open_until_s is not None
        return self._is_on_trial

    def end(self, *, on_trial: bool, answered: bool | None, now_s: float) -> None:
        """A call has ended. ``answered`` is None for one that says nothing about the bank, such as one never sent."""
        if answered:
            # Whoever has it: the interface answers.
            self._unanswered, self._open_until_s, self._is_on_trial = 0, None, False
            return
        if on_trial:
            self._is_on_trial = False
        if answered is None or (self._open_until_s is not None and not on_trial):
            return
        self._unanswered += 1
        if self._settings.failures is not None and self._unanswered >= self._settings.failures:
            self._open_until_s = now_s + self._settings.open_s


class ConcurrencyLimit:
    """How many may be in use at once, and how many are."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.in_use = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_reached(self) -> bool:
        """Whether all are in use."""
        return self.in_use >= self.maximum

    def acquire(self) -> None:
        """Count one more; whoever calls has looked at `is_reached`."""
        self.in_use += 1
        self._idle.clear()

    def release(self) -> None:
        """Count one less."""
        self.in_use -= 1
        if self.in_use == 0:
            self._idle.set()

    async def wait_idle(self, within_s: float) -> bool:
        """Wait until none is in use; False when that takes longer."""
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


class Permit:
    """One call's, for the life of the block, or of the task that it is handed to."""

    __slots__ = ("_admission", "_interface", "_is_handed_over", "_on_trial", "answered")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._interface = ""
        self._on_trial = False
        self._is_handed_over = False
        self.answered: bool | None = None
        """What the call has shown of its interface; see `service.questions.query.has_answered`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_handed_over:
            self._release()

    def use_for(self, interface: str) -> None:
        """The plan is made, and this is the interface it calls. Raises `Problem` when that takes no more calls."""
        self._on_trial = self._admission._acquire_interface(interface)
        self._interface = interface

    def hand_over(self, task: asyncio.Task[Any]) -> None:
        """The permit is the task's from now on, however that ends."""
        self._is_handed_over = True
        task.add_done_callback(self._release)

    def _release(self, _: asyncio.Task[Any] | None = None) -> None:
        self._admission._release(self._interface, on_trial=self._on_trial, answered=self.answered)


class Admission:
    """One instance a process: a bound on all calls, one on an interface's where it is set, and the breakers."""

    def __init__(
        self,
        limit: int,
        interface_limits: Mapping[str, int],
        breaker: BreakerSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.calls = ConcurrencyLimit(limit)
        self.calling: Counter[str] = Counter()
        """Calls under way by interface."""
        self.is_closed = False
        self._interface_limits = interface_limits
        self._breaker_settings = breaker
        self._breakers: dict[str, Breaker] = {}
        self._clock = clock

    def admit(self) -> Permit:
        """A permit for one call, to be entered as a context. Raises `Problem` when there is none."""
        if self.is_closed:
            raise problems.stopping()
        if self.calls.is_reached:
            raise problems.overloaded(f"{self.calls.maximum} calls are under way already")
        self.calls.acquire()
        return Permit(self)

    def close(self) -> None:
        """Admit no more calls; those under way go on."""
        self.is_closed = True

    def states(self) -> dict[str, BreakerState]:
        """How the breaker of each interface stands that has been called. May be called from any thread."""
        return {interface: breaker.state for interface, breaker in list(self._breakers.items())}

    def _acquire_interface(self, interface: str) -> bool:
        limit = self._interface_limits.get(interface)
        if limit is not None and self.calling[interface] >= limit:
            raise problems.overloaded(f"{limit} calls of {interface} are under way already", interface=interface)
        breaker = self._breakers.setdefault(interface, Breaker(self._breaker_settings))
        wait_s = breaker.wait_s(self._clock())
        if wait_s > 0:
            raise problems.interface_suspended(interface, wait_s)
        self.calling[interface] += 1
        return breaker.begin()

    def _release(self, interface: str, *, on_trial: bool, answered: bool | None) -> None:
        self.calls.release()
        if interface:
            self.calling[interface] -= 1
            self._breakers[interface].end(on_trial=on_trial, answered=answered, now_s=self._clock())
