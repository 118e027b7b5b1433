"""`jzb find` and `jzb timeline`: the books, asked about a number."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from service.process import inquiries
from service.process.cli.complaints import complaints
from service.process.cli.options import Data, require_number
from service.process.stack import kept, platform_of
from service.process.terminal import console, wide

app = typer.Typer()


@app.command("find")
def find_command(
    number: Annotated[
        str,
        typer.Argument(
            help="Any number that somebody holds: of a request, an order, a channel; a serial of ours or the bank's; a"
            " member, a sub-account, an operation id."
        ),
    ],
    is_open: Annotated[bool, typer.Option("--open", help="Only what still waits for the bank.")] = False,
    data: Data = Path("var"),
) -> None:
    """Print the operations that a number names, newest first, and what of each it is; exits 1 without any."""
    with complaints():
        require_number(number)
        platform = platform_of(data)
        with kept(data) as dsn:
            found = asyncio.run(inquiries.find(dsn, platform, number, is_open=is_open))
        if not found:
            which = "no open operation" if is_open else "no operation"
            console.print(f"platform {platform} has {which} with number {number}", markup=False)
            raise typer.Exit(1)
        wide().print(inquiries.found_table(found))
        if len(found) == inquiries.LISTED_MAX:
            console.print(f"these are the newest {len(found)}: FindOperations has pages, and more filters")


@app.command("timeline")
def timeline_command(
    number: Annotated[
        str, typer.Argument(help="Of an order or a request; a serial of ours or the bank's; an operation id.")
    ],
    data: Data = Path("var"),
) -> None:
    """Print all that happened to an operation, or to those of an order, in the order of time; exits 1 without any.

    States with the bank's words, queries, holds, postings, who acted; times are those of Asia/Shanghai.
    """
    with complaints():
        require_number(number)
        platform = platform_of(data)
        with kept(data) as dsn:
            operations, moments = asyncio.run(inquiries.timeline(dsn, platform, number))
        if not operations:
            console.print(f"platform {platform} has no operation with number {number}", markup=False)
            raise typer.Exit(1)
        for operation in operations:
            console.print(inquiries.title_of(operation), markup=False)
        wide().print(inquiries.timeline_table(operations, moments))
        if len(moments) == inquiries.MOMENTS_MAX:
            console.print(f"these are the first {len(moments)}: GetTimeline has pages")
