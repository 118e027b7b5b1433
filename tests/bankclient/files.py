"""Reconciliation files as the bank makes them: a row of each layout, packed and encrypted; a small one read whole."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from bankclient import BadRow, BankClient, Examined, FileKind, FileRow, NoFile, examine, fetch_sealed, opened
from bankclient.files.envelope import split_lines
from bankclient.files.layouts import ENCODING, good_rows

PASSWORD = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u"

CZ = (
    "1&m1&9930000000001000&某某公司&300.00&1.50&20221004&192842&2210044990000001&X285502210040000000001&"
    "服务费&绑卡匹配入金&&"
)

CZ_WITHOUT_NAME = (
    "2&m1&9930000000001000&300.0&0.00&20221004&192842&2210044990000001&X285502210040000000001&服务费&绑卡匹配入金&&"
)

JY = (
    "5&确认付款&m1&9930000000001178&甲&m2&9930000000001068&乙&1.00&0.01&20221004&000004&2210044940000003&"
    "X285502210041424305561&&427191900000000513&"
)

YE = "1&m1&9930000000001000&12.30&&"


def sealed(content: bytes, password: str = PASSWORD) -> bytes:
    """Encrypted as the bank does it, written apart from the code under test."""
    fill = 8 - len(content) % 8
    cipher = Cipher(TripleDES(base64.b64decode(password)), modes.CBC(bytes.fromhex("0102030405060708"))).encryptor()
    return cipher.update(content + bytes([fill]) * fill) + cipher.finalize()


def zipped(*texts: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, text in enumerate(texts):
            archive.writestr(f"{number}.txt", text)
    return packed.getvalue()


@dataclass(frozen=True)
class Rows:
    """All rows of a small file at once."""

    good: tuple[FileRow, ...]
    examined: Examined

    @property
    def bad(self) -> tuple[BadRow, ...]:
        """The rows put aside."""
        return self.examined.bad

    @property
    def columns(self) -> int:
        """The column count they were read by, 0 for plain columns."""
        return self.examined.columns

    @property
    def has_header(self) -> bool:
        """Whether the first line names the columns."""
        return self.examined.has_header

    @property
    def amount_fen(self) -> int:
        """Sum of the amounts of the good rows."""
        return self.examined.amount_fen

    @property
    def fee_fen(self) -> int:
        """Sum of the fees of the good rows."""
        return self.examined.fee_fen


def read_rows(file_type: str, text: str) -> Rows:
    """Read the lines of a small file of that type. Raises FileAnswerUnclear when the sums are absurd."""

    def lines() -> Iterable[tuple[int, bytes]]:
        return split_lines([text.encode(ENCODING)])

    examined = examine(file_type, lines)
    return Rows(tuple(good_rows(file_type, lines, examined)), examined)


@dataclass(frozen=True)
class DayFile:
    """A small file, read whole. `stated_rows` is the count of the `.ok` file, None when there was none."""

    file_type: str
    day: date
    name: str
    rows: Rows
    stated_rows: int | None
    is_complete: bool

    @property
    def found_rows(self) -> int:
        """Good and bad rows together."""
        return len(self.rows.good) + self.rows.examined.bad_rows


async def fetch_file(bank: BankClient, file_type: FileKind, day: date) -> DayFile | NoFile:
    """Find, fetch and read the file of a past bank day, all rows at once: for a day known to be small.

    Raises FileError's family, and BankUnavailable when there is no token.
    """
    sealed = await fetch_sealed(bank, file_type, day)
    if isinstance(sealed, NoFile):
        return sealed
    async with opened(sealed) as file:
        good = [row async for batch in file.batches for row in batch]
        rows = Rows(tuple(good), file.examined)
        return DayFile(file_type, day, sealed.name, rows, sealed.stated_rows, file.is_complete)
