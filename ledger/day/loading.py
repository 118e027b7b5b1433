"""The content of a file on its way into the database: one pass, in pieces, whatever its size.

A piece of whole lines is hashed, compressed and encrypted to be kept, decoded, and copied into a temporary table: COPY
cuts the lines into fields. It would give up at a line with another number of them, so they are counted before; such a
line, and one that is not GB18030 or holds a NUL, is read by itself (`ledger.day.values.Reading`). Everything goes into
temporary tables; `ledger.day.matching` makes lines of it in one transaction, so that a file is there whole or not at
all.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, LiteralString

import psycopg

from ledger.answers import Encrypt
from ledger.day.errors import FileUnreadable
from ledger.day.sources import Source
from ledger.day.splitting import names, staging
from ledger.day.values import Content, Reading

ENCODING: Final = "gb18030"
PIECE_BYTES: Final = 512 * 1024
"""How much is decoded at once: a few milliseconds of computing, between which the event loop has its turn."""
KEPT_BYTES: Final = 4 * 1024 * 1024
"""How much of a file is one piece of what is kept of it."""
LINE_BYTES_MAX: Final = 64 * 1024
LINES_MAX: Final = 2**31 - 1


class NoReading:
    """Of a list, which is written by ourselves: it has no header, and every line is plain."""

    def is_header(self, line: bytes) -> bool:
        """No list has one."""
        return False

    def fields(self, columns: int, line: bytes) -> tuple[str, ...] | str:
        """Nothing is repaired."""
        try:
            text = line.decode(ENCODING)
        except UnicodeDecodeError as error:
            return f"byte {error.start + 1} of the line is not GB18030"
        if not text.endswith("&"):
            return "the line does not end with &"
        found = tuple(text[:-1].split("&"))
        return found if len(found) == columns else f"{len(found)} columns, not {columns}"


@dataclass(slots=True)
class Staged:
    """What is in the temporary tables. ``columns`` is by how many columns the file is read."""

    sha256: bytes
    size: int
    columns: int
    repaired: int
    """So many lines with a field too many were read all the same."""


def stage(
    connection: psycopg.Connection[Any], source: Source, content: Content, reading: Reading, encrypt: Encrypt
) -> Staged:
    """Take a file into temporary tables of this connection. Raises `FileUnreadable`, and what ``content`` raises.

    It is read by as many columns as most of its lines have, whatever else is wrong with them. Its beginning is the
    measure; where the rest of the file is otherwise, it is taken once more.
    """
    known = [len(layout) for layout in source.layouts]
    columns = known[0]
    if len(known) > 1:
        beginning = next(_blocks(content()), b"")
        columns = _most(known, Counter(line.count(b"&") for line in beginning.split(b"\n")))
    staged, widths = _staged(connection, columns, content, reading, encrypt)
    if (better := _most(known, widths)) != columns:
        staged, _ = _staged(connection, better, content, reading, encrypt)
    return staged


def _most(known: list[int], widths: Counter[int]) -> int:
    return max(known, key=lambda one: (widths[one], one))


def _staged(
    connection: psycopg.Connection[Any], columns: int, content: Content, reading: Reading, encrypt: Encrypt
) -> tuple[Staged, Counter[int]]:
    connection.execute(staging(columns))
    copied: LiteralString = f"COPY day_staged ({names(columns)}, rest) FROM STDIN (DELIMITER '&')"
    read: LiteralString = f"COPY day_read (line, digest, is_repaired, fault, {names(columns)}) FROM STDIN"
    whole, size, repaired = sha256(), 0, 0
    lines = _Lines(columns, reading)

    def keep_others() -> None:
        nonlocal repaired
        with connection.cursor().copy(read) as copy:
            for row in lines.others():
                repaired += row[2]
                copy.write_row(row)

    with ThreadPoolExecutor(1) as beside:
        for number, block in enumerate(_blocks(content())):
            kept = beside.submit(_kept, number, block, encrypt)
            whole.update(block)
            size += len(block)
            with connection.cursor().copy(copied) as copy:
                for begin in range(0, len(block), PIECE_BYTES):
                    copy.write(lines.rows(block[begin : begin + PIECE_BYTES]))
            keep_others()
            connection.execute("INSERT INTO day_piece VALUES (%s, %s, %s, %s)", kept.result())
    with connection.cursor().copy(copied) as copy:
        copy.write(lines.last())
    keep_others()
    return Staged(whole.digest(), size, columns, repaired), lines.widths


def _kept(number: int, block: bytes, encrypt: Encrypt) -> tuple[Any, ...]:
    digest = sha256(block).digest()
    return number, digest, *encrypt(digest, zlib.compress(block, 1))


class _Lines:
    """Cuts a file into lines, and writes them as rows of COPY; those that COPY cannot cut are put aside."""

    def __init__(self, columns: int, reading: Reading) -> None:
        self.widths: Counter[int] = Counter()
        """How many lines have so many columns."""
        self._columns = columns
        self._reading = reading
        self._none = b"\\N" + b"&" * columns + b"\n"
        self._odd: list[tuple[int, bytes]] = []
        self._rest = b""
        self._is_too_long = False
        self._count = 0
        self._is_begun = False

    def rows(self, piece: bytes) -> bytes:
        """The rows of the lines that end in this piece."""
        text, end, rest = (self._rest + piece).rpartition(b"\n")
        self._rest = rest
        rows = self._written(text + end) if end else b""
        if len(self._rest) > LINE_BYTES_MAX:
            # No row is that long: what there is of it says so, once, when its end is found.
            self._rest, self._is_too_long = b"", True
        return rows

    def last(self) -> bytes:
        """The row of a last line without an end."""
        return self._written(self._rest + b"\n") if self._rest or self._is_too_long else b""

    def others(self) -> Iterator[tuple[Any, ...]]:
        """Rows of `day_read` for what was put aside since."""
        for number, line in self._odd:
            fields = self._reading.fields(self._columns, line) if line else _TOO_LONG
            is_read = not isinstance(fields, str)
            yield (
                number,
                _digest(line),
                is_read and line.count(b"&") > self._columns,
                "" if is_read else fields,
                *([one.replace("\0", "?") for one in fields] if is_read else [None] * self._columns),
            )
        self._odd.clear()

    def _written(self, text: bytes) -> bytes:
        text = text.replace(b"\r\n", b"\n")
        lines = text.split(b"\n")
        lines.pop()
        first = self._count + 1
        self._count += len(lines)
        if self._count > LINES_MAX:
            raise FileUnreadable("the file has more lines than there can be")
        if self._is_begun and not self._is_too_long and text.count(b"&\n") == len(lines) and b"\0" not in text:
            widths = Counter(line.count(b"&") for line in lines)
            if widths.keys() == {self._columns}:
                with suppress(UnicodeDecodeError):
                    rows = _escaped(text)
                    self.widths += widths
                    return rows
        return b"".join(self._one(number, line) for number, line in enumerate(lines, start=first))

    def _one(self, number: int, line: bytes) -> bytes:
        """The row of one line, or one that only has its number."""
        if self._is_too_long:
            self._is_too_long, self._is_begun = False, True
            self._odd.append((number, b""))
            return self._none
        if line and not self._is_begun:
            self._is_begun = True
            if self._reading.is_header(line):
                return self._none
        if not line:
            return self._none
        width = line.count(b"&")
        self.widths[width] += 1
        if width == self._columns and line.endswith(b"&") and b"\0" not in line:
            with suppress(UnicodeDecodeError):
                return _escaped(line + b"\n")
        self._odd.append((number, line))
        return self._none


_TOO_LONG: Final = f"the line is longer than {LINE_BYTES_MAX} bytes"


def _digest(line: bytes) -> bytes:
    """As of a line that COPY has cut: of its text in UTF-8, where it is text at all."""
    with suppress(UnicodeDecodeError):
        if b"\0" not in line:
            line = line.decode(ENCODING).encode("utf-8", "replace")
    return sha256(line).digest()


def _blocks(content: Iterable[bytes]) -> Iterator[bytes]:
    """The content in blocks of what is kept as one piece."""
    held: list[bytes] = []
    size = 0
    for chunk in content:
        held.append(chunk)
        size += len(chunk)
        if size >= KEPT_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _escaped(lines: bytes) -> bytes:
    """Lines as rows of COPY, whose fields end with `&`: what is after the last one is nothing."""
    text = lines.decode(ENCODING).encode("utf-8", "replace")
    return text.replace(b"\\", b"\\\\").replace(b"\r", b"\\r")
