"""The bank's signed answers, kept so that a dispute with the bank can be won: encrypted, each once, never changed.

The journal has digests of them (`event.evidence`), which the seals cover; so an answer that is found by its digest is
the one that was there. What decided several operations, such as a page of a list, is one row. The ledger cannot read
what it keeps: whoever writes gives a function that encrypts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple, TypeAlias

DIGEST_BYTES = 32

Encrypt: TypeAlias = Callable[[bytes, bytes], tuple[str, bytes]]
"""Takes a digest and what it is of; returns the name of the key, and what can be read with that key alone."""


class Answer(NamedTuple):
    """One answer, or what several have in common: ``parts`` are their digests one behind the other."""

    digest: bytes
    signed: bytes
    parts: bytes


class KeptAnswer(NamedTuple):
    """A row of `bank_answer`; where it stands for several, ``parts`` are their digests and ``content`` is empty."""

    digest: bytes
    key_id: str
    content: bytes
    parts: tuple[bytes, ...]


class Decision(NamedTuple):
    """What was recorded of an operation by the bank's word: its event, the digest in it, and the answers behind that.

    ``missing`` are the digests of those that are not kept: what was recorded by 0.2.0 and before, or without a key.
    """

    at: datetime
    state: str
    bank_code: str
    digest: bytes
    answers: tuple[KeptAnswer, ...]
    missing: tuple[bytes, ...]


def answers_of(evidence: bytes) -> Iterator[Answer]:
    """What there is to be kept behind a digest: nothing, when it is no more than that.

    What it is of comes along with it: ``signed`` is a signed answer, ``parts`` are the digests of several.
    """
    # A protocol's isinstance takes longer than all the rest that is done with an answer.
    signed, parts = getattr(evidence, "signed", b""), getattr(evidence, "parts", ())
    for part in parts:
        yield from answers_of(part)
    if signed or parts:
        yield Answer(bytes(evidence), signed, b"".join(parts))


def digests_in(joined: bytes) -> tuple[bytes, ...]:
    """Digests that stand one behind the other."""
    return tuple(joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES))
