"""The end of the audit trail (`ledger.trail`), and whether who has the keys has put it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, LiteralString, NamedTuple

from ledger.macs import SealKeys

BEGINNING: Final = bytes(32)
"""What the first entry follows."""


class TrailEnd(NamedTuple):
    """The last entry. ``macs`` are those that stand for it; empty of a trail from before there were keys."""

    number: int
    digest: bytes
    macs: Sequence[bytes] = ()

    def is_ours(self, keys: SealKeys) -> bool:
        """Whether who has the keys has put it there, or nobody had keys until now."""
        return not self.macs or keys.entered(self.number, self.digest, self.macs)


_LAST: Final[LiteralString] = """
    SELECT number, digest,
      CASE WHEN EXISTS (SELECT FROM audit_entry k WHERE k.platform = e.platform AND k.mac <> '')
        OR EXISTS (SELECT FROM vouched v WHERE starts_with(v.subject, 'audit ') AND v.platform = e.platform)
      THEN array_prepend(mac, ARRAY(
        SELECT v.mac FROM vouched v WHERE v.subject = 'audit ' || e.number AND v.platform = e.platform
      ))
      ELSE '{{}}'
      END
    FROM audit_entry e
    WHERE platform = {}
    ORDER BY number DESC
    LIMIT 1
"""
"""The end of the trail. Its MACs count as soon as any entry has one: what came before keys has none."""


def last(platform: LiteralString) -> LiteralString:
    """The query for the end, with what stands for the platform where it is run."""
    return _LAST.format(platform)
