"""From an encrypted file to its text: 3DES, a ZIP with one entry, GB18030 (transport.md 5.4).

Pure. Promises that what comes out was all there (block length, padding, the ZIP's own check) and is no
larger than allowed; the entry's path is never used. Each way of failing has an error of its own.
"""

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.padding import PKCS7

from bankclient.errors import (
    FileNotOneEntry,
    FilePasswordWrong,
    FileTextUnreadable,
    FileTooLarge,
    FileTruncated,
    FileZipDamaged,
)

KEY_BYTES: Final = 24
BLOCK_BYTES: Final = 8
VECTOR: Final = bytes(range(1, 9))
"""01 02 … 08; no source prints it, two prove it (transport.md 5.4)."""

ENCODING: Final = "gb18030"
ZIP_HEAD: Final = b"PK"


def open_envelope(content: bytes, random_password: str, text_bytes_max: int) -> str:
    """The text of a small file, strictly: one byte that does not belong is an error. Raises FileError's family."""
    return decode(b"".join(Envelope(content, random_password, text_bytes_max).chunks()))


CHUNK_BYTES: Final = 256 * 1024

LINE_BYTES_MAX: Final = 64 * 1024
"""No row is longer; what is longer is told as a row that cannot be read."""


class Envelope:
    """A decrypted file that is still packed: its lines can be read any number of times without unpacking it whole."""

    def __init__(self, content: bytes, random_password: str, text_bytes_max: int) -> None:
        """Decrypt. Raises the errors of FileError's family; `lines` raises those of what is inside."""
        self._packed = decrypt(content, random_password)
        self._text_bytes_max = text_bytes_max
        if not self._packed.startswith(ZIP_HEAD):
            # The MD5 was right, so the bytes are the bank's: another key makes such noise.
            raise FilePasswordWrong("what was decrypted is no ZIP")

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the one entry, bounded while they are read; the ZIP's own check has passed when they end."""
        try:
            with zipfile.ZipFile(io.BytesIO(self._packed)) as archive:
                entries = archive.infolist()
                if len(entries) != 1:
                    raise FileNotOneEntry(len(entries))
                with archive.open(entries[0]) as entry:
                    size, check = 0, 0
                    while chunk := entry.read(CHUNK_BYTES):
                        size += len(chunk)
                        if size > self._text_bytes_max:
                            raise FileTooLarge("unpacked", self._text_bytes_max)
                        check = zlib.crc32(chunk, check)
                        yield chunk
                    # The library leaves out the check of an entry that says of itself that it is empty.
                    if check != entries[0].CRC:
                        raise FileZipDamaged("CRC")
        except _DAMAGED as error:
            raise FileZipDamaged(type(error).__name__) from None

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that are not empty, with their numbers from 1. Split at LF before they are decoded: no character of
        GB18030 has that byte in it, so a byte that is none of GB18030 spoils its own line alone.
        """
        return split_lines(self.chunks())


def split_lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines without their ends, those that are not empty, with their numbers from 1. A line without an end in sight
    comes in parts that are no rows.
    """
    number, rest = 1, b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line := line.removesuffix(b"\r"):
                yield number, line
            number += 1
        if len(rest) > LINE_BYTES_MAX:
            yield number, rest
            rest = b""
    if rest := rest.removesuffix(b"\r"):
        yield number, rest


def decrypt(content: bytes, random_password: str) -> bytes:
    """Decrypt by the password that 6103 gave. Raises FilePasswordWrong or FileTruncated."""
    try:
        key = base64.b64decode(random_password, validate=True)
    except ValueError:
        raise FilePasswordWrong("RandomPassword is not Base64") from None
    if len(key) != KEY_BYTES:
        raise FilePasswordWrong(f"RandomPassword holds {len(key)} bytes, a 3DES key has {KEY_BYTES}")
    if not content or len(content) % BLOCK_BYTES:
        raise FileTruncated(len(content), None)
    decryptor = Cipher(TripleDES(key), modes.CBC(VECTOR)).decryptor()
    padded = decryptor.update(content) + decryptor.finalize()
    unpadder = PKCS7(BLOCK_BYTES * 8).unpadder()
    try:
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise FilePasswordWrong("what was decrypted does not end as it must") from None


_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    # A place before the beginning of the archive; a name that is no text.
    ValueError,
)


def decode(text: bytes) -> str:
    """The text, strictly: a byte that does not belong is an error that says where it is."""
    try:
        return text.decode(ENCODING)
    except UnicodeDecodeError as error:
        raise FileTextUnreadable(error.start, text.count(b"\n", 0, error.start) + 1) from None
