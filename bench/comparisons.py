"""The row of the comparison with the bank: a thousand of them while four payers pay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from bench import site
from bench.rows import Measured, Row
from bench.site import client
from jzb.v1 import balance_pb2, balance_pb2_grpc

COMPARISONS = 1000
PAYERS = 4
AT_ONCE = 2


async def comparisons(folder: Path, measured: Measured) -> None:
    """How many of a thousand call something different although nothing is."""
    with site.database(folder) as dsn, site.bank(folder / "bank") as bank, site.service(dsn, bank) as target:
        async with client(target) as payers, grpc.aio.insecure_channel(target) as channel:
            await payers.open_market()
            stub: balance_pb2_grpc.BalanceServiceAsyncStub = balance_pb2_grpc.BalanceServiceStub(channel)
            stop = asyncio.Event()

            async def pay() -> int:
                paid = 0
                while not stop.is_set():
                    # Always the same two: what is compared is what moves.
                    await payers.pay_between("b0", "m0")
                    paid += 1
                return paid

            paying = [asyncio.create_task(pay()) for _ in range(PAYERS)]
            each = COMPARISONS // AT_ONCE // 2
            found = await asyncio.gather(*(_compared(stub, each) for _ in range(AT_ONCE)))
            stop.set()
            paid = sum(await asyncio.gather(*paying))
    rows = [row for each_found in found for row in each_found]
    detail = {
        "comparisons": float(len(rows)),
        "explained": float(sum(row.result == balance_pb2.COMPARISON_RESULT_UNDER_WAY for row in rows)),
        "payments_meanwhile": float(paid),
    }
    wrong = sum(not row.agrees for row in rows)
    what = f"of {len(rows)} comparisons with the bank under {PAYERS} payers, false differences"
    measured.rows.append(Row("comparisons", what, wrong, "<=", 0, unit="", detail=detail))


async def _compared(stub: balance_pb2_grpc.BalanceServiceAsyncStub, rounds: int) -> list[balance_pb2.Comparison]:
    found = []
    for _ in range(rounds):
        for member_id in ("b0", "m0"):
            request = balance_pb2.CompareWithBankRequest(member_id=member_id)
            found += [row.comparison async for row in stub.CompareWithBank(request, timeout=60)]
    return found
