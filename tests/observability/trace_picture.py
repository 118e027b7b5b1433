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
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from service.process.trace import Step, steps_of
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


def in_order(steps: Iterable[Step], parent: str | None = None, depth: int = 0) -> Iterator[tuple[int, Step]]:
    """Every span with its depth, parents first, by their beginning."""
    ordered = sorted(steps, key=lambda one: one.start_us)
    ids = {one.id for one in ordered}
    for one in ordered:
        if (one.parent if one.parent in ids else None) == parent:
            yield depth, one
            yield from in_order(ordered, one.id, depth + 1)


def page(trace: Mapping[str, Any]) -> tuple[str, int]:
    """The trace as a page, and its height."""
    rows = list(in_order(steps_of(trace)))
    begins = sorted(step.start_us for _, step in rows)
    # Stretches of work: a span that begins long after all before it have begun opens another.
    firsts = [begins[0], *(begin for before, begin in pairwise(begins) if begin - before > IDLE_US)]
    lines, current = [], firsts[0]
    for depth, step in rows:
        first = max(one for one in firsts if one <= step.start_us)
        within = [one for _, one in rows if max(begin for begin in firsts if begin <= one.start_us) == first]
        length = max(one.start_us + one.duration_us for one in within) - first
        if first != current:
            lines.append(f"<p>{(step.start_us - begins[0]) / 1e6:.1f} s after the first</p>")
            current = first
        said = ", ".join(f"{name.removeprefix('jzb.')} {step.tags[name]}" for name in SHOWN if step.tags.get(name))
        left, width = 70 * (step.start_us - first) / length, max(0.3, 70 * step.duration_us / length)
        lines.append(
            f'<div class="row"><div style="padding-left:{depth * 18}px">{html.escape(step.name)}</div>'
            f'<div class="axis"><i class="{"failed" if step.tags.get("error") else ""}"'
            f' style="left:{left:.2f}%;width:{width:.2f}%"></i><span style="left:{left:.2f}%">'
            f"{step.duration_us / 1000:.1f} ms  {html.escape(said)}</span></div></div>"
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
