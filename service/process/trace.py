"""`jzb trace`: what happened to an operation, step by step, found by any number that a person may hold.

The operation is found in the books, its trace in Jaeger (``JZB_TELEMETRY__JAEGER_URL``) or in the spans that a running
`jzb run` keeps (`service.telemetry.kept`). Both are read by the same HTTP API, ``/api/traces/{id}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import httpx
from rich.text import Text
from rich.tree import Tree

from bankclient import BANK_ZONE
from ledger import Filter, Number, Operation
from service.process.inquiries import books, ways_to_store
from service.telemetry import KeptSpans, served

NEWEST_MAX: Final = 20
"""Operations of one number."""

ADDRESS: Final = "traces.json"
"""The file in which `jzb run` says where its spans are read."""

TIMEOUT_S: Final = 10.0

SHOWN: Final = {
    "rpc.response.status_code": "",
    "jzb.reason": "",
    "jzb.state": "",
    "jzb.outcome": "",
    "jzb.bank_code": "code ",
    "jzb.attempts": "attempts ",
    "jzb.query_attempts": "query ",
}
"""The attributes that stand behind a span, in this order, each with what is written before it."""


class TraceNotFound(Exception):
    """There is nothing to show; the message says why, and what to do."""


@dataclass(slots=True)
class Step:
    """One span. ``start_us`` is microseconds since 1970, ``duration_us`` as long."""

    id: str
    parent: str
    name: str
    start_us: int
    duration_us: int
    tags: Mapping[str, Any]
    events: Sequence[tuple[int, str]]
    links: Sequence[str] = ()
    below: list[Step] = field(default_factory=list)


@contextmanager
def keeping(data: Path) -> Iterator[KeptSpans | None]:
    """The spans that `jzb trace` reads for the life of the block; where they are read stands in a file under ``data``.

    None are kept without that folder, where everything was given by the environment.
    """
    if not data.exists():
        yield None
        return
    spans, file = KeptSpans(), data / ADDRESS
    with served(spans) as url:
        file.write_text(json.dumps({"url": url}))
        try:
            yield spans
        finally:
            file.unlink(missing_ok=True)


async def find(dsn: str, platform: str, number: str) -> list[Operation]:
    """The newest operations that a number names, oldest first: an operation id, a request id, a serial of ours or of
    the bank, an order number or a channel's transaction number, of an operation or of a part. Raises `LedgerError`.
    """
    async with books(dsn, platform) as (_, lists):
        page = await lists.page(Filter(number=Number(text=number, request_ids=ways_to_store(number))), limit=NEWEST_MAX)
    return [full.operation for full in reversed(page.full_operations)]


@dataclass(frozen=True, slots=True)
class Source:
    """Where traces are read. ``is_kept`` is for the spans that `jzb run` keeps."""

    url: str
    is_kept: bool

    @classmethod
    def of(cls, jaeger_url: str | None, data: Path) -> Source:
        """Jaeger, if a setting names one, else the `jzb run` on ``data``. Raises `TraceNotFound` when none runs."""
        if jaeger_url is not None:
            return cls(jaeger_url.rstrip("/"), is_kept=False)
        try:
            return cls(str(json.loads((data / ADDRESS).read_text())["url"]), is_kept=True)
        except FileNotFoundError:
            raise TraceNotFound(
                f"no `jzb run` keeps its spans under {data}: start one, or name the data of one that runs with --data,"
                " or set JZB_TELEMETRY__JAEGER_URL to the Jaeger that the service exports to"
            ) from None

    def read(self, trace_id: str) -> list[Step]:
        """The spans of a trace. Raises `TraceNotFound`."""
        try:
            # No proxy of the environment: both are inside.
            answer = httpx.get(f"{self.url}/api/traces/{trace_id}", timeout=TIMEOUT_S, trust_env=False)
        except httpx.HTTPError as away:
            mended = (
                "start `jzb run` again; the spans of one that has ended are gone"
                if self.is_kept
                else "see that JZB_TELEMETRY__JAEGER_URL is Jaeger's query address, http://host:16686"
            )
            raise TraceNotFound(f"{self.url} does not answer ({type(away).__name__}): {mended}") from None
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise TraceNotFound(f"trace {trace_id} is not there: {self._why_not()}")
        try:
            steps = [step for one in answer.raise_for_status().json()["data"] for step in steps_of(one)]
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, AttributeError):
            raise TraceNotFound(
                f"{self.url} answers {answer.status_code} and no trace: it is not the query API of a Jaeger"
            ) from None
        if not steps:
            raise TraceNotFound(f"trace {trace_id} is not there: {self._why_not()}")
        return steps

    def _why_not(self) -> str:
        if self.is_kept:
            return (
                "`jzb run` keeps the newest spans only, since its start, and none that the caller did not sample."
                " Send the request again, or export to a Jaeger (JZB_TELEMETRY__OTLP_ENDPOINT)"
            )
        return (
            "it was not sampled (JZB_TELEMETRY__SAMPLE_RATIO, or the caller's own decision), or is older than what"
            " Jaeger keeps. The service's log lines have the trace_id as well"
        )


def steps_of(trace: Mapping[str, Any]) -> Iterator[Step]:
    """The spans of a trace as Jaeger's API has it."""
    for span in trace["spans"]:
        references = span.get("references") or []
        parents = [one["spanID"] for one in references if one["refType"] == "CHILD_OF"]
        yield Step(
            id=span["spanID"],
            parent=parents[0] if parents else "",
            name=span["operationName"],
            start_us=int(span["startTime"]),
            duration_us=int(span["duration"]),
            tags={tag["key"]: tag["value"] for tag in span.get("tags") or []},
            events=[(int(log["timestamp"]), _event(log)) for log in span.get("logs") or []],
            links=[one["traceID"] for one in references if one["traceID"] != span["traceID"]],
        )


