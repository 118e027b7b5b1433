"""What the bank has signed, by its digest: what a change in the books rests on. Pure.

The digest is all that most code needs, so it is bytes like any other; the signed text goes with it, to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Self


class Evidence(bytes):
    """The digest of one signed answer, or of several; empty where the bank has signed nothing.

    Of one it is the SHA-256 over ``signed``: the string that the bank signed, then the signature in Base64. Of several
    it is the SHA-256 over the digests of ``parts``, one behind the other.
    """

    signed: bytes
    parts: tuple[Evidence, ...]

    def __new__(cls, digest: bytes = b"", signed: bytes = b"", parts: tuple[Evidence, ...] = ()) -> Self:
        """Take a digest, and what it is of."""
        one = super().__new__(cls, digest)
        one.signed, one.parts = signed, parts
        return one

    @classmethod
    def of(cls, canonical: bytes, signature: str) -> Self:
        """That of an answer whose signature has been verified."""
        signed = canonical + signature.encode("utf-8")
        return cls(sha256(signed).digest(), signed)

    @classmethod
    def of_all(cls, several: Iterable[Evidence]) -> Evidence:
        """That of several answers, each counted once: of a single one it is its own."""
        found = tuple(dict.fromkeys(filter(None, several)))
        if len(found) == 1:
            return found[0]
        return cls(sha256(b"".join(found)).digest(), parts=found) if found else cls()


NO_EVIDENCE = Evidence()


def signed_parts(signed: bytes) -> tuple[bytes, str]:
    """The string that the bank signed and its signature, out of `Evidence.signed`."""
    canonical, separator, signature = signed.rpartition(b"&")
    return canonical + separator, signature.decode("utf-8", "replace")
