"""`jzb balance`, `trial-balance` and `statement`: what members have and had, asked of a running service."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from service.process import balances
from service.process.cli.calling import LOCAL, Authority, CallerCertificate, CallerKey, Target, credentials_of
from service.process.cli.complaints import complaints
from service.process.cli.formats import format_of
from service.process.cli.options import day_or_none
from service.process.output import FORMATS
from service.process.terminal import console, wide

app = typer.Typer()


PastDay = Annotated[str, typer.Option(help="As of the end of this bank day, YYYY-MM-DD.")]
PastTime = Annotated[str, typer.Option(help="As of this time, 2026-11-30T18:00; in Shanghai unless it has a zone.")]


@app.command("balance")
def balance_command(
    member: Annotated[str, typer.Argument(help="The code of the member.")],
    date: PastDay = "",
    time: PastTime = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Print a member's balance, now, as of a time, or as of the end of a bank day."""
    with complaints():
        as_of = _as_of(date, time)
        title, table = asyncio.run(balances.balance(target, credentials_of(ca, certificate, key), member, as_of))
        console.print(title, markup=False)
        console.print(table)


@app.command("trial-balance")
def trial_balance_command(
    date: PastDay = "",
    time: PastTime = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Print the totals of each kind of account, now, as of a time, or as of the end of a bank day."""
    with complaints():
        as_of = _as_of(date, time)
        title, table = asyncio.run(balances.trial_balance(target, credentials_of(ca, certificate, key), as_of))
        console.print(title, markup=False)
        console.print(table)


@app.command("statement")
def statement_command(
    member: Annotated[str, typer.Argument(help="The code of the member.")],
    first: Annotated[str, typer.Option("--from", help="The first bank day; without it from the first.")] = "",
    last: Annotated[str, typer.Option("--to", help="The last bank day; without it up to now.")] = "",
    wanted: Annotated[str, typer.Option("--format", help=f"Write a file: {', '.join(FORMATS)}.")] = "",
    out: Annotated[Path, typer.Option(help="With --format, the folder of the file.")] = Path("."),
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Print a member's statement (流水): each posting and what was left after it; or write it into a file."""
    with complaints():
        days = day_or_none("--from", first), day_or_none("--to", last)
        credentials = credentials_of(ca, certificate, key)
        if wanted:
            rows = asyncio.run(balances.write_statement(target, credentials, member, *days, format_of(wanted), out))
            console.print(f"{rows} entries of member {member}, in {out}", markup=False)
            return
        table, is_cut = asyncio.run(balances.statement(target, credentials, member, *days))
        wide().print(table)
        if is_cut:
            console.print(f"these are the first {balances.SHOWN_MAX}: --format csv writes all")


def _as_of(bank_day: str, time: str) -> dict[str, Any]:
    if bank_day and time:
        raise typer.BadParameter("a time and a bank day are asked for one at a time", param_hint="--time")
    try:
        at = datetime.fromisoformat(time) if time else None
    except ValueError:
        raise typer.BadParameter(f"{time} is no time, as in 2026-11-30T18:00", param_hint="--time") from None
    return balances.moment(day_or_none("--date", bank_day), at)
