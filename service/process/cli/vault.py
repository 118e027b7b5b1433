"""`jzb vault`: the keys of personal values."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from ledger import Cards, Proposals, connect, require_current
from service.path.proposals import lacking
from service.process.cli.complaints import complaints
from service.process.cli.options import Data
from service.process.stack import VAULT_KEYS, kept, key_file, platform_of, require_alone
from service.process.terminal import console
from service.settings import is_given, vault_from_environment
from service.vault import Vault, new_key, rotate

app = typer.Typer()
vault = typer.Typer(no_args_is_help=True, help="The keys under which personal values are kept.")
app.add_typer(vault, name="vault")


@vault.command("key")
def vault_key() -> None:
    """Print a new random key for JZB_VAULT__KEYS."""
    print(new_key())


@vault.command("rotate")
def vault_rotate(data: Data = Path("var")) -> None:
    """Put everything personal under the newest key; exits 1 while proposals wait that need an older one.

    The newest key is the first of JZB_VAULT__KEYS. A service must know the new key before this runs, and the old ones
    until it has ended; move them to JZB_VAULT__RETIRED_KEYS then, or repeats of their time are refused. Without that
    setting a new key is put first in the key file under --data; then no service may run, since it reads that file when
    it starts.
    """
    with complaints():
        platform = platform_of(data)
        with kept(data) as dsn:
            if is_given(VAULT_KEYS):
                keys = [key.get_secret_value() for key in vault_from_environment().keys]
            else:
                require_alone(dsn)
                key_file(data).add()
                keys = key_file(data).keys()
            moved, waiting = asyncio.run(_rotate(dsn, Vault(keys, platform)))
        console.print(f"{moved} cards were put under the newest key; none is under another")
        if waiting:
            # Nobody can change a proposal, nor what was decided of it: it ends under the key that it began with.
            console.print(waiting, markup=False)
            raise typer.Exit(1)
        if is_given(VAULT_KEYS):
            console.print("move the older keys to JZB_VAULT__RETIRED_KEYS: by them repeats of requests are recognised")


async def _rotate(dsn: str, sealed: Vault) -> tuple[int, str]:
    """How many cards were put under the newest key, and which proposals still need another."""
    engine = connect(dsn, 1)
    try:
        # Services run meanwhile: under their schema, and not one that this makes.
        await require_current(engine)
        moved = await rotate(sealed, Cards(engine, sealed.platform))
        return moved, lacking(await Proposals(engine, sealed.platform).needing(), [sealed.key_id])
    finally:
        await engine.dispose()
