"""`jzb seal`: the keys of the MACs over openings and seals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import psycopg
import typer

from bankclient import yuan
from ledger import SealKeys, vouching
from service.process.cli.complaints import complaints
from service.process.cli.options import Data
from service.process.stack import SEAL_KEYS, StackNotStarted, kept, require_alone, seal_file, seal_keys
from service.process.terminal import console
from service.settings import SealSettings, is_given
from service.vault import new_key

app = typer.Typer()
seal = typer.Typer(no_args_is_help=True, help="The keys of the MACs over openings and seals.")
app.add_typer(seal, name="seal")


@seal.command("key")
def seal_key() -> None:
    """Print a new random key for JZB_SEAL__KEYS."""
    print(new_key())


@seal.command("rotate")
def seal_rotate(data: Data = Path("var")) -> None:
    """Put a MAC under the newest key over all that is carried on; then the older keys are needed no more.

    The newest key is the first of JZB_SEAL__KEYS. Every service must know it before this runs, and the old ones until
    it has ended. Without that setting a new key is put first in the key file under --data; then no service may run.
    """
    with complaints(), kept(data) as dsn:
        if not is_given(SEAL_KEYS):
            require_alone(dsn)
            seal_file(data).add()
        _vouch(dsn, seal_keys(data), vouching.rotated)


@seal.command("vouch")
def seal_vouch(
    operations: Annotated[list[UUID] | None, typer.Argument(help="The ids of operations that are right.")] = None,
    last_batch: Annotated[
        bool,
        typer.Option(help="The ends of the chain of seals and of the audit trail are right, and members, too."),
    ] = False,
    data: Data = Path("var"),
) -> None:
    """Say that operations are right which have no right MAC, or list them; exits 1 while there are any.

    For books whose keys were lost, or that went without. Whatever is vouched for is carried on: look at each one first,
    and run `jzb verify`.
    """
    with complaints(), kept(data) as dsn:
        ids = frozenset(operations or ())
        _vouch(
            dsn, seal_keys(data), lambda connection, keys: vouching.said(connection, keys, ids, last_batch=last_batch)
        )


def _vouch(
    dsn: str, settings: SealSettings, vouch: Callable[[psycopg.Connection[Any], SealKeys], vouching.Vouched]
) -> None:
    if not settings.keys:
        raise StackNotStarted("there is no key: set JZB_SEAL__KEYS (`jzb seal key` makes one)")
    is_whole = True
    with vouching.connected(dsn) as connection:
        for platform in vouching.platforms(connection):
            found = vouch(connection, SealKeys(platform, settings.bytes))
            console.print(f"platform {platform}: {found.put} MACs were put under the newest key")
            for one in found.openings:
                line = f"without a right MAC: {one.id} {one.kind} {one.state} {yuan(one.amount_fen)} {one.serial}"
                console.print(line, markup=False)
            for code in found.members:
                console.print(f"without a right MAC: the sub-account of member {code}", markup=False)
            if found.last_batch is not None:
                console.print(f"without a right MAC: the last batch, number {found.last_batch}")
            if found.last_entry is not None:
                console.print(f"without a right MAC: the last entry of the audit trail, number {found.last_entry}")
            is_whole = is_whole and found.is_whole
    # Apart, since it reads the whole chain: payments go on meanwhile.
    with vouching.connected(dsn) as connection:
        for platform in vouching.platforms(connection):
            vouching.milestones(connection, SealKeys(platform, settings.bytes))
    if not is_whole:
        raise typer.Exit(1)
