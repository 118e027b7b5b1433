"""`jzb catch-up`: restored books, brought up to the bank."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bankclient import yuan
from ledger import copies
from ledger.names import MemberCode
from service import telemetry
from service.process.cli.books import anchors
from service.process.cli.complaints import complaints
from service.process.cli.options import Data
from service.process.server import assembled
from service.process.stack import require_kept, started
from service.process.terminal import console, table
from service.recovery.catch_up import CatchUp, CaughtUp
from service.settings import Settings

app = typer.Typer()


@app.command("catch-up")
def catch_up_command(
    data: Data = Path("var"),
    member: Annotated[
        list[str] | None, typer.Option(help="A member that was opened since, as CODE=00 or CODE=SH; may be repeated.")
    ] = None,
    patience_s: Annotated[float, typer.Option(help="How long operations of the copy may take to end.")] = 1800.0,
    even_so: Annotated[bool, typer.Option(help="Open the books although something is not explained.")] = False,
) -> None:
    """Bring restored books up to the bank: take over what it did since, and list it; exits 1 while they stay closed.

    Repeat nothing that was sent after the copy was made before it was compared with the list.
    """
    opened = {MemberCode(code): kind for code, _, kind in (one.partition("=") for one in member or ())}
    if any(member_property not in ("00", "SH") for member_property in opened.values()):
        raise typer.BadParameter("a member is named with its property, CODE=00 or CODE=SH", param_hint="--member")
    with complaints():
        require_kept(data, bank_too=True)
    with (
        complaints(),
        started(data) as stack,
        copies.catching_up(stack.dsn, stack.settings.platform) as books,
    ):
        if books.since is None:
            console.print("these books are not restored ones, or have caught up already")
            return
        found = asyncio.run(_catch_up(stack.settings, books.since, patience_s, opened))
        _print_caught_up(found)
        if found.unexplained and not even_so:
            console.print("the books stay closed: look at what is not explained, then run this again with --even-so")
            raise typer.Exit(1)
        books.open()
        console.print("the books are open again")
        asyncio.run(anchors(stack.dsn, stack.settings.platform, compare=False))


async def _catch_up(
    settings: Settings, since: datetime, patience_s: float, opened: Mapping[MemberCode, str]
) -> CaughtUp:
    telemetry.set_up(settings.telemetry, settings.platform)
    async with assembled(settings, catches_up=True) as components:
        catch_up = CatchUp(
            since=since,
            reads=components.reads,
            bank=components.bank,
            recorder=components.recorder,
            resolver=components.resolver,
            clearing=components.clearing,
            returns=components.returns,
            transfers=components.transfers,
            cards=components.cards,
            vault=components.vault,
            rules=settings.rules,
        )
        return await catch_up.run(patience_s, opened)


def _print_caught_up(found: CaughtUp) -> None:
    lost = table("bank serial", "booked", "what", "yuan", "out of", "into", "remark")
    for one in sorted(found.lost.values(), key=lambda one: one.booked_at):
        booked = f"{one.booked_at:%Y-%m-%d %H:%M:%S}"
        lost.add_row(one.bank_serial, booked, one.kind, yuan(one.amount_fen), one.payer, one.payee, one.remark)
    taken = table("account", "member", "before", "after")
    for change in found.account_changes:
        taken.add_row(change.account, change.member_id, yuan(change.before_fen), yuan(change.after_fen))
    console.print(f"{len(found.lost)} transactions of the bank are lost here")
    console.print(lost)
    console.print(f"{len(found.account_changes)} accounts taken over from the bank, in yuan")
    console.print(taken)
    console.print(f"not explained: {len(found.unexplained)}")
    for line in found.unexplained:
        console.print(f"  {line}", markup=False)
