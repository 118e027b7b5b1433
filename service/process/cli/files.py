"""`jzb files`: the bank's files, fetched and written plainly."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from bankclient import FileKind
from service.inflows.reconciliation_files import fetch, summary
from service.process.cli.complaints import complaints
from service.process.cli.options import Data, calendar_day
from service.process.stack import bank, kept
from service.process.terminal import console
from service.settings import from_environment

KINDS = ", ".join(get_args(FileKind))

app = typer.Typer()
files = typer.Typer(no_args_is_help=True, help="The bank's reconciliation files.")
app.add_typer(files, name="files")


@files.command("fetch")
def files_fetch(
    date: Annotated[str, typer.Option(help="The bank day, YYYY-MM-DD.")],
    kinds: Annotated[
        list[str], typer.Option("--type", help=f"CZ top-ups, TX withdrawals, JY transactions, YE balances; {KINDS}.")
    ],
    out: Annotated[Path, typer.Option(help="Where the plain files go.")] = Path("."),
    data: Data = Path("var"),
) -> None:
    """Fetch the bank's files of a day and write them plainly; exits 1 when a row is quarantined or missing."""
    with complaints():
        bank_day = calendar_day("--date", date)
        if unknown := [kind for kind in kinds if kind not in get_args(FileKind)]:
            raise typer.BadParameter(f"{unknown[0]} is none of {KINDS}", param_hint="--type")
        with kept(data) as dsn, bank(data) as given:
            settings = from_environment(database_url=dsn, **given)
            fetched = asyncio.run(fetch(settings, bank_day, cast("list[FileKind]", kinds), out))
        console.print(summary(bank_day, fetched, out))
        if not all(one.is_complete for one in fetched):
            raise typer.Exit(1)
