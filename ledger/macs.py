"""MACs under keys that the database does not have: over what an operation is opened with, over each seal, over which
sub-account a member has.

A seal shows that something was changed; whoever can write to the database can compute a new one. So this process puts
HMAC-SHA256 over each opening and over each seal, and carries on only what has it (docs/seals.md). Of the keys the first
makes; the others check what was made before they were replaced. Pure: no database in here, and no key in an error.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.operations import Member, Operation
from ledger.seals import Seal

KEY_BYTES = 32
BLOCK_BYTES = 64

MILESTONE = 1000
"""So many batches at most lie between two seals with a MAC under a key that counts: a rotation puts some in between."""


class SealKeys:
    """The keys of one platform's books; at least one, of 32 bytes each."""

    def __init__(self, platform: str, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"at least one key of {KEY_BYTES} bytes is needed")
        self.platform = platform
        self._openings = [_Mac(derived(key, f"opening {platform}")) for key in keys]
        self._seals = [_Mac(derived(key, f"seal {platform}")) for key in keys]
        self._members = [_Mac(derived(key, f"member {platform}")) for key in keys]
        self._entries = [_Mac(derived(key, f"audit {platform}")) for key in keys]

    def of_opening(self, operation: Operation) -> bytes:
        """The MAC over what an operation was opened with: all that a caller asked for, its serial and its plan."""
        return self._openings[0].over(_opening(operation))

    def of_seal(self, seal: Seal) -> bytes:
        """The MAC over a seal, and thereby over all that was sealed before."""
        return self._seals[0].over(_seal(seal))

    def of_member(self, member: Member) -> bytes:
        """The MAC over which sub-account a member has, of which kind, and whether it is open."""
        return self._members[0].over(_member(member))

    def recorded(self, member: Member, *, newest: bool = False) -> bool:
        """Whether the member's MAC is a right one, under any key; or under the ``newest`` alone."""
        return _is_among(self._members[:1] if newest else self._members, _member(member), [member.mac])

    def of_entry(self, number: int, digest: bytes) -> bytes:
        """The MAC over an entry of the audit trail by its digest, and thereby over all entries before."""
        return self._entries[0].over(number.to_bytes(8) + digest)

    def entered(self, number: int, digest: bytes, macs: Iterable[bytes], *, newest: bool = False) -> bool:
        """Whether one of the MACs is that of this entry, under any key; or under the ``newest`` alone."""
        return _is_among(self._entries[:1] if newest else self._entries, number.to_bytes(8) + digest, macs)

    def opened(self, operation: Operation, macs: Iterable[bytes], *, newest: bool = False) -> bool:
        """Whether one of the MACs is that of this opening, under any key; or under the ``newest`` alone."""
        return _is_among(self._openings[:1] if newest else self._openings, _opening(operation), macs)

    def sealed(self, seal: Seal, macs: Iterable[bytes], *, newest: bool = False) -> bool:
        """Whether one of the MACs is that of this seal, under any key; or under the ``newest`` alone."""
        return _is_among(self._seals[:1] if newest else self._seals, _seal(seal), macs)


def derived(key: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose alone."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"jzb seal {purpose}".encode()).derive(key)


def _opening(o: Operation) -> bytes:
    texts = (o.request_id, o.kind, o.serial, o.payer, o.payee, o.order_no, o.caller, o.person)
    content = "\0".join(texts)
    if content.count("\0") >= len(texts):
        # As `ledger.arrays.texts` lets it into the database, which keeps no NUL: none of the texts can end early.
        content = "\0".join(text.replace("\0", "?") for text in texts)
    numbers = f"\0{o.amount_fen}\0{o.fee_fen}\0{o.fingerprint.hex()}"
    return o.id.bytes + o.plan_digest + (content + numbers).encode("utf-8", "replace")


def _member(member: Member) -> bytes:
    # None of the three has a NUL (`ledger.arrays.texts`), so that none can end early.
    texts = (member.member_id, member.sub_account, member.property, "open" if member.is_open else "closed")
    return "\0".join(texts).encode("utf-8", "replace")


def _seal(seal: Seal) -> bytes:
    return seal.batch.to_bytes(8) + seal.digest


def _is_among(keys: Sequence[_Mac], content: bytes, macs: Iterable[bytes]) -> bool:
    found = [bytes(mac) for mac in macs if mac]
    return any(hmac.compare_digest(key.over(content), mac) for key in keys for mac in found)


class _Mac:
    """HMAC-SHA256 (RFC 2104) under a key of 32 bytes that is set up once: a third of the time for a short text."""

    def __init__(self, key: bytes) -> None:
        block = key.ljust(BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def over(self, content: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(content)
        outer.update(inner.digest())
        return outer.digest()
