"""The bank's signed answers behind what was recorded of an operation (`ledger.answers`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from uuid import UUID

from sqlalchemy import select, text

from ledger.answers import DIGEST_BYTES, Decision, KeptAnswer, digests_in
from ledger.reads.queries import Queries
from ledger.schema import bank_answer

_EVENTS = text("""
    SELECT
      at, state, bank_code,
      substring(evidence FROM 1 + CASE WHEN is_opening THEN :digest_bytes ELSE 0 END) AS digest
    FROM (
      SELECT
        seq, at, state, bank_code, evidence,
        coalesce(lag(state) OVER (ORDER BY seq), 'released') = 'released' AS is_opening
      FROM event
      WHERE platform = :platform AND operation_id = :operation_id
    ) recorded
    ORDER BY seq
""")
"""The event of an opening has the digest of the plan before that of answers."""


class Answers(Queries):
    """What the bank has signed."""

    async def decisions(self, operation_id: UUID) -> list[Decision]:
        """What was recorded of an operation by signed answers, oldest first, with the answers that are kept."""
        events = await self._rows(
            _EVENTS, platform=self._platform, operation_id=operation_id, digest_bytes=DIGEST_BYTES
        )
        found: dict[bytes, KeptAnswer] = {}
        wanted = {bytes(event["digest"]) for event in events if event["digest"]}
        while wanted:
            rows = await self._kept(wanted)
            found |= rows
            wanted = {digest for row in rows.values() for digest in row.parts} - found.keys()
        decided = []
        for event in events:
            if digest := bytes(event["digest"]):
                leaves = list(dict.fromkeys(_leaves(digest, found)))
                kept = tuple(found[one] for one in leaves if one in found)
                missing = tuple(one for one in leaves if one not in found)
                decided.append(Decision(event["at"], event["state"], event["bank_code"], digest, kept, missing))
        return decided

    async def _kept(self, digests: Collection[bytes]) -> dict[bytes, KeptAnswer]:
        columns = bank_answer.c
        rows = await self._rows(
            select(columns.digest, columns.key_id, columns.content, columns.parts).where(
                columns.platform == self._platform, columns.digest.in_(list(digests))
            )
        )
        return {
            bytes(row["digest"]): KeptAnswer(
                bytes(row["digest"]), row["key_id"], bytes(row["content"]), digests_in(bytes(row["parts"]))
            )
            for row in rows
        }


def _leaves(digest: bytes, found: Mapping[bytes, KeptAnswer]) -> Iterator[bytes]:
    """The digests of single answers behind a digest; itself, when it is one of them or not kept."""
    row = found.get(digest)
    if row is None or not row.parts:
        yield digest
        return
    for part in row.parts:
        yield from _leaves(part, found)
