"""`jzb reconcile` and `jzb adjust`: a bank day is closed at a running service."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from bankclient import fen
from service.bankday import bank_today
from service.process import adjusting
from service.process.cli.calling import LOCAL, Authority, CallerCertificate, CallerKey, Target, credentials_of
from service.process.cli.complaints import complaints
from service.process.cli.formats import format_of
from service.process.cli.options import calendar_day
from service.process.output import FORMATS
from service.process.reconcile import reconcile
from service.process.terminal import console

app = typer.Typer()


DAYS_MAX = 62
"""So many bank days are reconciled by one command."""


@app.command("reconcile")
def reconcile_command(
    date: Annotated[str, typer.Option(help="The bank day, YYYY-MM-DD; without it the one before today.")] = "",
    through: Annotated[str, typer.Option(help="The last of several days, YYYY-MM-DD.")] = "",
    out: Annotated[Path | None, typer.Option(help="A folder for the tables, with every line of the bank's.")] = None,
    wanted: Annotated[str, typer.Option("--format", help=f"With --out: {', '.join(FORMATS)}.")] = "xlsx",
    loads: Annotated[
        bool, typer.Option("--run/--no-run", help="Whether the bank is asked now, or what is known is shown.")
    ] = True,
    sign: Annotated[
        str | None,
        typer.Option(help="Sign the day as it is shown, with a note: as the first, or the second after another."),
    ] = None,
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Close bank days: have the bank's files loaded and matched, and show what does not agree; exits 1 with breaks."""
    with complaints():
        first = calendar_day("--date", date) if date else bank_today() - timedelta(days=1)
        last = calendar_day("--through", through) if through else first
        if not 0 <= (last - first).days < DAYS_MAX:
            raise typer.BadParameter(f"is not within {DAYS_MAX} days from {first} on", param_hint="--through")
        if sign is not None and first != last:
            raise typer.BadParameter("one day is signed at a time", param_hint="--sign")
        chosen = format_of(wanted)
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        credentials = credentials_of(ca, certificate, key)
        closing = reconcile(target, days, credentials, out=out, wanted=chosen, loads=loads, sign=sign)
        raise typer.Exit(asyncio.run(closing))


@app.command("adjust")
def adjust_command(
    break_id: Annotated[UUID, typer.Argument(help="The break, as `jzb reconcile` has it.")],
    why: Annotated[str, typer.Option(help="Why, for whoever approves and reads it later; no place for personal data.")],
    add: Annotated[str, typer.Option(help="The account that gets the amount, such as withdrawable.")] = "",
    take: Annotated[str, typer.Option(help="The account that gives it.")] = "",
    member: Annotated[str, typer.Option(help="Whose account it is.")] = "",
    order: Annotated[str, typer.Option(help="The order number of frozen, escrow or parked money.")] = "",
    bank_day: Annotated[str, typer.Option(help="The bank day of uncleared money or money in transit.")] = "",
    transfer: Annotated[str, typer.Option(help="The bank serial of a transfer in suspense.")] = "",
    amount: Annotated[str, typer.Option("--yuan", help="How much, in yuan; without it all that differs.")] = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Propose an adjustment of a break, with the break's own evidence; another identity approves it (jzb proposals)."""
    with complaints():
        if bool(add) == bool(take):
            raise typer.BadParameter("one of --add and --take names the account", param_hint="--add")
        if (add or take) not in adjusting.KINDS:
            raise typer.BadParameter(f"{add or take} is none of {', '.join(adjusting.KINDS)}", param_hint="--add")
        account = adjusting.account(add or take, member, order, bank_day, transfer)
        credentials = credentials_of(ca, certificate, key)
        amount_fen = fen(amount) if amount else 0
        proposing = adjusting.propose(target, credentials, str(break_id), account, bool(add), amount_fen, why)
        for line in asyncio.run(proposing):
            console.print(line, markup=False)
