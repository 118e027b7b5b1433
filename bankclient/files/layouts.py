"""What the columns of each reconciliation file are, as data, and the reading of rows by it (transport.md 5.5).

Fields end with `&` and are not escaped, so a name or a remark with `&` in it shifts the row. Such a row is
read from both ends, up to where the columns that cannot hold an `&` (amounts, day, time, sub-accounts) fit in
one way and no other; where they fit in none or in several, and where a byte is not GB18030, the row is put
aside with its line number and the reason. One bad row never hides the others. Rows that come twice, and one
serial with two amounts, are told. Kinds of file whose columns are not public are read as plain columns.

A file is gone through three times, a line at a time, so that a million lines need no more room than one and
what is remembered of them: for its layout, for what there is to say about it (`examine`), and for its rows.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import Enum
from typing import Final

from bankclient.errors import FileAnswerUnclear
from bankclient.money import FEN_MAX, STATED_FEN_MAX, fen

SEPARATOR: Final = "&"
ENCODING: Final = "gb18030"

KEPT_MAX: Final = 10_000
"""So many bad rows, and so many contradictions, are kept; the others are counted."""

SUB_ACCOUNT_DIGITS: Final = 12
"""No sub-account number has fewer; 16 are usual (notes.md 2)."""

EXTRA_MAX: Final = 20
"""A row with more columns too many is put aside untried."""


class ColumnKind(Enum):
    """How a column is checked."""

    NUMBER = "number"
    TEXT = "text"
    NAME = "name"
    """Personal: an account's name."""
    SUB_ACCOUNT = "sub-account"
    """Checked only where a row has too many columns."""
    AMOUNT = "amount"
    DAY = "day"
    TIME = "time"


@dataclass(frozen=True)
class Column:
    """One column and how it is checked."""

    name: str
    kind: ColumnKind = ColumnKind.TEXT


@dataclass(frozen=True)
class Layout:
    """The columns of one kind of file. `amount` and `fee` name the columns that are summed."""

    columns: tuple[Column, ...]
    amount: str
    fee: str | None = None


_NUMBER = Column("number", ColumnKind.NUMBER)
_AMOUNT, _FEE = Column("amount", ColumnKind.AMOUNT), Column("fee", ColumnKind.AMOUNT)
_WHEN = (Column("day", ColumnKind.DAY), Column("time", ColumnKind.TIME))
_SERIALS = (Column("front_seq_no"), Column("serial"))
_OWNER = (Column("member_code"), Column("sub_account", ColumnKind.SUB_ACCOUNT))
_CASH_TAIL = (_AMOUNT, _FEE, *_WHEN, *_SERIALS, Column("remark"), Column("booking"), Column("order_no"))

