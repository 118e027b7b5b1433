"""The file of a copy: a stream that is compressed, cut into chunks, and sealed under a key where there is one.

A sealed copy is AES-256-GCM under a key of its own, made of a key of the seals and a salt in the file's head. The nonce
is the number of the chunk and whether it is the last, and the head is authenticated with each: no chunk can be changed,
moved, left out or cut off, and nobody without a key can make one. One chunk is in memory at a time, however long the
copy is; what is read of it is authentic, but whether it is whole is known at its end.

    head     "jzb copy 1\\n" | sealed (1) | salt (32)
    chunk    length (4) | last (1) | content, with a tag of 16 bytes where it is sealed
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.errors import LedgerError
from ledger.macs import KEY_BYTES, derived

MAGIC: Final = b"jzb copy 1\n"
SALT_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16
BLOCK_BYTES: Final = 1 << 16
"""Rows are handed on in pieces of about this size."""
LINE_BYTES_MAX: Final = 1 << 20


class CopyFailed(LedgerError):
    """A copy could not be made or restored; the message says why and what is left."""


class Sink:
    """Writes a copy; sealed under the first of the ``keys``, plain without any."""

    def __init__(self, file: IO[bytes], keys: Sequence[bytes]) -> None:
        salt = os.urandom(SALT_BYTES)
        self._file = file
        self._head = MAGIC + bytes([bool(keys)]) + salt
        self._cipher = _cipher(keys[0], salt) if keys else None
        self._compress = zlib.compressobj(1)
        self._waiting = bytearray()
        self._number = 0
        file.write(self._head)

    def line(self, value: Any) -> None:
        """Write a value as a line of JSON."""
        self.write(json.dumps(value).encode() + b"\n")

    def rows(self, pieces: Iterator[bytes | bytearray | memoryview]) -> None:
        """Write rows as they come, in blocks with their length before them; an empty one ends them."""
        block = bytearray()
        for piece in pieces:
            block += piece
            if len(block) >= BLOCK_BYTES:
                self.write(len(block).to_bytes(4) + block)
                block.clear()
        self.write((len(block).to_bytes(4) + block if block else b"") + bytes(4))

    def write(self, content: bytes | bytearray) -> None:
        """Write some bytes."""
        self._waiting += self._compress.compress(content)
        while len(self._waiting) > CHUNK_BYTES:
            self._chunk(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]

    def end(self) -> None:
        """Write the last chunk."""
        self._waiting += self._compress.flush()
        while len(self._waiting) > CHUNK_BYTES:
            self._chunk(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]
        self._chunk(bytes(self._waiting), is_last=True)

    def _chunk(self, content: bytes, *, is_last: bool) -> None:
        if self._cipher is not None:
            content = self._cipher.encrypt(_nonce(self._number, is_last=is_last), content, self._head)
        self._file.write(len(content).to_bytes(4) + bytes([is_last]) + content)
        self._number += 1


class Source:
    """Reads a copy. Raises `CopyFailed` for one that is none, is not whole, or was made under none of the ``keys``.

    With ``keys``, a copy that is not sealed is refused, unless its maker ``is_trusted``.
    """

    def __init__(self, file: IO[bytes], keys: Sequence[bytes], *, is_trusted: bool = False) -> None:
        head = file.read(len(MAGIC) + 1 + SALT_BYTES)
        if head.startswith(b"PGDMP"):
            raise CopyFailed(
                "this is a copy of an older release, made by pg_dump: it can hold programs and is not restored here."
                " Restore it with that release if you know who made it, then run `jzb migrate`"
            )
        if len(head) < len(MAGIC) + 1 + SALT_BYTES or not head.startswith(MAGIC) or head[len(MAGIC)] > 1:
            raise CopyFailed("this is no copy that `jzb backup` has made")
        is_sealed = bool(head[len(MAGIC)])
        if is_sealed and not keys:
            raise CopyFailed("the copy is sealed: set JZB_SEAL__KEYS to the keys of these books (var/seal.keys)")
        if keys and not is_sealed and not is_trusted:
            raise CopyFailed(
                "the copy is not sealed, so anybody may have made it: say --unsealed-copy if you know who did"
            )
        self._file = file
        self._head = head
        self._ciphers = [_cipher(key, head[-SALT_BYTES:]) for key in keys] if is_sealed else []
        self._decompress = zlib.decompressobj()
        self._waiting = bytearray()
        self._number = 0
        self._is_last = False

    def line(self) -> Any:
        """The next line of JSON."""
        while (end := self._waiting.find(b"\n")) < 0:
            if len(self._waiting) > LINE_BYTES_MAX or not self._more():
                raise CopyFailed("the copy is not whole: a line has no end")
        found = json.loads(self._waiting[:end])
        del self._waiting[: end + 1]
        return found

    def rows(self) -> Iterator[bytes]:
        """The blocks of rows that come next."""
        while size := int.from_bytes(self._read(4)):
            yield self._read(size)

    def require_end(self) -> None:
        """Raise `CopyFailed` where something follows, or the last chunk is missing."""
        if self._waiting or self._more():
            raise CopyFailed("the copy is not whole: something follows its end")

    def _read(self, size: int) -> bytes:
        while len(self._waiting) < size:
            if not self._more():
                raise CopyFailed("the copy is not whole: it ends early")
        found = bytes(self._waiting[:size])
        del self._waiting[:size]
        return found

    def _more(self) -> bool:
        """Take in some more; False at the end."""
        while True:
            content = self._decompress.unconsumed_tail
            if not content:
                if self._is_last:
                    return False
                content = self._chunk()
            try:
                # However much a chunk becomes, a bounded piece of it is in memory.
                found = self._decompress.decompress(content, CHUNK_BYTES)
            except zlib.error:
                raise CopyFailed("the copy cannot be read: it was changed or cut off") from None
            if found:
                self._waiting += found
                return True

    def _chunk(self) -> bytes:
        head = self._file.read(5)
        size = int.from_bytes(head[:4])
        if len(head) < 5 or size > CHUNK_BYTES + TAG_BYTES or head[4] > 1:
            raise CopyFailed("the copy cannot be read: it was changed or cut off")
        content = self._file.read(size)
        self._is_last = bool(head[4])
        if self._is_last and self._file.read(1):
            raise CopyFailed("the copy cannot be read: something follows its end")
        if self._ciphers:
            content = self._opened(content)
        elif len(content) < size:
            raise CopyFailed("the copy cannot be read: it was cut off")
        self._number += 1
        return content

    def _opened(self, content: bytes) -> bytes:
        nonce = _nonce(self._number, is_last=self._is_last)
        for cipher in list(self._ciphers):
            try:
                found = cipher.decrypt(nonce, content, self._head)
            except InvalidTag:
                continue
            self._ciphers = [cipher]
            return found
        raise CopyFailed("the copy was changed or cut off, or it was made under none of JZB_SEAL__KEYS")


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    """Under a key that no other copy has: a nonce is then never used twice."""
    own = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"jzb copy").derive(derived(key, "copy"))
    return AESGCM(own)


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11) + bytes([is_last])
