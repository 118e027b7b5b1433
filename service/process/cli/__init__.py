"""The command line. A module here is what one user does with `jzb`, and is loaded when one of its commands is called.

So a command waits for what it uses: `jzb orders` asks a running service and loads neither a server nor a database.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Final

import typer

from service.process.cli.loading import Commands

COMMANDS: Final = {
    "run": ("running", "Start PostgreSQL, the sandbox bank and the service; Ctrl-C stops them."),
    "serve": ("serving", "Run the service alone, with the settings of the environment."),
    "migrate": ("books", "Bring the database of the environment up to date."),
    "verify": (
        "books",
        "Replay the journal, compare it with the balances and with its seals; exits 1 when they differ.",
    ),
    "backup": (
        "books",
        "Copy the books into one file, as of one moment, while the service runs; sealed under JZB_SEAL__KEYS.",
    ),
    "restore": ("books", "Fill an empty database from a copy; no service starts on it before `jzb catch-up`."),
    "catch-up": (
        "catching_up",
        "Bring restored books up to the bank: take over what it did since, and list it; exits 1 while they stay"
        " closed.",
    ),
    "demo": ("playing", "Play a marketplace day through the gRPC API, then compare every balance with the bank's own."),
    "find": (
        "finding",
        "Print the operations that a number names, newest first, and what of each it is; exits 1 without any.",
    ),
    "balance": ("balances", "Print a member's balance, now, as of a time, or as of the end of a bank day."),
    "trial-balance": (
        "balances",
        "Print the totals of each kind of account, now, as of a time, or as of the end of a bank day.",
    ),
    "statement": (
        "balances",
        "Print a member's statement (流水): each posting and what was left after it; or write it into a file.",
    ),
    "orders": (
        "lists",
        "Print prepaid orders, newest first: what is confirmed, cancelled, and still in escrow, in yuan.",
    ),
    "freezes": ("lists", "Print frozen orders, newest first: what is given back, paid out, and still frozen, in yuan."),
    "withdrawals": (
        "lists",
        "Print withdrawals: those that the bank has not ended, the oldest first, then all others, the newest first.",
    ),
    "reconcile": (
        "closing",
        "Close bank days: have the bank's files loaded and matched, and show what does not agree; exits 1 with breaks.",
    ),
    "adjust": (
        "closing",
        "Propose an adjustment of a break, with the break's own evidence; another identity approves it (jzb"
        " proposals).",
    ),
    "timeline": (
        "finding",
        "Print all that happened to an operation, or to those of an order, in the order of time; exits 1 without any.",
    ),
    "work": ("work", "Print what waits for a person or for the bank, in yuan, oldest first, and the sums by kind."),
    "trace": (
        "tracing",
        "Print what happened to an operation, step by step, the bank calls and later queries with it.",
    ),
    "evidence": (
        "proving",
        "Prove what was recorded of an operation by what the bank has signed; exits 1 when something is not proved.",
    ),
    "files": ("files", "The bank's reconciliation files."),
    "vault": ("vault", "The keys under which personal values are kept."),
    "seal": ("seal", "The keys of the MACs over openings and seals."),
    "proposals": ("proposals", "What two people are needed for, at a running service."),
    "certificates": ("certificates", "Certificates for a trial: an authority, and what it issues."),
    "docs": ("docs", "Documents that are made from the code."),
}
"""The module of each command, and what the list of commands says of it: the first paragraph of its own help."""

app = typer.Typer(
    cls=Commands.of(__name__, COMMANDS),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from ledger import newest_revision
        from service.process.terminal import console

        console.print(f"jzb-ledger {version('jzb-ledger')}, schema {newest_revision()}")
        raise typer.Exit


@app.callback()
def jzb(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="The release and its schema.")
    ] = False,
) -> None:
    """The payment ledger for Ping An's JZB."""
