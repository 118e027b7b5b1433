"""`jzb files fetch`: the bank's files of one day, written plainly and summed up.

A file is written as UTF-8 under its name at the bank, and beside it (`.gb18030`) byte by byte as the bank has it, both
readable by their owner alone, as they hold names. Lines that could not be read, and rows that contradict each other,
are written beside it with their numbers and reasons. Nothing is kept in the database; one number is taken for each
question's serial. A file is gone through as a stream, so that its size is no matter.
"""

from __future__ import annotations

import os
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rich.table import Table

from bankclient import (
    BankClient,
    Examined,
    FileKind,
    NoFile,
    SealedFile,
    examine,
    fetch_sealed,
    yuan,
)
from ledger import SerialNumbers, connect
from service import telemetry
from service.serials import new_serial
from service.settings import Settings

ENCODING = "gb18030"

ASIDE = ".quarantined"
CONTRADICTIONS = ".contradictions"
RAW = ".gb18030"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of one kind of file, and what there is to say about it."""

    file: SealedFile | NoFile
    examined: Examined | None = None

    @property
    def found_rows(self) -> int:
        """Good and bad rows together."""
        return 0 if self.examined is None else self.examined.good_rows + self.examined.bad_rows

    @property
    def is_complete(self) -> bool:
        """Nothing is missing and no row contradicts another: every row was read, or there is no file."""
        if isinstance(self.file, NoFile) or self.examined is None:
            return True
        complete = self.file.stated_rows in (None, self.found_rows)
        return complete and not self.examined.bad_rows and not self.examined.contradictions_found


async def fetch(settings: Settings, day: date, kinds: Sequence[FileKind], out: Path) -> list[Fetched]:
    """Fetch and write the files of those kinds, one after the other. Raises BankError."""
    engine = connect(settings.database_url.get_secret_value(), 1)
    numbers = SerialNumbers(engine)

    async def serial() -> str:
        return await new_serial(settings.bank.uid, numbers)

    try:
        async with BankClient(
            settings.bank, query_serial=serial, around=telemetry.bank_call, measured=telemetry.http_request
        ) as bank:
            return [_write(await fetch_sealed(bank, kind, day), out) for kind in kinds]
    finally:
        await engine.dispose()


def _write(file: SealedFile | NoFile, out: Path) -> Fetched:
    if isinstance(file, NoFile):
        return Fetched(file)
    envelope = file.envelope()
    examined = examine(file.file_type, envelope.lines)
    out.mkdir(parents=True, exist_ok=True)
    _write_private(out / f"{file.name}{RAW}", envelope.chunks())
    decoder = getincrementaldecoder(ENCODING)(errors="backslashreplace")
    _write_private(out / file.name, (decoder.decode(chunk).encode() for chunk in envelope.chunks()))
    if examined.bad_rows:
        more = examined.bad_rows - len(examined.bad)
        lines = [f"line {row.line}: {row.reason}\n{row.text}\n" for row in examined.bad]
        _write_private(out / f"{file.name}{ASIDE}", _encoded(lines, more))
    if examined.contradictions_found:
        more = examined.contradictions_found - len(examined.contradictions)
        lines = [f"line {one.line} and line {one.earlier_line}: {one.reason}\n" for one in examined.contradictions]
        _write_private(out / f"{file.name}{CONTRADICTIONS}", _encoded(lines, more))
    return Fetched(file, examined)


def _encoded(lines: Sequence[str], more: int) -> Iterator[bytes]:
    yield from (line.encode() for line in lines)
    if more:
        yield f"and {more} more\n".encode()


def _write_private(path: Path, chunks: Iterable[bytes]) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.writelines(chunks)
    draft.replace(path)


def summary(day: date, fetched: Sequence[Fetched], out: Path) -> Table:
    """One row a kind of file: rows, quarantined rows, contradictions, how many the bank states, sums."""
    table = Table(title=f"{day}, written to {out}", title_justify="left")
    for name in ("type", "rows", "bad", "contradictions", "bank states", "amount", "fee", "file"):
        table.add_column(name, overflow="fold", justify="left" if name in ("type", "file") else "right")
    for one in fetched:
        file, found = one.file, one.examined
        if isinstance(file, NoFile) or found is None:
            table.add_row(file.file_type, "none")
            continue
        sums = (yuan(found.amount_fen), yuan(found.fee_fen)) if found.columns else ("", "")
        stated = "" if file.stated_rows is None else str(file.stated_rows)
        if file.stated_rows not in (None, one.found_rows):
            stated += f", not {one.found_rows}"
        counts = (str(found.good_rows), str(found.bad_rows), str(found.contradictions_found))
        table.add_row(file.file_type, *counts, stated, *sums, file.name)
    return table
