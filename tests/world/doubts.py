"""Operations whose outcome is not known: how they come about, how often the bank was asked, how they end."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import grpc
import psycopg

from jzb.v1 import core_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal
from tests.world.process import until

DONE, REFUSED = core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED
UNKNOWN, ACCEPTED = core_pb2.OPERATION_STATE_UNKNOWN, core_pb2.OPERATION_STATE_ACCEPTED
IMPATIENT = {"timeout_s": 0.3}
STATUS_QUERY = "SingleTransactionStatusQuery"
REST_S: Final = 60.0

# Which withdrawal came back the bank tells a day later; its money is not in doubt.
_IN_DOUBT: Final = """
    SELECT count(*), (SELECT sum(held_fen) FROM account)
    FROM due JOIN operation o ON (o.platform, o.id) = (due.platform, due.operation_id)
    WHERE o.kind != 'WITHDRAWAL_RETURN'
"""


async def doubtful_payment(shop: Marketplace, remark: str) -> core_pb2.Operation:
    """A payment of 30.00 out of 100.00 whose answer does not come."""
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    refusal = await shop.refusal(
        shop.payments.Pay(shop.pay_request("buyer", "seller", 30_00, remark=remark), timeout=TIMEOUT_S)
    )
    return assert_in_doubt(refusal)


def assert_in_doubt(refusal: Refusal) -> core_pb2.Operation:
    assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert refusal.reason == "BANK_OUTCOME_UNKNOWN"
    assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
    assert refusal.operation.state == UNKNOWN
    return refusal.operation


async def final(shop: Marketplace, operation_id: str, timeout_s: float = 20.0) -> core_pb2.Operation:
    """The operation once the resolver has ended it by itself."""
    found = await shop.operation(operation_id)

    async def is_final() -> bool:
        nonlocal found
        found = await shop.operation(operation_id)
        return found.state in (DONE, REFUSED)

    await until(is_final, f"{operation_id} becomes final", timeout_s)
    return found


async def query(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        return await (await connection.execute(statement, values)).fetchall()


async def not_found_counted(shop: Marketplace, operation: core_pb2.Operation) -> int:
    rows = await query(shop.dsn, "SELECT not_found FROM operation WHERE id = %s", operation.operation_id)
    return int(rows[0][0])


async def query_none(dsn: str, statement: str, *values: Any) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(statement, values)


async def rested(dsn: str) -> tuple[int, int]:
    """Waits until nothing is in doubt: how many operations still are, and how many fen are held."""
    ends_s = time.monotonic() + REST_S
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while True:
            found = await connection.execute(_IN_DOUBT)
            (due, held_fen) = await found.fetchone() or (0, 0)
            if due == 0 or time.monotonic() > ends_s:
                return due, held_fen
            await asyncio.sleep(0.1)