def _event(log: Mapping[str, Any]) -> str:
    fields = {one["key"]: str(one["value"]) for one in log["fields"]}
    name = fields.pop("event", "event")
    # A traceback is for the log.
    shown = [fields[key] for key in ("jzb.reason", "jzb.bank_code", "exception.type") if key in fields]
    return " ".join((name, *shown))


def drawn(steps: Iterable[Step], title: str) -> Tree:
    """A trace as a tree, each span with when it began after the first, how long it took, and what came of it."""
    ordered = sorted(steps, key=lambda step: step.start_us)
    by_id = {step.id: step for step in ordered}
    roots = [step for step in ordered if step.parent not in by_id]
    for step in ordered:
        if step.parent in by_id:
            by_id[step.parent].below.append(step)
    began_us = ordered[0].start_us
    tree = Tree(Text(title))
    for root in roots:
        _grow(tree, root, began_us)
    return tree


def _grow(tree: Tree, step: Step, began_us: int) -> None:
    branch = tree.add(_line(step, began_us))
    if step.links:
        branch.add(Text(f"linked to trace {', '.join(dict.fromkeys(step.links))}", style="dim"))
    below: list[tuple[int, Step | str]] = [*step.events, *((one.start_us, one) for one in step.below)]
    for _, one in sorted(below, key=itemgetter(0)):
        if isinstance(one, Step):
            _grow(branch, one, began_us)
        else:
            branch.add(Text(one, style="yellow"))


def _line(step: Step, began_us: int) -> Text:
    is_error = step.tags.get("error") is True or step.tags.get("otel.status_code") == "ERROR"
    said = [f"{before}{step.tags[key]}" for key, before in SHOWN.items() if step.tags.get(key, "") != ""]
    line = Text(step.name, style="bold red" if is_error else "bold")
    line.append(f"  +{_time(step.start_us - began_us)}  took {_time(step.duration_us)}", style="not bold dim")
    line.append(f"  {', '.join(said)}" if said else "", style="not bold red" if is_error else "not bold")
    return line


def _time(us: int) -> str:
    return f"{us / 1000:.1f} ms" if us < 1_000_000 else f"{us / 1_000_000:.1f} s"


def began(steps: Iterable[Step]) -> str:
    """When the first span began, in the bank's time."""
    first = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(step.start_us for step in steps))
    return f"{first.astimezone(BANK_ZONE):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " (Asia/Shanghai)"


def is_trace_id(number: str) -> bool:
    """Whether a number may be a trace id itself."""
    return re.fullmatch("[0-9a-f]{32}", number) is not None
