"""A bank day's reconciliation file, from the question (6103) to its rows (quick start 2.3).

Promises an answer in one of three states: the file, whole and still encrypted, no file because the day was
empty, or an error that says what is wrong and where. The companion `.ok` file states how many rows there are; its
absence is tolerated, a difference is told. Names and account numbers are in the rows: do not log them.
"""

import asyncio
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

from bankclient.errors import FileAnswerUnclear, FileQuestionRefused, FileUnavailable
from bankclient.files.envelope import open_envelope
from bankclient.files.reading import SealedFile
from bankclient.messages.files import FileKind, ReconciliationFile, ReconciliationFileReply, ReconciliationFileRow
from bankclient.outcome import Answer, AnswerOutcome

ENCRYPTED: Final = ".enc"
COMPANION: Final = ".ok.enc"
COMPANION_BYTES_MAX: Final = 1024 * 1024
NAME_LENGTH_MAX: Final = 200


@dataclass(frozen=True)
class NoFile:
    """The bank has no file of that type and day: nothing happened on it, or it is not made yet."""

    file_type: str
    day: date
    message: str
    """The bank's own words."""


class FileBank(Protocol):
    """What is needed of the bank's client."""

    @property
    def file_text_bytes_max(self) -> int:
        """The largest text that may be unpacked."""

    async def call(self, request: ReconciliationFile) -> Answer[ReconciliationFileReply]:
        """Ask 6103."""

    async def download(self, path: str, draw_code: str) -> bytes:
        """Fetch one encrypted file."""


async def fetch_sealed(bank: "FileBank", file_type: FileKind, day: date) -> SealedFile | NoFile:
    """Find and fetch the file of a past bank day, to be read as a stream (`opened`).

    Raises FileError's family, and BankUnavailable when there is no token.
    """
    answer = await bank.call(ReconciliationFile(FileType=file_type, FileDate=day))
    if answer.is_no_record:
        return NoFile(file_type, day, answer.message)
    if answer.outcome is AnswerOutcome.REFUSED:
        raise FileQuestionRefused(answer.code, answer.message)
    if answer.reply is None:
        raise FileUnavailable(f"6103 has no answer: {answer.detail}")
    listed = answer.reply.TranItemArray
    files = [row for row in listed if not row.FileName.endswith(COMPANION)]
    companions = [row for row in listed if row.FileName.endswith(COMPANION)]
    stated = await _stated_rows(bank, companions[0]) if companions else None
    if not files:
        if stated:
            raise FileAnswerUnclear(f"6103 lists no file, and its companion states {stated} rows")
        return NoFile(file_type, day, answer.message)
    if len(files) > 1:
        raise FileAnswerUnclear(f"6103 lists {len(files)} files for one type and day")
    (row,) = files
    return SealedFile(
        file_type,
        day,
        plain_name(row.FileName),
        await bank.download(remote_path(row), row.DrawCode),
        row.RandomPassword,
        bank.file_text_bytes_max,
        stated,
    )


def remote_path(row: ReconciliationFileRow) -> str:
    """Where the file lies: FilePath, with FileName behind it unless it ends in a file already.

    The quick start joins the two, others find the name in FilePath (transport.md 5.1).
    """
    last = row.FilePath.rsplit("/", 1)[-1]
    if last == row.FileName or last.endswith(ENCRYPTED):
        return row.FilePath
    return f"{row.FilePath.rstrip('/')}/{row.FileName}"


def plain_name(file_name: str) -> str:
    """A name that is safe to write under: the last part, without `.enc`, no longer than any file may be named."""
    last = file_name.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(ENCRYPTED)
    kept = "".join(character if character.isascii() and character.isalnum() else "_" for character in last)
    safe = "".join(old if old in "._-" else new for old, new in zip(last, kept, strict=True))
    return safe[-NAME_LENGTH_MAX:].lstrip(".") or "file"


async def _stated_rows(bank: "FileBank", row: ReconciliationFileRow) -> int | None:
    content = await bank.download(remote_path(row), row.DrawCode)
    text = await asyncio.to_thread(open_envelope, content, row.RandomPassword, COMPANION_BYTES_MAX)
    first = text.lstrip().split("\n", 1)[0].strip().rstrip("&")
    return int(first) if first.isascii() and first.isdigit() and len(first) <= 12 else None
