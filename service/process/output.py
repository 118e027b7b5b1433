"""Tables in files for people and for programs: CSV and XLSX for Excel, JSON lines for programs.

Every format is written row by row, so that a million rows need no more memory than one. Amounts are yuan with two
decimals, made from whole fen; no float comes near them. A file appears under its name when it is complete, and its
owner alone may read it.

In CSV no text can act: what Excel would take for a formula gets an apostrophe in front. A number that Excel would round
(it keeps 15 digits, a serial has more) gets a tab behind it, as in the bills of Chinese payment channels, so that it
stays text. JSON lines have the values as they are.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Protocol, get_args

from bankclient import yuan

if TYPE_CHECKING:
    import xlsxwriter

Format = Literal["csv", "xlsx", "json"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

ACTING: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a formula begins with, in its full-width form as well."""

DIGITS_KEPT: Final = 11
"""Longer numbers Excel shows in powers of ten, from 16 digits on with the last ones lost."""

SHEET_ROWS_MAX: Final = 1_048_576
"""What a sheet of Excel holds, the header with it."""

SHEET_FEN_MAX: Final = 10**15 - 1
"""The largest amount that a cell of Excel holds exactly; what is larger is written as text."""

YUAN_SHOWN: Final = "#,##0.00"


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Amounts are ints in fen, and shown in yuan; all else is text, or a whole number."""

    name: str
    is_amount: bool = False


Value = str | int | None


@dataclass(frozen=True, slots=True)
class Table:
    """What a table is called, and its columns."""

    name: str
    columns: tuple[Column, ...]


class Rows(Protocol):
    """A table that is being written."""

    def add(self, values: Sequence[Value]) -> None:
        """Write one row, a value for each column. None is an empty cell."""


class Book(Protocol):
    """The files of one run, and where they are when all is written."""

    paths: list[Path]

    def begin(self, table: Table) -> Rows:
        """Begin a table, after the one before it has all its rows."""


@contextmanager
def written(folder: Path, name: str, wanted: Format) -> Iterator[Book]:
    """Tables for the life of the block: each in a file `name-table.csv`, or all in one workbook `name.xlsx`.

    Nothing is left under these names by a block that fails. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drafts = _Drafts(folder)
    try:
        if wanted == "xlsx":
            with drafts.new(f"{name}.xlsx") as stream, _workbook(stream, drafts.paths) as book:
                yield book
        else:
            suffix, rows = ("csv", _Csv) if wanted == "csv" else ("jsonl", _JsonLines)
            with _FilesEach(lambda table: drafts.new(f"{name}-{table}.{suffix}"), rows, drafts.paths) as book:
                yield book
        drafts.keep()
    finally:
        drafts.drop()


class _Drafts:
    """Files under other names until all of them are complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.paths: list[Path] = []

    def new(self, name: str) -> BinaryIO:
        self.paths.append(self._folder / name)
        draft = _draft_of(self._folder / name)
        draft.unlink(missing_ok=True)
        return os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")

    def keep(self) -> None:
        for path in self.paths:
            _draft_of(path).replace(path)

    def drop(self) -> None:
        for path in self.paths:
            _draft_of(path).unlink(missing_ok=True)


def _draft_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


class _FilesEach:
    """A file for each table."""

    def __init__(
        self, new: Callable[[str], BinaryIO], rows: Callable[[TextIOWrapper, Table], Rows], paths: list[Path]
    ) -> None:
        self.paths = paths
        self._new = new
        self._rows = rows
        self._open: TextIOWrapper | None = None

    def __enter__(self) -> _FilesEach:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.close()

    def begin(self, table: Table) -> Rows:
        if self._open is not None:
            self._open.close()
        self._open = TextIOWrapper(self._new(table.name), "utf-8", newline="")
        return self._rows(self._open, table)


class _Csv:
    def __init__(self, stream: TextIOWrapper, table: Table) -> None:
        # Without it Excel in China reads UTF-8 as GBK.
        stream.write("\N{BYTE ORDER MARK}")
        self._columns = table.columns
        self._writer = csv.writer(stream)
        self._writer.writerow([column.name for column in table.columns])

    def add(self, values: Sequence[Value]) -> None:
        cells = zip(self._columns, values, strict=True)
        self._writer.writerow([csv_cell(value, is_amount=column.is_amount) for column, value in cells])


def csv_cell(value: Value, *, is_amount: bool = False) -> str:
    """A value as Excel shows it and does nothing with it."""
    if value is None:
        return ""
    if isinstance(value, int):
        return yuan(value) if is_amount else str(value)
    if value.startswith(ACTING):
        return f"'{value}"
    if len(value) > DIGITS_KEPT and value.isascii() and value.isdigit():
        return f"{value}\t"
    return value


class _JsonLines:
    def __init__(self, stream: TextIOWrapper, table: Table) -> None:
        self._stream = stream
        self._columns = table.columns

    def add(self, values: Sequence[Value]) -> None:
        row: Mapping[str, Value] = {
            column.name: yuan(value) if column.is_amount and isinstance(value, int) else value
            for column, value in zip(self._columns, values, strict=True)
        }
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")


class _Sheets:
    """The tables of one workbook; a table that is too long for a sheet goes on in another."""

    def __init__(self, workbook: xlsxwriter.Workbook, paths: list[Path]) -> None:
        self.paths = paths
        self._workbook = workbook
        self._head = workbook.add_format({"bold": True})
        self._yuan = workbook.add_format({"num_format": YUAN_SHOWN})

    def begin(self, table: Table) -> Rows:
        return _Sheet(self, table)

    def sheet(self, table: Table, number: int) -> xlsxwriter.worksheet.Worksheet:
        sheet = self._workbook.add_worksheet(table.name if number == 1 else f"{table.name} {number}")
        sheet.freeze_panes(1, 0)
        for place, column in enumerate(table.columns):
            sheet.set_column(place, place, 18, self._yuan if column.is_amount else None)
            sheet.write_string(0, place, column.name, self._head)
        return sheet

    @property
    def yuan(self) -> xlsxwriter.format.Format:
        return self._yuan


class _Sheet:
    def __init__(self, sheets: _Sheets, table: Table) -> None:
        self._sheets = sheets
        self._table = table
        self._number = 1
        self._row = 1
        self._sheet = sheets.sheet(table, 1)

    def add(self, values: Sequence[Value]) -> None:
        if self._row == SHEET_ROWS_MAX:
            self._number += 1
            self._row = 1
            self._sheet = self._sheets.sheet(self._table, self._number)
        for place, (column, value) in enumerate(zip(self._table.columns, values, strict=True)):
            if value is None or value == "":
                continue
            if isinstance(value, str):
                # Never `write`, which makes formulas and links of texts.
                self._sheet.write_string(self._row, place, value)
            elif not column.is_amount:
                self._sheet.write_number(self._row, place, value)
            elif abs(value) > SHEET_FEN_MAX:
                self._sheet.write_string(self._row, place, yuan(value))
            else:
                # A decimal is written with all its digits.
                self._sheet.write_number(self._row, place, Decimal(yuan(value)), self._sheets.yuan)
        self._row += 1


@contextmanager
def _workbook(stream: BinaryIO, paths: list[Path]) -> Iterator[_Sheets]:
    # Only who writes a workbook waits for it.
    import xlsxwriter

    with xlsxwriter.Workbook(stream, {"constant_memory": True, "strings_to_urls": False}) as workbook:
        yield _Sheets(workbook, paths)
