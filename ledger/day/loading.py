"""The content of a file on its way into the database: one pass, in pieces, whatever its size.

A piece of whole lines is hashed, compressed and encrypted to be kept, decoded, and copied into one text column of a
temporary table, a row a line. Nothing here looks at a line by itself, but for what SQL cannot take: lines that are not
GB18030 or hold a NUL. Everything goes into temporary tables; `ledger.day.matching` makes lines of it in one
transaction, so that a file is there whole or not at all.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import psycopg

from ledger.answers import Encrypt
from ledger.day.errors import FileUnreadable
from ledger.day.sources import Source
from ledger.day.splitting import OTHERS, WIDTHS
from ledger.day.values import Reading

ENCODING: Final = "gb18030"
PIECE_BYTES: Final = 512 * 1024
"""How much is decoded at once: a few milliseconds of computing, between which the event loop has its turn."""
KEPT_BYTES: Final = 4 * 1024 * 1024
"""How much of a file is one piece of what is kept of it."""
LINE_BYTES_MAX: Final = 64 * 1024
LINES_MAX: Final = 2**31 - 1
OTHERS_AT_ONCE: Final = 1000


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
    odd: list[tuple[int, bytes]]
    """The lines that SQL cannot take: no GB18030, a NUL, or longer than any row."""


def stage(
    connection: psycopg.Connection[Any], source: Source, content: Iterable[bytes], reading: Reading, encrypt: Encrypt
) -> Staged:
    """Take a file into temporary tables of this connection. Raises `FileUnreadable`, and what ``content`` raises."""
    whole, size = sha256(), 0
    lines = _Lines(reading)
    for number, block in enumerate(_blocks(content)):
        whole.update(block)
        size += len(block)
        digest = sha256(block).digest()
        connection.execute(
            "INSERT INTO day_piece VALUES (%s, %s, %s, %s)",
            (number, digest, *encrypt(digest, zlib.compress(block, 1))),
        )
        with connection.cursor().copy("COPY day_staged (content) FROM STDIN") as copy:
            for begin in range(0, len(block), PIECE_BYTES):
                copy.write(lines.rows(block[begin : begin + PIECE_BYTES]))
    with connection.cursor().copy("COPY day_staged (content) FROM STDIN") as copy:
        copy.write(lines.last())
    return Staged(whole.digest(), size, _columns(connection, source, lines), lines.odd)


class _Lines:
    """Cuts a file into lines, and writes them as rows of COPY; ``odd`` are those that SQL cannot take, by number."""

    def __init__(self, reading: Reading) -> None:
        self.odd: list[tuple[int, bytes]] = []
        self._reading = reading
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

    def _written(self, text: bytes) -> bytes:
        first = self._count + 1
        self._count += text.count(b"\n")
        if self._count > LINES_MAX:
            raise FileUnreadable("the file has more lines than there can be")
        if self._is_begun and not self._is_too_long:
            try:
                plain = text.decode(ENCODING)
            except UnicodeDecodeError:
                plain = "\0"
            if "\0" not in plain:
                return _escaped(plain)
        return b"".join(self._one(number, line) for number, line in enumerate(text[:-1].split(b"\n"), start=first))

    def _one(self, number: int, line: bytes) -> bytes:
        """The row of one line: empty, so that the others keep their numbers, where SQL is not to see it."""
        if self._is_too_long:
            self._is_too_long, self._is_begun = False, True
            self.odd.append((number, b""))
            return b"\n"
        bare = line.removesuffix(b"\r")
        if bare and not self._is_begun:
            self._is_begun = True
            if self._reading.is_header(bare):
                return b"\n"
        try:
            text = line.decode(ENCODING)
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            self.odd.append((number, bare))
            return b"\n"
        return _escaped(text + "\n")


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


def _escaped(lines: str) -> bytes:
    """Lines as rows of COPY: a line's end may be CR LF, any other CR stands for itself."""
    text = lines.replace("\r\n", "\n").replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r")
    return text.encode("utf-8", "replace")


def _columns(connection: psycopg.Connection[Any], source: Source, lines: _Lines) -> int:
    """By how many columns a file is read: those that most of its lines have, whatever else is wrong with them."""
    known = [len(layout) for layout in source.layouts]
    if len(known) == 1:
        return known[0]
    widths = Counter(dict(connection.execute(WIDTHS).fetchall()))
    for _, line in lines.odd:
        widths[line.count(b"&")] += 1
    return max(known, key=lambda one: (widths[one], one))


def read_others(
    connection: psycopg.Connection[Any], columns: int, odd: Sequence[tuple[int, bytes]], reading: Reading
) -> int:
    """Have Python read what is not plain, one by one, into `day_read`; returns how many of those were repaired. In a
    transaction.
    """
    repaired = 0

    def keep(batch: Iterable[tuple[int, bytes, bytes]]) -> None:
        nonlocal repaired
        rows: list[tuple[int, bytes, list[str] | None, bool, str]] = []
        for line, text, digest in batch:
            fields = reading.fields(columns, text) if text else f"the line is longer than {LINE_BYTES_MAX} bytes"
            if isinstance(fields, str):
                rows.append((line, digest, None, False, fields))
                continue
            is_repaired = text.count(b"&") > columns
            repaired += is_repaired
            rows.append((line, digest, [one.replace("\0", "?") for one in fields], is_repaired, ""))
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO day_read VALUES (%s, %s, %s, %s, %s)", rows)

    keep((line, text, sha256(text).digest()) for line, text in odd)
    with connection.cursor("day_others") as others:
        others.execute(OTHERS, {"columns": columns})
        while found := others.fetchmany(OTHERS_AT_ONCE):
            keep((line, text.encode(ENCODING, "replace"), sha256(text.encode()).digest()) for line, text in found)
    return repaired
