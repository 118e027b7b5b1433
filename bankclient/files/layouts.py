"""What the columns of each reconciliation file are, as data, and the reading of rows by it (transport.md 5.5).

Fields end with `&` and are not escaped, so a name with `&` in it shifts the row. Promises that a row is
read whole or put aside with its line number and the reason: no guessing, and one bad row never hides the
others. Kinds of file whose columns are not public are read as plain columns.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import Enum
from typing import Final

from bankclient.errors import FileAnswerUnclear
from bankclient.money import FEN_MAX, STATED_FEN_MAX, fen

SEPARATOR: Final = "&"


class Kind(Enum):
    """How a column is checked."""

    NUMBER = "number"
    TEXT = "text"
    NAME = "name"
    """Personal: an account's name."""
    AMOUNT = "amount"
    DAY = "day"
    TIME = "time"


@dataclass(frozen=True)
class Column:
    """One column and how it is checked."""

    name: str
    kind: Kind = Kind.TEXT


@dataclass(frozen=True)
class Layout:
    """The columns of one kind of file. `amount` and `fee` name the columns that are summed."""

    columns: tuple[Column, ...]
    amount: str
    fee: str | None = None


_NUMBER = Column("number", Kind.NUMBER)
_AMOUNT, _FEE = Column("amount", Kind.AMOUNT), Column("fee", Kind.AMOUNT)
_WHEN = (Column("day", Kind.DAY), Column("time", Kind.TIME))
_SERIALS = (Column("front_seq_no"), Column("serial"))
_OWNER = (Column("member_code"), Column("sub_account"))
_CASH_TAIL = (_AMOUNT, _FEE, *_WHEN, *_SERIALS, Column("remark"), Column("booking"), Column("order_no"))

_CASH = Layout((_NUMBER, *_OWNER, Column("sub_account_name", Kind.NAME), *_CASH_TAIL), "amount", "fee")
_CASH_WITHOUT_NAME = Layout((_NUMBER, *_OWNER, *_CASH_TAIL), "amount", "fee")
_PAYMENTS = Layout(
    (
        _NUMBER,
        Column("booking"),
        Column("payer_member_code"),
        Column("payer_sub_account"),
        Column("payer_name", Kind.NAME),
        Column("payee_member_code"),
        Column("payee_sub_account"),
        Column("payee_name", Kind.NAME),
        _AMOUNT,
        _FEE,
        *_WHEN,
        *_SERIALS,
        Column("remark"),
        Column("order_no"),
    ),
    "amount",
    "fee",
)
_BALANCES = Layout((_NUMBER, *_OWNER, _AMOUNT, Column("remark")), "amount")

LAYOUTS: Final[Mapping[str, tuple[Layout, ...]]] = {
    # 13 columns by samples of 2022; one client lists 12, without the name.
    "CZ": (_CASH, _CASH_WITHOUT_NAME),
    "TX": (_CASH, _CASH_WITHOUT_NAME),
    "JY": (_PAYMENTS,),
    "YE": (_BALANCES,),
}
"""By FileType. The other kinds (HY, JQ, POS, FZ, JG, GJ, GSLD, profit) have no public columns."""


@dataclass(frozen=True)
class FileRow:
    """One good row: its line in the file, from 1, and its fields as the bank wrote them."""

    line: int
    fields: Mapping[str, str]
    amount_fen: int = 0
    fee_fen: int = 0


