"""`jzb trace`: an operation step by step, out of the books and its trace."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.process import inquiries
from service.process import trace as traces
from service.process.cli.complaints import complaints
from service.process.cli.options import Data, require_number
from service.process.stack import kept, platform_of
from service.process.terminal import console, wide
from service.settings import telemetry_from_environment

app = typer.Typer()


@app.command("trace")
def trace_command(
    number: Annotated[
        str,
        typer.Argument(help="Of an order or a request; a serial of ours or the bank's; an operation id; a trace id."),
    ],
    data: Data = Path("var"),
) -> None:
    """Print what happened to an operation, step by step, the bank calls and later queries with it.

    The trace is read from the Jaeger that JZB_TELEMETRY__JAEGER_URL names, else from the `jzb run` on --data.
    """
    with complaints():
        require_number(number)
        jaeger_url = telemetry_from_environment().jaeger_url
        platform = platform_of(data)
        with kept(data) as dsn:
            operations = asyncio.run(traces.find(dsn, platform, number))
        if not operations and not traces.is_trace_id(number):
            raise traces.TraceNotFound(
                f"platform {platform} has no operation with number {number}: `jzb trace` takes the number of an order"
                " or a request, a serial of ours or of the bank, the id of an operation or of a trace. What was refused"
                " before anything was reserved is in no book"
            )
        source = traces.Source.of(jaeger_url, data)
        by_trace: dict[str, list[str]] = {} if operations else {number: []}
        for operation in operations:
            by_trace.setdefault(operation.trace_id, []).append(inquiries.title_of(operation))
        missing = 0
        for trace_id, titles in by_trace.items():
            for title in titles:
                console.print(title, markup=False)
            try:
                if not trace_id:
                    raise traces.TraceNotFound("it has no trace: it was entered before there were any")
                steps = source.read(trace_id)
                tree = traces.drawn(steps, f"trace {trace_id}, {traces.began(steps)}")
                wide().print(tree)
            except traces.TraceNotFound as not_found:
                missing += 1
                print(f"jzb: {not_found}", file=sys.stderr)
        if missing == len(by_trace):
            raise typer.Exit(1)
