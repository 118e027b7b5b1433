"""How a metric is recorded: its series live here, once, whatever exports them.

A metric bounds its labels by construction: each value comes from the attribute's table, anything else is recorded as
`OTHER`. Recording is on every payment's path, so it is a look-up and an addition, and nothing at all while nothing is
exported. Only the event loop's thread records; exporters read from threads of their own.

OpenTelemetry's SDK and prometheus_client could keep the series too: the first takes 8 µs for each record and each
reader, the second has no tables, and its exemplars alone take 2 µs (docs/decisions/0005-metrics-are-kept-here.md).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NamedTuple

from opentelemetry.trace import Span

from bankclient import wall_clock_ns
from service.telemetry import events

OTHER = "other"
"""What stands for every value that is not in an attribute's table."""

Labels = tuple[str, ...]

Shown = float | Mapping[str, float] | Mapping[Labels, float] | None
"""What a gauge shows: one number, or one by label; None for no series."""

Observed = Callable[[], Shown]
"""Returns what a gauge shows now. Called by an exporter's thread."""

_is_recording = False


def start_recording() -> None:
    """Count from now on; before, recording costs nothing and keeps nothing."""
    global _is_recording
    _is_recording = True


def is_recording() -> bool:
    """Whether anything exports metrics."""
    return _is_recording


class Scope(Enum):
    """Whose number it is, and so how the numbers of several processes become one."""

    PROCESS = "process"
    """Each process counts its own: sum them, or look at each."""
    PLATFORM = "platform"
    """Every process exports the same number, read from the database: take the max."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A label and where its values come from: a table, or the first ``at_most`` that appear in a process."""

    name: str
    source: str
    values: frozenset[str] = frozenset()
    at_most: int = 0

    @property
    def bound(self) -> int:
        """How many values it can have, `OTHER` among them."""
        return len(self.values | {OTHER}) if not self.at_most else self.at_most + 1


class Exemplar(NamedTuple):
    """A measurement whose trace is recorded. The ids are as spans have them."""

    value: float
    trace_id: int
    span_id: int
    at_ns: int


class Buckets:
    """One series of a histogram."""

    __slots__ = ("counts", "exemplars", "sum")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] = [None] * size


class Metric:
    """What all metrics have. ``unit`` is as OpenTelemetry writes it: s, By, fen, or none for a plain number."""

    instrument: ClassVar[str]

    def __init__(
        self, name: str, meaning: str, *attributes: Attribute, unit: str = "", scope: Scope = Scope.PROCESS
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.attributes = attributes
        self.unit = unit
        self.scope = scope
        self._seen: tuple[set[str], ...] = tuple(set() for _ in attributes)

    @property
    def bound(self) -> int:
        """How many label sets it can have."""
        return math.prod(attribute.bound for attribute in self.attributes)

    def _bounded(self, labels: Labels) -> Labels:
        """The labels, with `OTHER` for each value that is not in its table."""
        if len(labels) != len(self.attributes):
            raise TypeError(f"{self.name} has {len(self.attributes)} attributes, and was given {labels}")
        return tuple(value if self._admits(number, value) else OTHER for number, value in enumerate(labels))

    def _admits(self, number: int, value: str) -> bool:
        attribute, seen = self.attributes[number], self._seen[number]
        if not attribute.at_most:
            return value in attribute.values
        if value not in seen and len(seen) < attribute.at_most:
            seen.add(value)
        return value in seen


class Counter(Metric):
    """Counts what happens in this process."""

    instrument = "counter"

    def __init__(
        self, name: str, meaning: str, *attributes: Attribute, unit: str = "", scope: Scope = Scope.PROCESS
    ) -> None:
        super().__init__(name, meaning, *attributes, unit=unit, scope=scope)
        self._series: dict[Labels, int] = {}

    def add(self, *labels: str) -> None:
        """One more, with these values of its attributes in their order."""
        if not _is_recording:
            return
        series = self._series
        if labels not in series:
            labels = self._bounded(labels)
            series.setdefault(labels, 0)
        series[labels] += 1

    def points(self) -> dict[Labels, float]:
        """Every series and its present value."""
        return dict(self._series)


class Histogram(Metric):
    """How long things take, or how large they are; ``bounds`` are the upper bounds of its buckets."""

    instrument = "histogram"

    def __init__(
        self,
        name: str,
        meaning: str,
        *attributes: Attribute,
        bounds: tuple[float, ...],
        unit: str = "",
        scope: Scope = Scope.PROCESS,
        has_exemplars: bool = False,
    ) -> None:
        super().__init__(name, meaning, *attributes, unit=unit, scope=scope)
        self.bounds = bounds
        self.has_exemplars = has_exemplars
        self._series: dict[Labels, Buckets] = {}

    def record(self, value: float, *labels: str, span: Span | None = None) -> None:
        """One measurement; ``span`` is an example of it, kept where its trace is recorded."""
        if not _is_recording:
            return
        series = self._series.get(labels)
        if series is None:
            labels = self._bounded(labels)
            series = self._series.get(labels)
            if series is None:
                series = self._series[labels] = Buckets(len(self.bounds) + 1)
        bucket = bisect_left(self.bounds, value)
        series.counts[bucket] += 1
        series.sum += value
        if span is not None and (context := span.get_span_context()).trace_flags.sampled:
            series.exemplars[bucket] = Exemplar(value, context.trace_id, context.span_id, wall_clock_ns())

    def points(self) -> dict[Labels, Buckets]:
        """Every series, to be read only."""
        return dict(self._series)


class Observable(Metric):
    """What is looked at when somebody asks, and not counted on the way."""

    def __init__(
        self, name: str, meaning: str, *attributes: Attribute, unit: str = "", scope: Scope = Scope.PROCESS
    ) -> None:
        super().__init__(name, meaning, *attributes, unit=unit, scope=scope)
        self._observed: list[Observed] = []

    @contextmanager
    def observed(self, present: Observed) -> Iterator[None]:
        """Show what ``present`` returns for the life of the block; of several, the latest."""
        self._observed.append(present)
        try:
            yield
        finally:
            self._observed.remove(present)

    def points(self) -> dict[Labels, float]:
        """Every series and its present value; none where nothing is observed, or observing fails."""
        if not self._observed:
            return {}
        try:
            found = self._observed[-1]()
        except Exception:
            events.UNFORESEEN.log(what=self.name)
            return {}
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            return {(): found}
        series: dict[Labels, float] = {}
        for labels, value in found.items():
            bounded = self._bounded((labels,) if isinstance(labels, str) else labels)
            # Of those that share `OTHER` the largest is shown: none of these gauges is better for being small.
            series[bounded] = max(value, series.get(bounded, value))
        return series


class Gauge(Observable):
    """A number that goes up and down."""

    instrument = "gauge"


class ObservedCounter(Observable):
    """A number that only grows, counted by somebody else, such as the kernel."""

    instrument = "counter"