@dataclass(frozen=True)
class BadRow:
    """One row put aside. `text` is the whole line, which may hold names."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class Rows:
    """All rows of a file. `columns` is the column count they were read by, 0 for plain columns."""

    good: tuple[FileRow, ...]
    bad: tuple[BadRow, ...]
    columns: int
    has_header: bool = False

    @property
    def amount_fen(self) -> int:
        """Sum of the amounts of the good rows."""
        return sum(row.amount_fen for row in self.good)

    @property
    def fee_fen(self) -> int:
        """Sum of the fees of the good rows."""
        return sum(row.fee_fen for row in self.good)


def read_rows(file_type: str, text: str) -> Rows:
    """Read the lines of a file of that type. Raises FileAnswerUnclear when the sums are absurd."""
    layouts = {len(layout.columns): layout for layout in LAYOUTS.get(file_type, ())}
    lines = list(_lines(text))
    has_header = bool(layouts and lines and _is_header(lines[0][1], layouts))
    if has_header:
        del lines[0]
    if not layouts:
        return _plain(lines)
    # One file has one layout: a row of another width has an `&` too many or too few.
    widths = Counter(line.count(SEPARATOR) for _, line in lines)
    width = max(layouts, key=lambda one: (widths[one], one))
    layout = layouts[width]
    good, bad = [], []
    for number, line in lines:
        try:
            good.append(_row(number, line, layout))
        except ValueError as error:
            bad.append(BadRow(number, str(error), line))
    rows = Rows(tuple(good), tuple(bad), width, has_header)
    if max(abs(rows.amount_fen), abs(rows.fee_fen)) > FEN_MAX:
        raise FileAnswerUnclear("the amounts of the file add up to more than there can be")
    return rows


def _is_header(line: str, layouts: Mapping[int, Layout]) -> bool:
    """Whether a first line names the columns. One in which an amount, day or time stands is a row, sound or not."""
    fields = line.split(SEPARATOR)
    if fields[0].strip().isdecimal():
        return False
    return not any(
        _is_of(column.kind, field)
        for layout in layouts.values()
        for column, field in zip(layout.columns, fields, strict=False)
        if column.kind in _CHECKS
    )


def _is_of(kind: Kind, field: str) -> bool:
    try:
        _CHECKS[kind](field)
    except ValueError:
        return False
    return True


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if line:
            yield number, line


def _fields(line: str) -> list[str]:
    if not line.endswith(SEPARATOR):
        raise ValueError("the line does not end with &")
    return line[:-1].split(SEPARATOR)


def _row(number: int, line: str, layout: Layout) -> FileRow:
    fields = _fields(line)
    if len(fields) != len(layout.columns):
        raise ValueError(f"{len(fields)} columns, not {len(layout.columns)}")
    named = {}
    for column, field in zip(layout.columns, fields, strict=True):
        if (check := _CHECKS.get(column.kind)) is not None:
            try:
                check(field)
            except ValueError:
                raise ValueError(f"{column.name} is no {column.kind.value}") from None
        named[column.name] = field
    return FileRow(number, named, fen(named[layout.amount]), fen(named[layout.fee]) if layout.fee else 0)


def _plain(lines: list[tuple[int, str]]) -> Rows:
    good, bad = [], []
    for number, line in lines:
        try:
            good.append(FileRow(number, {str(place): field for place, field in enumerate(_fields(line), start=1)}))
        except ValueError as error:
            bad.append(BadRow(number, str(error), line))
    return Rows(tuple(good), tuple(bad), 0)


def _is_number(field: str) -> None:
    if not (field.isascii() and field.isdigit()):
        raise ValueError


def _is_day(field: str) -> None:
    if len(field) != 8:
        raise ValueError
    _is_number(field)
    date(int(field[:4]), int(field[4:6]), int(field[6:]))


def _is_time(field: str) -> None:
    if len(field) != 6:
        raise ValueError
    _is_number(field)
    time(int(field[:2]), int(field[2:4]), int(field[4:]))


def _is_amount(field: str) -> None:
    if abs(fen(field)) > STATED_FEN_MAX:
        raise ValueError


_CHECKS: Final[Mapping[Kind, Callable[[str], object]]] = {
    Kind.NUMBER: _is_number,
    Kind.AMOUNT: _is_amount,
    Kind.DAY: _is_day,
    Kind.TIME: _is_time,
}
