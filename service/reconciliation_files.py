"""`jzb files fetch`: the bank's files of one day, written plainly and summed up.

The file is written as UTF-8 under its name at the bank, readable by its owner alone, as it holds names. Lines that
could not be read are written beside it with their numbers and reasons. Nothing is kept in the database; one number
is taken for each question's serial.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rich.table import Table

from bankclient import BankClient, DayFile, FileKind, NoFile, consumer_serial, fetch_file, yuan
from ledger import Numbers, connect
from service import telemetry
from service.bankday import bank_today
from service.settings import Settings

ASIDE = ".quarantined"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of one kind of file."""

    file: DayFile | NoFile

    @property
    def is_whole(self) -> bool:
        """Nothing is missing: every row was read, or there is no file."""
        return isinstance(self.file, NoFile) or self.file.is_whole


async def fetch(settings: Settings, day: date, kinds: Sequence[FileKind], out: Path) -> list[Fetched]:
    """Fetch and write the files of those kinds, one after the other. Raises BankError."""
    engine = connect(settings.database_url.get_secret_value(), 1)
    numbers = Numbers(engine)

    async def serial() -> str:
        return consumer_serial(settings.bank.uid, bank_today(), await numbers.take() % 10**10)

    try:
        async with BankClient(settings.bank, query_serial=serial, around=telemetry.bank_call) as bank:
            return [_write(await fetch_file(bank, kind, day), out) for kind in kinds]
    finally:
        await engine.dispose()


def _write(file: DayFile | NoFile, out: Path) -> Fetched:
    if isinstance(file, NoFile):
        return Fetched(file)
    out.mkdir(parents=True, exist_ok=True)
    _write_private(out / file.name, file.text)
    if file.rows.bad:
        lines = (f"line {row.line}: {row.reason}\n{row.text}\n" for row in file.rows.bad)
        _write_private(out / f"{file.name}{ASIDE}", "".join(lines))
    return Fetched(file)


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(text.encode())
    draft.replace(path)


def summary(day: date, fetched: Sequence[Fetched], out: Path) -> Table:
    """One row a kind of file: rows, quarantined rows, how many the bank states, sums."""
    table = Table(title=f"{day}, written to {out}", title_justify="left")
    for name in ("type", "rows", "bad", "bank states", "amount", "fee", "file"):
        table.add_column(name, overflow="fold", justify="left" if name in ("type", "file") else "right")
    for one in fetched:
        file = one.file
        if isinstance(file, NoFile):
            table.add_row(file.file_type, "none")
            continue
        rows = file.rows
        sums = (yuan(rows.amount_fen), yuan(rows.fee_fen)) if rows.columns else ("", "")
        stated = "" if file.stated_rows is None else str(file.stated_rows)
        if file.stated_rows not in (None, file.found_rows):
            stated += f", not {file.found_rows}"
        table.add_row(file.file_type, str(len(rows.good)), str(len(rows.bad)), stated, *sums, file.name)
    return table
