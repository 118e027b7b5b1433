"""Draws a trace as Jaeger's API gives it (`/api/traces/{id}` or a search), for docs/operations/pictures/trace.png:

    curl -sG http://127.0.0.1:16686/api/traces -d service=jzb-ledger \\
        --data-urlencode 'tags={"jzb.order_no":"A-1"}' > found.json
    .venv/bin/python -m tests.observability.trace_picture found.json

Names, times, tree and attributes are Jaeger's answer; the drawing is ours. Time that passes without a span is cut out
of the axis and said between the lines, since a later query comes seconds after milliseconds of work.
"""

from __future__ import annotations

import html
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.observability.pictures import FOLDER, photograph

SHOWN = ("jzb.order_no", "jzb.interface", "jzb.outcome", "jzb.bank_code", "jzb.state", "jzb.reason")
IDLE_US = 500_000
"""So long without a span is cut out."""

STYLE = """
body { font: 13px sans-serif; margin: 12px; color: #222; background: #fff; } h1 { font-size: 18px; margin: 0 0 8px; }
div.row { display: grid; grid-template-columns: 330px 1fr; align-items: center; }
div.row { border-top: 1px solid #eee; height: 34px; }
div.axis { position: relative; height: 34px; } i { position: absolute; top: 4px; height: 13px; background: #1f77b4; }
i.failed { background: #d62728; }
span { position: absolute; top: 19px; font-size: 11px; color: #666; white-space: nowrap; }
p { background: #f4f4f4; text-align: center; margin: 0; padding: 3px; font-size: 12px; color: #666; }
"""

Span = dict[str, Any]


def in_order(spans: list[Span], parent: str = "", depth: int = 0) -> Iterator[tuple[int, Span]]:
    """Every span with its depth, parents first, by their beginning."""
    ids = {span["spanID"] for span in spans}
    for span in sorted(spans, key=lambda one: int(one["startTime"])):
        above = [one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF" and one["spanID"] in ids]
        if (above[0] if above else "") == parent:
            yield depth, span
            yield from in_order(spans, span["spanID"], depth + 1)


def page(trace: dict[str, Any]) -> tuple[str, int]:
    """The trace as a page, and its height."""
    rows = list(in_order(trace["spans"]))
    begins = sorted({int(span["startTime"]) for _, span in rows})
    # Stretches of work: a span that begins long after all before it have begun opens another.
    firsts = [
        begin
        for before, begin in zip([begins[0] - 2 * IDLE_US, *begins], begins, strict=False)
        if begin - before > IDLE_US
    ]
    ends = {
        first: max(
            int(s["startTime"]) + int(s["duration"])
            for _, s in rows
            if first <= int(s["startTime"]) < next((f for f in firsts if f > first), first + 10**12)
        )
        for first in firsts
    }
    lines, current = [], firsts[0]
    for depth, span in rows:
        start, took = int(span["startTime"]), int(span["duration"])
        first = max(one for one in firsts if one <= start)
        if first != current:
            lines.append(f"<p>{(start - begins[0]) / 1e6:.1f} s after the first</p>")
            current = first
        length = ends[first] - first
        tags = {one["key"]: one["value"] for one in span["tags"]}
        said = ", ".join(f"{name.removeprefix('jzb.')} {tags[name]}" for name in SHOWN if tags.get(name))
        lines.append(
            f'<div class="row"><div style="padding-left:{depth * 18}px">{html.escape(span["operationName"])}</div>'
            f'<div class="axis"><i class="{"failed" if tags.get("error") else ""}" style="left:'
            f'{70 * (start - first) / length:.2f}%;width:{max(0.3, 70 * took / length):.2f}%"></i>'
            f'<span style="left:{70 * (start - first) / length:.2f}%">{took / 1000:.1f} ms'
            f"{'  ' + html.escape(said) if said else ''}</span></div></div>"
        )
    title = f"Trace {trace['traceID']}"
    return f"<meta charset=utf-8><style>{STYLE}</style><h1>{title}</h1>{''.join(lines)}", 70 + 36 * len(lines)


def main(found: str) -> None:
    """Write the picture of the first trace in an answer of Jaeger's."""
    (trace, *_) = json.loads(Path(found).read_text("utf-8"))["data"]
    text, height = page(trace)
    with tempfile.TemporaryDirectory(prefix="jzb-pictures-") as folder:
        file = Path(folder) / "trace.html"
        file.write_text(text, "utf-8")
        photograph(file, FOLDER / "trace.png", height)


if __name__ == "__main__":
    main(sys.argv[1])
