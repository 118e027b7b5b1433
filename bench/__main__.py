"""``python -m bench``: measure every row, show and keep what was seen; exit 1 if a row falls short."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from bench import comparisons, day, ledger, lists, payments, reads, report, site, statements
from bench.rows import Measured
from service.process.server import tune_garbage_collector


class Part(StrEnum):
    """What can be measured by itself."""

    LEDGER = "ledger"
    PROCESSES = "processes"
    SERVICE = "service"
    GROWTH = "growth"
    LISTS = "lists"
    COMPARISONS = "comparisons"
    DAY = "day"
    READS = "reads"
    STATEMENTS = "statements"


def main(
    part: Annotated[list[Part] | None, typer.Argument(help="Only these; all without any.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for bench.json and the plots.")] = Path("var/bench"),
) -> None:
    """Measure jzb-ledger, each row as a ratio of two things side by side."""
    console, measured, began_s = Console(width=140), Measured(), time.monotonic()
    tune_garbage_collector()
    with tempfile.TemporaryDirectory(prefix="jzb-bench-") as temporary:
        folder = Path(temporary)
        with site.database(folder / "machine") as dsn:
            where = report.machine(dsn)
        # Each on a server of its own: what one leaves to be cleaned up would slow the next.
        parts: dict[Part, Callable[[Path, Measured], Coroutine[Any, Any, None]]] = {
            Part.LEDGER: ledger.batching,
            Part.PROCESSES: ledger.two_processes,
            Part.SERVICE: payments.payments,
            Part.GROWTH: ledger.growth,
            Part.LISTS: lists.lists,
            Part.COMPARISONS: comparisons.comparisons,
            Part.DAY: day.day,
            Part.READS: reads.reads,
            Part.STATEMENTS: statements.statements,
        }
        for name, measure in parts.items():
            if not part or name in part:
                console.print(f"measuring {name} …", highlight=False)
                uvloop.run(measure(folder / name, measured))
    report.show(console, where, measured, time.monotonic() - began_s)
    report.write(out, where, measured)
    console.print(f"kept in {out}", highlight=False)
    raise typer.Exit(0 if all(row.holds for row in measured.rows) else 1)


if __name__ == "__main__":
    typer.run(main)
