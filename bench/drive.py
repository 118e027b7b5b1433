"""Callers in a closed loop, and what they saw."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Seen:
    """Calls per second, and how long they took in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two things driven in turn: what each came to on the whole, and the middle of the ratios of each turn.

    A shared machine is faster at one time than at another; within one turn it is the same for both.
    """

    one: Seen
    other: Seen
    faster: float
    """Calls per second of the one to those of the other."""
    longer: float
    """Median duration of the one to that of the other."""


async def drive(call: Call, callers: int, seconds: float, lead_s: float = 0.0) -> Seen:
    """Let ``callers`` call one after the other; what ends within ``seconds`` after the first ``lead_s`` is counted."""
    # What was made beforehand is no work of this run's collections.
    gc.collect()
    gc.freeze()
    took_s: list[float] = []
    counts_s = time.perf_counter() + lead_s
    ends_s = counts_s + seconds

    async def caller() -> None:
        while (began_s := time.perf_counter()) < ends_s:
            await call()
            ended_s = time.perf_counter()
            if counts_s <= ended_s < ends_s:
                took_s.append(ended_s - began_s)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(caller())
    return _seen(took_s, seconds)


async def in_turn(
    one: Callable[[], Call], other: Callable[[], Call], callers: int, *, seconds: float, turns: int
) -> Pair:
    """Drive the one and the other, ``turns`` times each; both are made anew for each turn."""
    found = [(await drive(one(), callers, seconds), await drive(other(), callers, seconds)) for _ in range(turns)]
    return pair(found)


def pair(found: Sequence[tuple[Seen, Seen]]) -> Pair:
    """What turns come to."""
    return Pair(
        _mean([one for one, _ in found]),
        _mean([other for _, other in found]),
        statistics.median(one.per_second / other.per_second for one, other in found),
        statistics.median(one.p50_ms / other.p50_ms for one, other in found),
    )


def _seen(took_s: Sequence[float], elapsed_s: float) -> Seen:
    if not took_s:
        raise RuntimeError(f"no call ended within {elapsed_s} s")
    ordered = sorted(took_s)
    at = [ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 for share in (0.5, 0.99)]
    return Seen(len(ordered) / elapsed_s, at[0], at[1])


def _mean(found: Sequence[Seen]) -> Seen:
    return Seen(
        statistics.fmean(seen.per_second for seen in found),
        statistics.fmean(seen.p50_ms for seen in found),
        statistics.fmean(seen.p99_ms for seen in found),
    )
