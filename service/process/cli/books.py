"""`jzb migrate`, `verify`, `backup` and `restore`: the books, for whoever keeps their database."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated

import typer

from ledger import (
    Lookups,
    Reads,
    SealKeys,
    Summary,
    audit,
    connect,
    copies,
    migrate,
    open_pool,
    require_current,
)
from service.process.anchor import contradiction, note_anew, places_of
from service.process.cli.complaints import complaints
from service.process.cli.options import Data, Unsealed
from service.process.stack import database, kept, platform_of, seal_keys
from service.process.terminal import console
from service.settings import anchor_from_environment, database_from_environment, seal_from_environment

app = typer.Typer()


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database of the environment up to date."""
    with complaints():
        lacking = migrate(database_from_environment(), keys=seal_from_environment().bytes)
        console.print("the database is up to date")
        if lacking:
            console.print("its roles are not: this user may not make them. Have somebody run, then migrate again:")
            for statement in lacking:
                console.print(f"  {statement}")


@app.command("verify")
def verify_command(
    data: Data = Path("var"),
    noted: Annotated[
        str, typer.Option(help="A digest that an earlier run printed; it must still be in the chain of seals.")
    ] = "",
    unsealed: Unsealed = 0,
) -> None:
    """Replay the journal, compare it with the balances and with its seals; exits 1 when they differ."""
    with complaints():
        if not re.fullmatch("([0-9a-f]{64})?", noted):
            raise typer.BadParameter("a digest has 64 hexadecimal digits", param_hint="--noted")
        platform = platform_of(data)
        with kept(data) as dsn:
            keys = seal_keys(data).of(platform)
            summary = asyncio.run(_verify(dsn, platform, bytes.fromhex(noted), unsealed, keys))
            for line in asyncio.run(anchors(dsn, platform, compare=True)):
                console.print(f"an anchor contradicts the books: {line}", markup=False)
                summary.findings += 1
        if not summary.findings:
            console.print("the journal, the balances and the seals agree")
        console.print(
            f"{summary.batches} batches, {summary.operations} operations, {summary.transactions} transactions,"
            f" {summary.legs} legs, {summary.findings} findings"
        )
        if summary.batches_unsealed:
            console.print(
                f"the first {summary.batches_unsealed} batches have no seal, as if from before there were any"
            )
        if summary.members_unsealed:
            console.print(f"{summary.members_unsealed} members are from before they were sealed")
        if keys is None:
            console.print("no MAC was checked: JZB_SEAL__KEYS is not set")
        if summary.digest:
            console.print(f"last digest, to be noted elsewhere for --noted: {summary.digest.hex()}")
        if summary.findings:
            raise typer.Exit(1)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes; it must not be there yet.")],
    data: Data = Path("var"),
) -> None:
    """Copy the books into one file, as of one moment, while the service runs; sealed under JZB_SEAL__KEYS."""
    with complaints(), kept(data) as dsn:
        keys = seal_keys(data).bytes
        for copied in copies.back_up(dsn, file, keys):
            console.print(_head(copied))
        console.print(f"copied to {file}; the keys (JZB_VAULT__KEYS, JZB_SEAL__KEYS) are not in it")
        if not keys:
            console.print("it is not sealed, and anybody can read and change it: JZB_SEAL__KEYS is not set")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `jzb backup` made.")],
    data: Data = Path("var"),
    unsealed: Unsealed = 0,
    unsealed_copy: Annotated[
        bool, typer.Option(help="Restore a copy that is not sealed, because you know who made it.")
    ] = False,
) -> None:
    """Fill an empty database from a copy; no service starts on it before `jzb catch-up`.

    Exits 1 when the books that were restored contradict themselves, which the catch-up would cover up.
    """
    with complaints():
        copies.require_file(file)
    with complaints(), database(data) as (dsn, _):
        contradictions = 0
        keys = seal_keys(data).bytes
        for copied in copies.restore(dsn, file, keys, is_trusted=unsealed_copy):
            console.print(_head(copied))
            contradictions += asyncio.run(
                _verify(dsn, copied.platform, b"", unsealed, seal_keys(data).of(copied.platform))
            ).findings
        if contradictions:
            console.print(
                "restored, and the books stay closed: they were wrong when they were copied. Restore an older"
            )
            console.print("copy into another database, or correct these by `jzb catch-up`, which takes the bank's word")
            raise typer.Exit(1)
        console.print("restored; the bank has gone on since: run `jzb catch-up` next")


async def _verify(dsn: str, platform: str, noted: bytes, unsealed: int, keys: SealKeys | None) -> Summary:
    engine = connect(dsn, 1)
    summary = Summary()
    try:
        await require_current(engine)
        async for found in audit(engine, platform, noted, unsealed, keys):
            if isinstance(found, Summary):
                summary = found
            else:
                line = f"{found.check}: {found.where}: expected {found.expected}, found {found.found}"
                console.print(line, markup=False)
    finally:
        await engine.dispose()
    return summary


def _head(copied: copies.Copied) -> str:
    at = f"{copied.at:%Y-%m-%d %H:%M:%S %Z}" if copied.at else "never"
    return (
        f"platform {copied.platform}: {copied.batches} batches, the last {at}, digest {copied.digest.hex() or 'none'}"
    )


async def anchors(dsn: str, platform: str, *, compare: bool) -> list[str]:
    """How the books contradict the places of JZB_ANCHOR; or note there anew where they end."""
    places = places_of(anchor_from_environment())
    engine = connect(dsn, 1)
    try:
        async with open_pool(dsn) as pool:
            reads = Reads(engine, Lookups(pool, platform))
            if not compare:
                await note_anew(reads, places)
                return []
            found = [await contradiction(reads, place) for place in places]
            return [line for line in found if line]
    finally:
        await engine.dispose()
