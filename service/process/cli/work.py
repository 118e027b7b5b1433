"""`jzb work`: what waits for a person or for the bank."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from jzb.v1 import work_pb2
from service.process import queue
from service.process.cli.calling import LOCAL, Authority, CallerCertificate, CallerKey, Target, credentials_of
from service.process.cli.complaints import complaints
from service.process.cli.options import Data
from service.process.terminal import console, wide

app = typer.Typer()


@app.command("work")
def work_command(
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only what this person has; '' for what nobody has.")] = None,
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    data: Data = Path("var"),
) -> None:
    """Print what waits for a person or for the bank, in yuan, oldest first, and the sums by kind.

    A running service is asked. Where none answers the books are read: what could not be collected is not in them.
    """
    with complaints():
        if unknown := [kind for kind in kinds or () if kind not in queue.KINDS]:
            raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(queue.KINDS)}", param_hint="--kind")
        wanted = queue.wanted_work(kinds or (), owner)
        found = asyncio.run(queue.read(target, credentials_of(ca, certificate, key), wanted))
        if found is None:
            console.print(f"no service answers on {target}: this is from the books, without what it could not collect")
            found = _of_books(data, wanted)
        if not found.sums:
            console.print("nothing waits")
            return
        wide().print(queue.work_table(found.items))
        if len(found.items) == queue.WORK_MAX:
            console.print(f"these are the oldest {len(found.items)}: ListWork has pages")
        console.print(queue.sums_table(found.sums))


def _of_books(data: Path, wanted: work_pb2.ListWorkRequest) -> work_pb2.ListWorkResponse:
    # Only where no service answers.
    from service.process import waiting
    from service.process.stack import kept, platform_of

    platform = platform_of(data)
    with kept(data) as dsn:
        return asyncio.run(waiting.in_books(dsn, platform, wanted))
