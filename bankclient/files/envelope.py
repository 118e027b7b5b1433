"""From an encrypted file to its text: 3DES, a ZIP with one entry, GB18030 (transport.md 5.4).

Pure. Promises that what comes out was all there (block length, padding, the ZIP's own check) and is no
larger than allowed; the entry's path is never used. Each way of failing has an error of its own.
"""

import base64
import io
import struct
import zipfile
import zlib
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
    """The text in an encrypted file. Raises the errors of FileError's family."""
    packed = decrypt(content, random_password)
    if not packed.startswith(ZIP_HEAD):
        # The MD5 was right, so the bytes are the bank's: another key makes such noise.
        raise FilePasswordWrong("what was decrypted is no ZIP")
    return decode(unzip(packed, text_bytes_max))


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


def unzip(packed: bytes, text_bytes_max: int) -> bytes:
    """The one entry of a ZIP, bounded while it is read and not by what it says of itself."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            entries = archive.infolist()
            if len(entries) != 1:
                raise FileNotOneEntry(len(entries))
            with archive.open(entries[0]) as entry:
                text = entry.read(text_bytes_max + 1)
                if len(text) > text_bytes_max:
                    raise FileTooLarge("unpacked", text_bytes_max)
                # The library leaves out the check of an entry that says of itself that it is empty.
                if zlib.crc32(text) != entries[0].CRC:
                    raise FileZipDamaged("CRC")
                return text
    except _DAMAGED as error:
        raise FileZipDamaged(type(error).__name__) from None


def decode(text: bytes) -> str:
    """The text, strictly: a byte that does not belong is an error that says where it is."""
    try:
        return text.decode(ENCODING)
    except UnicodeDecodeError as error:
        raise FileTextUnreadable(error.start, text.count(b"\n", 0, error.start) + 1) from None
