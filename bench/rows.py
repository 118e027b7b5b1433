"""The rows of the table: what is promised, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.drive import Pair, Seen

Unit = Literal["x", "MiB", "s", "ms", ""]


@dataclass(frozen=True, slots=True)
class Row:
    """One promise. ``value`` is measured; it holds when it is at least, or at most, ``limit``.

    ``detail`` has the figures behind it, by name.
    """

    name: str
    what: str
    value: float
    sign: Literal[">=", "<="]
    limit: float
    unit: Unit = "x"
    detail: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.limit if self.sign == ">=" else self.value <= self.limit


@dataclass(slots=True)
class Measured:
    """Everything one run has seen: the rows, and the points of the plots by their curve."""

    rows: list[Row] = field(default_factory=list)
    throughput: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Curves of (callers, transfers per second)."""
    latency: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Curves of (callers, milliseconds)."""
    growth: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Curves of (million legs stored, transfers per second)."""
    profile: dict[str, float] = field(default_factory=dict)
    """Where one payment's CPU time goes in service and PostgreSQL, in percent."""


def faster(name: str, what: str, limit: float, sides: tuple[str, str], found: Pair) -> Row:
    """A row that wants the one side to make at least ``limit`` times as many calls a second as the other."""
    return Row(name, what, found.faster, ">=", limit, detail=both(*sides, found))


def longer(name: str, what: str, limit: float, sides: tuple[str, str], found: Pair) -> Row:
    """A row that wants a call of the one side to take at most ``limit`` times as long as one of the other."""
    return Row(name, what, found.longer, "<=", limit, detail=both(*sides, found))


def figures(name: str, seen: Seen) -> dict[str, float]:
    """The figures of one side of a row."""
    return {f"{name}_per_s": seen.per_second, f"{name}_p50_ms": seen.p50_ms, f"{name}_p99_ms": seen.p99_ms}


def both(one: str, other: str, found: Pair) -> dict[str, float]:
    """The figures of both sides of a row."""
    return figures(one, found.one) | figures(other, found.other)
