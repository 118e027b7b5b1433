"""A fetched file, read as a stream: what there is to say about it first, its good rows behind that.

A large file is read in a process of its own (`python -m bankclient.files`), a small one in a thread: a million
rows take a minute of computing, which the event loop must not lose. The process gets the encrypted file on its standard
input and writes pickled messages to its standard output; it waits for a slow reader, so no more than a few rows are on
their way. It writes nothing to disk. Promises that no row comes before the whole file has been gone through.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import struct
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any, BinaryIO, Final

from bankclient.errors import FileError, FileUnavailable
from bankclient.files.envelope import Envelope
from bankclient.files.layouts import Examined, FileRow, examine, good_rows

SMALL_BYTES: Final = 256 * 1024
"""An encrypted file up to this size, some ten thousand rows, is read in a thread."""

BATCH_ROWS: Final = 100
"""Rows in one message: unpacking them costs the event loop less than a millisecond."""

NICE: Final = 10
"""How far the process stands back for the service's own."""

_LENGTH: Final = struct.Struct(">Q")


@dataclass(frozen=True)
class SealedFile:
    """One file as it was fetched, still encrypted. `stated_rows` is the count of the `.ok` file, None without one."""

    file_type: str
    day: date
    name: str
    """The file's name at the bank without `.enc`: letters, digits, dots, dashes and underscores."""
    content: bytes
    random_password: str
    text_bytes_max: int
    stated_rows: int | None

    def __repr__(self) -> str:
        return f"SealedFile({self.name})"

    def envelope(self) -> Envelope:
        """The decrypted file. Raises FileError's family."""
        return Envelope(self.content, self.random_password, self.text_bytes_max)


@dataclass(frozen=True)
class OpenFile:
    """A file that was gone through. `batches` gives its good rows once."""

    sealed: SealedFile
    examined: Examined
    batches: AsyncIterator[tuple[FileRow, ...]]

    @property
    def found_rows(self) -> int:
        """Good and bad rows together."""
        return self.examined.good_rows + self.examined.bad_rows

    @property
    def is_complete(self) -> bool:
        """Every row could be read, none comes twice, and there are as many as the bank says."""
        examined = self.examined
        complete = self.sealed.stated_rows in (None, self.found_rows)
        return complete and not examined.bad_rows and not examined.contradictions_found


Message = Examined | tuple[FileRow, ...] | FileError
"""What comes of a file: what there is to say about it, then batches of rows; or its error."""


def read(sealed: SealedFile) -> Iterator[Examined | tuple[FileRow, ...]]:
    """What there is to say about a file, then its good rows in batches. Raises FileError's family."""
    envelope = sealed.envelope()
    examined = examine(sealed.file_type, envelope.lines)
    yield examined
    rows = good_rows(sealed.file_type, envelope.lines, examined)
    while batch := tuple(islice(rows, BATCH_ROWS)):
        yield batch


@asynccontextmanager
async def opened(sealed: SealedFile) -> AsyncIterator[OpenFile]:
    """The file, gone through; its rows can be had within the block. Raises FileError's family."""
    messages = _in_thread(sealed) if len(sealed.content) <= SMALL_BYTES else _in_process(sealed)
    try:
        examined: Any = await anext(messages)
        yield OpenFile(sealed, examined, messages)
    finally:
        await messages.aclose()


async def _in_thread(sealed: SealedFile) -> AsyncGenerator[Any]:
    messages = read(sealed)
    while (message := await asyncio.to_thread(next, messages, None)) is not None:
        yield message


async def _in_process(sealed: SealedFile) -> AsyncGenerator[Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bankclient.files"),
        # Nothing else of ours: the environment of a service holds keys and passwords.
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.environ.get("PATH", os.defpath)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is the service's own to deal with.
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(pickle.dumps(sealed))
        process.stdin.close()
        while True:
            (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
            if not length:
                return
            message: Message = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - of our own making
            if isinstance(message, FileError):
                raise message
            yield message
    except (asyncio.IncompleteReadError, ConnectionError):
        raise FileUnavailable("the process that reads the file has ended before the file") from None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def serve(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """The process: one file in, messages out, an empty one at the end."""

    def send(message: Message) -> None:
        packed = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        stdout.write(_LENGTH.pack(len(packed)) + packed)
        stdout.flush()

    sealed: SealedFile = pickle.loads(stdin.read())  # noqa: S301 - of the service's own making
    try:
        for message in read(sealed):
            send(message)
    except FileError as error:
        send(error)
    except BrokenPipeError:
        return
    stdout.write(_LENGTH.pack(0))
    stdout.flush()
