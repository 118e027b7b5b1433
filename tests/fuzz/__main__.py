"""``python -m tests.fuzz``: the long run, on a PostgreSQL of its own."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from embedded import EmbeddedPostgres, let_service_in
from ledger import migrate
from service import telemetry
from service.settings import TelemetrySettings
from tests.fuzz.driving import Report, fuzz, market


def main(
    requests: Annotated[int, typer.Option(min=1)] = 100_000,
    seed: Annotated[int, typer.Option(help="What the requests are made from.")] = 1,
) -> None:
    """Send bad requests to every RPC; exits 1 when one is answered as it must not be, or the books are not whole."""
    telemetry.set_up(TelemetrySettings(log_level="error"), "fuzz")
    with tempfile.TemporaryDirectory(prefix="jzb-fuzz-") as folder:
        server = EmbeddedPostgres(Path(folder), settings={"fsync": "off"})
        server.start()
        try:
            migrate(server.dsn)
            let_service_in(server.dsn)
            report = asyncio.run(_fuzz(server.dsn, seed, requests))
        finally:
            server.stop()
    console = Console(width=160, highlight=False)
    console.print(_table(report))
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.reasons.most_common())
    console.print(f"by reason: {reasons}")
    path, fewest = min(report.valid.items(), key=lambda one: one[1])
    console.print(
        f"valid requests: {report.valid.total()}, fewest {fewest} ({path}); of 200 kB and more: {report.large}"
    )
    took_s, path = report.slowest
    console.print(f"the slowest request was judged in {took_s * 1000:.1f} ms of CPU ({path})")
    console.print(
        f"seed {seed}: {report.requests} requests to {len(report.by_method)} RPCs in {report.seconds:.0f} s,"
        f" {report.operations} operations, wrong = {len(report.wrong)}"
    )
    for wrong in report.wrong:
        console.print(wrong, markup=False)
    if report.wrong:
        raise typer.Exit(1)


async def _fuzz(dsn: str, seed: int, requests: int) -> Report:
    async with market(dsn) as shop:
        return await fuzz(shop, seed, requests)


def _table(report: Report) -> Table:
    codes = [code for code, _ in report.codes.most_common()]
    table = Table("RPC", "valid", *codes)
    for path, counts in sorted(report.by_method.items()):
        table.add_row(
            path.removeprefix("/jzb.v1."), str(report.valid[path]), *(str(counts[code] or "") for code in codes)
        )
    table.add_section()
    table.add_row("all", str(report.valid.total()), *(str(report.codes[code]) for code in codes))
    return table


if __name__ == "__main__":
    typer.run(main)