_CASH = Layout((_NUMBER, *_OWNER, Column("sub_account_name", ColumnKind.NAME), *_CASH_TAIL), "amount", "fee")
_CASH_WITHOUT_NAME = Layout((_NUMBER, *_OWNER, *_CASH_TAIL), "amount", "fee")
_PAYMENTS = Layout(
    (
        _NUMBER,
        Column("booking"),
        Column("payer_member_code"),
        Column("payer_sub_account", ColumnKind.SUB_ACCOUNT),
        Column("payer_name", ColumnKind.NAME),
        Column("payee_member_code"),
        Column("payee_sub_account", ColumnKind.SUB_ACCOUNT),
        Column("payee_name", ColumnKind.NAME),
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
    """One good row: its line in the file, from 1, and its fields as the bank wrote them.

    ``is_repaired``: it had too many columns. What is certain then is what cannot hold an `&`; where names, the remark,
    the booking text and the order number begin and end is the likeliest reading.
    """

    line: int
    fields: Mapping[str, str]
    amount_fen: int = 0
    fee_fen: int = 0
    is_repaired: bool = False


@dataclass(frozen=True)
class BadRow:
    """One row put aside. `text` is the whole line, which may hold names; bytes that are not GB18030 are escaped."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class Contradiction:
    """Two rows that do not fit together, by their lines. Both are among the good ones, and in the sums."""

    line: int
    earlier_line: int
    reason: str


@dataclass(frozen=True)
class Examined:
    """What there is to say about a file, its good rows apart. `columns` is the column count they are read by, 0 for
    plain columns. Of bad rows and contradictions the first are kept, all are counted.
    """

    columns: int
    has_header: bool
    good_rows: int
    bad_rows: int
    bad: tuple[BadRow, ...]
    repaired_rows: int
    contradictions_found: int
    contradictions: tuple[Contradiction, ...]
    amount_fen: int
    """Sum of the amounts of the good rows."""
    fee_fen: int
    """Sum of the fees of the good rows."""


Lines = Callable[[], Iterable[tuple[int, bytes]]]
"""Gives the lines of a file from its beginning, each time it is called."""


def examine(file_type: str, lines: Lines) -> Examined:
    """Go through a whole file of that type. Raises FileAnswerUnclear when the sums are absurd."""
    width, has_header = _form(file_type, lines)
    bad: list[BadRow] = []
    good_count = bad_count = repaired = amount_fen = fee_fen = 0
    seen = _Seen()
    for one in _read(file_type, width, lines, has_header=has_header):
        if isinstance(one, BadRow):
            bad_count += 1
            if bad_count <= KEPT_MAX:
                bad.append(one)
            continue
        good_count += 1
        repaired += one.is_repaired
        amount_fen += one.amount_fen
        fee_fen += one.fee_fen
        if width:
            seen.add(one)
    if max(abs(amount_fen), abs(fee_fen)) > FEN_MAX:
        raise FileAnswerUnclear("the amounts of the file add up to more than there can be")
    return Examined(
        columns=width,
        has_header=has_header,
        good_rows=good_count,
        bad_rows=bad_count,
        bad=tuple(bad),
        repaired_rows=repaired,
        contradictions_found=seen.found,
        contradictions=tuple(seen.contradictions),
        amount_fen=amount_fen,
        fee_fen=fee_fen,
    )


def good_rows(file_type: str, lines: Lines, examined: Examined) -> Iterator[FileRow]:
    """The good rows of a file that was examined."""
    for one in _read(file_type, examined.columns, lines, has_header=examined.has_header):
        if isinstance(one, FileRow):
            yield one


class LineReader:
    """Reads single lines of a file of that type, for whoever reads the plain ones elsewhere, by the rules of here."""

    def __init__(self, file_type: str) -> None:
        self._layouts = _layouts(file_type)

    def is_header(self, line: bytes) -> bool:
        """Whether a first line names the columns."""
        return _is_header(line.decode(ENCODING, errors="replace"), self._layouts)

    def fields(self, columns: int, line: bytes) -> tuple[str, ...] | str:
        """The fields of a line by the layout of so many columns, or the reason for which there are none."""
        try:
            text = line.decode(ENCODING)
        except UnicodeDecodeError as error:
            return _not_gb18030(error)
        try:
            return tuple(_row(0, text, self._layouts[columns]).fields.values())
        except ValueError as error:
            return str(error)


class _Seen:
    """The good rows by their serial, as numbers: a million take a hundred megabytes."""

    def __init__(self) -> None:
        self.found = 0
        self.contradictions: list[Contradiction] = []
        self._first: dict[int, int] = {}
        self._lines, self._amounts, self._contents = array("q"), array("q"), array("q")

    def add(self, row: FileRow) -> None:
        """Take note of a row, and of what does not fit to an earlier one."""
        values = tuple(row.fields.values())
        content = hash(values[1:])
        # In a file of balances a sub-account comes once.
        name = "front_seq_no" if "front_seq_no" in row.fields else "sub_account"
        key = hash((name, row.fields[name]))
        place = self._first.setdefault(key, len(self._lines))
        if place < len(self._lines):
            if self._contents[place] == content:
                self._contradiction(row.line, place, "the row comes twice")
            elif self._amounts[place] != row.amount_fen:
                self._contradiction(row.line, place, f"one {name} has two amounts")
        self._lines.append(row.line)
        self._amounts.append(row.amount_fen)
        self._contents.append(content)

    def _contradiction(self, line: int, place: int, reason: str) -> None:
        self.found += 1
        if self.found <= KEPT_MAX:
            self.contradictions.append(Contradiction(line, self._lines[place], reason))


def _layouts(file_type: str) -> Mapping[int, Layout]:
    return {len(layout.columns): layout for layout in LAYOUTS.get(file_type, ())}


def _form(file_type: str, lines: Lines) -> tuple[int, bool]:
    """By how many columns a file is read, and whether its first line names them."""
    layouts = _layouts(file_type)
    if not layouts:
        return 0, False
    # One file has one layout: a row of another width has an `&` too many or too few.
    widths: Counter[int] = Counter()
    has_header = False
    for place, (_, line) in enumerate(lines()):
        if place == 0 and _is_header(line.decode(ENCODING, errors="replace"), layouts):
            has_header = True
            continue
        widths[line.count(b"&")] += 1
    return max(layouts, key=lambda one: (widths[one], one)), has_header


def _read(file_type: str, width: int, lines: Lines, *, has_header: bool) -> Iterator[FileRow | BadRow]:
    layout = _layouts(file_type).get(width)
    for place, (number, line) in enumerate(lines()):
        if place == 0 and has_header:
            continue
        try:
            text = line.decode(ENCODING)
        except UnicodeDecodeError as error:
            yield BadRow(number, _not_gb18030(error), line.decode(ENCODING, errors="backslashreplace"))
            continue
        try:
            yield _row(number, text, layout) if layout else _plain(number, text)
        except ValueError as error:
            yield BadRow(number, str(error), text)


def _not_gb18030(error: UnicodeDecodeError) -> str:
    return f"byte {error.start + 1} of the line is not GB18030"


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


def _is_of(kind: ColumnKind, field: str) -> bool:
    try:
        _CHECKS[kind](field)
    except ValueError:
        return False
    return True


def _fields(line: str) -> list[str]:
    if not line.endswith(SEPARATOR):
        raise ValueError("the line does not end with &")
    return line[:-1].split(SEPARATOR)


def _row(number: int, line: str, layout: Layout) -> FileRow:
    fields = _fields(line)
    extra = len(fields) - len(layout.columns)
    if extra > 0:
        fields = _repaired(fields, layout)
    elif extra < 0:
        raise ValueError(f"{len(fields)} columns, not {len(layout.columns)}")
    named = {}
    for column, field in zip(layout.columns, fields, strict=True):
        if (check := _CHECKS.get(column.kind)) is not None:
            try:
                check(field)
            except ValueError:
                raise ValueError(f"{column.name} is no {column.kind.value}") from None
        named[column.name] = field
    fee_fen = fen(named[layout.fee]) if layout.fee else 0
    return FileRow(number, named, fen(named[layout.amount]), fee_fen, is_repaired=extra > 0)


def _repaired(fields: list[str], layout: Layout) -> list[str]:
    """The columns of a row that has too many: the one way in which all fit that can hold no `&`. Raises ValueError."""
    columns = layout.columns
    extra = len(fields) - len(columns)
    wrong = f"{len(fields)} columns, not {len(columns)}"
    if extra > EXTRA_MAX:
        raise ValueError(wrong)
    elastic = [
        place for place, column in enumerate(columns) if column.kind is ColumnKind.NAME or column.name == "remark"
    ]
    ways = []
    for widths in _shares(extra, len(elastic)):
        taken = dict(zip(elastic, widths, strict=True))
        joined, at = [], 0
        for place in range(len(columns)):
            end = at + 1 + taken.get(place, 0)
            joined.append(SEPARATOR.join(fields[at:end]))
            at = end
        if all(_fits(column, field) for column, field in zip(columns, joined, strict=True)):
            ways.append(joined)
    if len(ways) != 1:
        raise ValueError(f"{wrong}, and can be read in several ways" if ways else wrong)
    return ways[0]


def _shares(extra: int, among: int) -> Iterator[tuple[int, ...]]:
    """Every way to share so many columns among so many."""
    if among == 1:
        yield (extra,)
        return
    for first in range(extra + 1):
        for others in _shares(extra - first, among - 1):
            yield (first, *others)


def _fits(column: Column, field: str) -> bool:
    if column.kind is ColumnKind.SUB_ACCOUNT:
        return len(field) >= SUB_ACCOUNT_DIGITS and field.isascii() and field.isdigit()
    return column.kind not in _CHECKS or _is_of(column.kind, field)


def _plain(number: int, line: str) -> FileRow:
    return FileRow(number, {str(place): field for place, field in enumerate(_fields(line), start=1)})


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


_CHECKS: Final[Mapping[ColumnKind, Callable[[str], object]]] = {
    ColumnKind.NUMBER: _is_number,
    ColumnKind.AMOUNT: _is_amount,
    ColumnKind.DAY: _is_day,
    ColumnKind.TIME: _is_time,
}
