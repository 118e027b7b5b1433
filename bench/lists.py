"""The row of the lists: ListOperations on two million operations, by every filter and pairs of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import grpc
import psycopg
from pydantic import SecretStr

from bench import site
from bench.drive import drive
from bench.ledger import stored_in_chunks
from bench.rows import Measured, Row, figures
from bench.transfers import PLATFORM
from jzb.v1 import core_pb2, operation_pb2, operation_pb2_grpc
from ledger import seals
from service.settings import SealSettings

OPERATIONS = 2_000_000
SECONDS_EACH = 1.0

# One operation a second, newest last; four are opened in one batch, and ended in the next. Every tenth pays the one big
# seller, every 200th is a refund, every 5000th is refused, every 10000th of the newer half is in doubt; of one kind
# there are ten in all, at the beginning.
HISTORY: dict[str, tuple[str, ...]] = {
    "operations": (
        "INSERT INTO operation SELECT '9930', id, 'past-' || n, sha256(n::text::bytea), kind, 'P' || n, state, payer,"
        " payee, order_no, 100, 1, '', '', NULL, '000000', '', bank_serial, bank_day, '', '{}', 0, 0, at, ended"
        " FROM past",
        "INSERT INTO due SELECT '9930', id, '2100-01-01' FROM past WHERE state = 'unknown'",
        "INSERT INTO reference SELECT '9930', id, 'channel', 'C' || n FROM past WHERE kind = 'TOP_UP'",
    ),
    "journal": (
        "INSERT INTO transaction SELECT '9930', id, 1, 'P' || n, payer, payee, 100, 1, NULL, at, '' FROM past",
        "INSERT INTO resolution SELECT '9930', id, 1, verdict, ended::date, ended FROM past WHERE state <> 'unknown'",
        "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
        " SELECT '9930', id, told, '', '', '', '', told_at"
        " FROM past, LATERAL (VALUES ('reserved', at), (state, ended)) AS s (told, told_at) ORDER BY told_at, n",
        "INSERT INTO booking SELECT '9930', id, bank_day, bank_serial FROM past WHERE state = 'done'",
        "INSERT INTO member SELECT '9930', payee, 'S-big', 'SH', at FROM past WHERE n = 0",
    ),
}
PAST = (
    "SELECT *, CASE WHEN state = 'done' THEN 'B' || n ELSE '' END AS bank_serial,"
    " CASE state WHEN 'done' THEN 'posted' ELSE 'voided' END AS verdict,"
    " CASE WHEN state = 'done' THEN ended::date END AS bank_day"
    " FROM (SELECT n, TIMESTAMPTZ '{0}' + n / 4 * interval '4 s' AS at,"
    " TIMESTAMPTZ '{0}' + (n / 4 + 1) * interval '4 s' AS ended, id,"
    " CASE WHEN n < 10 THEN 'REBOOK_ORDER' WHEN n % 200 = 0 THEN 'REFUND'"
    " WHEN n % 20 = 1 THEN 'TOP_UP' ELSE 'PAY_T1' END AS kind,"
    " CASE WHEN n % 5000 = 4999 THEN 'refused' WHEN n % 10000 = 5 AND n > 1000000 THEN 'unknown' ELSE 'done' END"
    " AS state, 'b' || n % 10000 AS payer, CASE WHEN n % 10 = 0 THEN 'big' ELSE 'm' || n % 1009 END AS payee,"
    " CASE WHEN n % 3 = 0 THEN 'O' || n ELSE '' END AS order_no FROM ids) AS made"
)


async def lists(folder: Path, measured: Measured) -> None:
    """The median of each list's first page, the slowest of which counts; and that of a page deep inside."""
    with site.database(folder) as dsn:
        await asyncio.to_thread(fill, dsn)
    # Started anew: what is measured is a long history, not what a bulk load leaves in the server's memory.
    with site.database(folder) as dsn, site.bank(folder / "bank") as bank, site.service(dsn, bank) as target:
        async with grpc.aio.insecure_channel(target) as channel:
            stub = operation_pb2_grpc.OperationServiceStub(channel)
            detail: dict[str, float] = {}
            for name, request in _requests(dsn):
                seen = await drive(partial(stub.ListOperations, request, timeout=60), 1, SECONDS_EACH, 0.2)
                detail |= figures(name, seen)
    slowest = max(value for name, value in detail.items() if name.endswith("_p50_ms"))
    what = "a page of ListOperations with 2 million operations stored, the slowest of all filters and pairs"
    measured.rows.append(Row("lists", what, slowest, "<=", 10.0, unit="ms", detail=detail))


