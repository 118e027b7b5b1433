"""What a look through the books brings to light."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction: which check, where, and the two values that differ."""

    check: str
    where: str
    expected: str
    found: str


@dataclass(slots=True)
class Summary:
    """What was looked through, and where the chain of seals ends.

    ``digest`` is empty when there is no seal. Noted elsewhere, it is what later tells that the end of the chain was cut
    off or that all of it was made anew. ``batches_unsealed`` and ``members_unsealed`` are those from before they were
    sealed.
    """

    batches: int = 0
    batches_unsealed: int = 0
    members_unsealed: int = 0
    operations: int = 0
    transactions: int = 0
    legs: int = 0
    findings: int = 0
    sealed_since: datetime | None = None
    sealed_until: datetime | None = None
    digest: bytes = b""
