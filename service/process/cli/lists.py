"""`jzb orders`, `freezes` and `withdrawals`: lists of a running service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer
from rich.table import Table

from service.bankday import bank_today
from service.process import listed
from service.process.cli.calling import LOCAL, Authority, CallerCertificate, CallerKey, Target, credentials_of
from service.process.cli.complaints import complaints
from service.process.cli.options import day_or_none
from service.process.terminal import console, wide

app = typer.Typer()


ListedMember = Annotated[str, typer.Argument(help="The code of a member; without it all members'.")]
OnlyOpen = Annotated[bool, typer.Option("--open", help="Only those that still hold money, or wait for the bank.")]
FirstDay = Annotated[str, typer.Option("--from", help="The first bank day; without it from the first.")]
LastDay = Annotated[str, typer.Option("--to", help="With --from, the last bank day; without it today.")]


def _listed_command(name: str, says: str, read: Callable[..., Coroutine[Any, Any, tuple[Table, bool]]]) -> None:
    @app.command(name, help=says)
    def command(
        member: ListedMember = "",
        is_open: OnlyOpen = False,
        first: FirstDay = "",
        last: LastDay = "",
        target: Target = LOCAL,
        ca: Authority = None,
        certificate: CallerCertificate = None,
        key: CallerKey = None,
    ) -> None:
        with complaints():
            if last and not first:
                raise typer.BadParameter("comes with --from", param_hint="--to")
            began = day_or_none("--from", first)
            ended = (day_or_none("--to", last) or bank_today()) if began else None
            credentials = credentials_of(ca, certificate, key)
            filters = listed.wanted(member, began, ended)
            table, is_cut = asyncio.run(read((target, credentials), filters, is_open=is_open))
            wide().print(table)
            if is_cut:
                console.print(f"these are the first {listed.SHOWN_MAX}: the RPCs have pages, and more filters")


_listed_command(
    "orders",
    "Print prepaid orders, newest first: what is confirmed, cancelled, and still in escrow, in yuan.",
    listed.orders,
)
_listed_command(
    "freezes",
    "Print frozen orders, newest first: what is given back, paid out, and still frozen, in yuan.",
    listed.freezes,
)
_listed_command(
    "withdrawals",
    "Print withdrawals: those that the bank has not ended, the oldest first, then all others, the newest first.",
    listed.withdrawals,
)
