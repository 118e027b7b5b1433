"""docs/operations/logs.md, made from the catalogue of events (`service.telemetry.events`): one row an event.

`jzb docs logs` writes it; a test fails while the file differs from what is made here.
"""

from __future__ import annotations

from pathlib import Path

from service.telemetry.events import Event, catalogue

PATH = Path("docs/operations/logs.md")

HEAD = """\
# The log

Made by `jzb docs logs` from `service/telemetry/events.py`. Do not edit it by hand.

The service writes a line for each of these events to standard output, as text, or as JSON with
`JZB_TELEMETRY__LOG_JSON=true`. The same event always has the same words. Each line has `event`, `level` and `timestamp`
(UTC), and what is known of these:

| field | meaning |
| --- | --- |
| `trace_id` | the trace of the operation, else of the work under way; see [tracing.md](tracing.md) |
| `operation_id`, `serial` | the operation, and its number at the bank (CnsmrSeqNo) |
| `exception` | the traceback of an event `unforeseen`, and of no other |

**What a level asks of whoever is on call**

- `error`: do what the table says. It does not pass by itself.
- `warning`: it passes by itself. Where it may not, an alert on a metric says so.
- `info`: nothing. The books have it as well.

Requests that are refused for what they say are not logged: a caller's error is the caller's, and `jzb.refusals` counts
them. Refusals for lack of a name or a right are (`a call was refused`). Lines never hold a name, a card, an identity or
a phone number. Of the events marked *once in 60 s* a process writes no more lines than that, however often they happen.

Libraries (PostgreSQL's driver, gRPC, OpenTelemetry) write to standard error in the same form, with the field `logger`.
What gRPC and OpenTelemetry call an error (a caller who left, a collector that is away) is a warning here. A TLS session
that fails, gRPC's core writes as `Handshake failed`, in a form of its own.

"""


def render() -> str:
    """The whole document."""
    events = [event for _, event in catalogue()]
    return HEAD + "".join(
        f"## {level}\n\n{_table([one for one in events if one.level == level])}" + ("" if level == "info" else "\n")
        for level in ("error", "warning", "info")
    )


def _table(events: list[Event]) -> str:
    head = ("event", "fields", "meaning", "what to do")
    rows = [head, tuple("---" for _ in head), *(_row(event) for event in events)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(event: Event) -> tuple[str, ...]:
    fields = ", ".join(f"`{name}`" for name in event.fields)
    seldom = f" *Once in {event.every_s:.0f} s.*" if event.every_s else ""
    return (f"`{event.name}`", fields, f"{event.meaning}{seldom}", event.action)