# As `ledger.seals` has them: which operation, which table, how many rows, half of the hash over their values.
LEAVES = """
SELECT at, string_agg(
  uuid_send(operation_id) || set_byte('\\x00', 0, place) || int4send(1) || substr(sha256(body::bytea), 1, 16), ''
)
FROM (
  SELECT created_at AS at, id AS operation_id, 0 AS place, concat_ws(
    E'\n', '"' || request_id || '"', '"' || encode(fingerprint, 'hex') || '"', '"' || kind || '"', '"' || payer || '"',
    '"' || payee || '"', '"' || order_no || '"', amount_fen, fee_fen
  ) AS body
  FROM operation
  UNION ALL
  SELECT reserved_at, operation_id, 1, concat_ws(
    E'\n', part, '"' || serial || '"', '"' || payer || '"', '"' || payee || '"', amount_fen, fee_fen, 'null', '""'
  )
  FROM transaction
  UNION ALL
  SELECT at, operation_id, 3, concat_ws(E'\n', part, '"' || verdict || '"', '"' || bank_day || '"')
  FROM resolution
  UNION ALL
  SELECT at, operation_id, 5, concat_ws(E'\n', '"' || state || '"', '""', '""', '""', '""')
  FROM event
) AS written
GROUP BY at
ORDER BY at
"""


def fill(dsn: str) -> None:
    """Store the history; two connections share the work."""
    past = PAST.format(datetime.now(UTC).replace(microsecond=0) - timedelta(days=365))
    with ThreadPoolExecutor(len(HISTORY)) as workers:
        for done in [workers.submit(stored_in_chunks, dsn, 0, OPERATIONS, each, past) for each in HISTORY.values()]:
            done.result()
    seal(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def seal(dsn: str) -> None:
    """Put a seal over each batch, as the writer would have: else each answer would be doubted, and proved twice."""
    keys = SealSettings(keys=(SecretStr(site.SEAL_KEY),)).of(PLATFORM)
    assert keys is not None
    with psycopg.connect(dsn) as reader, psycopg.connect(dsn) as writer:
        reader.execute("SET work_mem = '256MB'")
        last = seals.Seal(0, datetime.min.replace(tzinfo=UTC), seals.BEGINNING)
        copy = "COPY seal (platform, batch, at, leaves, digest, mac) FROM STDIN (FORMAT binary)"
        with reader.cursor("leaves") as batches, writer.cursor().copy(copy) as rows:
            batches.itersize = 5000
            rows.set_types(["text", "int8", "timestamptz", "bytea", "bytea", "bytea"])
            for at, leaves in batches.execute(LEAVES.encode()):
                last = seals.follow(last, PLATFORM, at, leaves)
                rows.write_row((PLATFORM, last.batch, at, leaves, last.digest, keys.of_seal(last)))
        writer.execute("INSERT INTO platform (platform, batches) VALUES (%s, %s)", [PLATFORM, last.batch])


def _requests(dsn: str) -> Iterator[tuple[str, operation_pb2.ListOperationsRequest]]:
    with psycopg.connect(dsn) as connection:
        days = [f"{day}" for (day,) in connection.execute("SELECT DISTINCT bank_day FROM booking ORDER BY 1")]
    request = operation_pb2.ListOperationsRequest
    refused, unknown = core_pb2.OPERATION_STATE_REFUSED, core_pb2.OPERATION_STATE_UNKNOWN
    done, released = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_RELEASED
    pay, refund = core_pb2.OPERATION_KIND_PAY_T1, core_pb2.OPERATION_KIND_REFUND
    rare, never = core_pb2.OPERATION_KIND_REBOOK_ORDER, core_pb2.OPERATION_KIND_REVERSE_SUSPENSE_ALLOCATION
    old, new = days[len(days) // 3], days[-2]
    yield from {
        "all": request(),
        "done": request(state=done),
        "refused": request(state=refused),
        "released": request(state=released),
        "unknown": request(state=unknown),
        "kind_pay": request(kind=pay),
        "kind_refund": request(kind=refund),
        "kind_rare": request(kind=rare),
        "kind_never": request(kind=never),
        "day_old": request(bank_day=old),
        "day_new": request(bank_day=new),
        "day_none": request(bank_day="2001-01-01"),
        "member": request(member_id="b77"),
        "member_big": request(member_id="big"),
        "sub_account": request(sub_account="S-big"),
        "order": request(order_no="O300"),
        "bank_serial": request(bank_serial="B500"),
        "channel": request(channel_transaction_no="C21"),
        "sub_account_member": request(sub_account="S-big", member_id="b77"),
        "member_big_kind": request(member_id="big", kind=refund),
        "member_big_kind_rare": request(member_id="big", kind=rare),
        "member_big_refused": request(member_id="big", state=refused),
        "member_big_day": request(member_id="big", bank_day=old),
        "member_day": request(member_id="b77", bank_day=old),
        "kind_day": request(kind=refund, bank_day=old),
        "kind_pay_refused": request(kind=pay, state=refused),
        "kind_refund_refused": request(kind=refund, state=refused),
        "kind_refund_unknown": request(kind=refund, state=unknown),
        "day_refused": request(bank_day=old, state=refused),
        "day_done": request(bank_day=old, state=done),
        "all_four": request(member_id="big", bank_day=old, state=done, kind=refund),
    }.items()
