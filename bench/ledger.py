"""The rows of the ledger alone: the batching writer against one transaction a step, on the same tables."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from bench.drive import Call, Pair, drive, in_turn
from bench.naive import Naive
from bench.rows import Measured, Row, both, faster
from bench.site import beside, cpu_s, database, new_database
from bench.transfers import Load, Submit, carrying_out, endow, writing

CALLERS = (1, 16, 64, 256)
CROWD = 256
ROOT = Path(__file__).parent.parent


async def batching(folder: Path, measured: Measured) -> None:
    """Batched against one transaction a step: hot, spread, alone; and hot against spread, both batched."""
    with database(folder) as dsn:
        await _batching(dsn, measured)


async def _batching(dsn: str, measured: Measured) -> None:
    async with writing(dsn) as writer, Naive.pool(dsn) as pool:
        await endow(writer)
        naive = Naive(pool)
        found: dict[tuple[str, int], Pair] = {}
        for fees in ("hot", "spread"):
            load = Load(hot=fees == "hot")
            for callers in CALLERS:
                batched = partial(_loaded, writer.submit, load, 20_000)
                one_by_one = partial(_loaded, naive.submit, load, 1000)
                await drive(batched(), callers, 0.2)
                turns = 3 if callers in (1, CROWD) else 1
                pair = await in_turn(batched, one_by_one, callers, seconds=2.0, turns=turns)
                found[fees, callers] = pair
                for name, seen in (("batched", pair.one), ("one by one", pair.other)):
                    measured.throughput.setdefault(f"{name}, {fees}", []).append((callers, seen.per_second))
                    for share, value in (("p50", seen.p50_ms), ("p99", seen.p99_ms)):
                        measured.latency.setdefault(f"{name}, {fees}, {share}", []).append((callers, value))
        hot = partial(_loaded, writer.submit, Load(hot=True), 12_000)
        spread = partial(_loaded, writer.submit, Load(hot=False), 12_000)
        hot_to_spread = await in_turn(hot, spread, CROWD, seconds=1.5, turns=5)
    for fees, limit in (("hot", 15.0), ("spread", 6.0)):
        pair = found[fees, CROWD]
        what = "touching one fee account" if fees == "hot" else "over spread accounts"
        what = f"two-phase transfers a second, {CROWD} waiting, {what}, against one transaction a step"
        measured.rows.append(faster(f"batched, {fees}", what, limit, ("batched", "one_by_one"), pair))
    what = "hot fee account against spread accounts, both batched"
    measured.rows.append(faster("hot account", what, 0.95, ("hot", "spread"), hot_to_spread))
    alone = found["hot", 1]
    measured.rows.append(
        Row(
            "lone transfer",
            "latency of a lone transfer against one transaction a step",
            alone.longer,
            "<=",
            1.15,
            detail=both("batched", "one_by_one", alone),
        )
    )


def _loaded(submit: Submit, load: Load, count: int) -> Call:
    return carrying_out(submit, load.prepare(count))


LEGS_MAX = 10_000_000
LEGS_EACH = 4
"""A payment with a fee that may be refunded: two legs move money, two open the limits."""
STAGES = (0, 2_500_000, LEGS_MAX)
WARM_S = 3.0


async def growth(folder: Path, measured: Measured) -> None:
    """An empty ledger against the same with ten million legs stored, in turn on one server."""
    with database(folder) as dsn:
        for name in ("large", "empty"):
            async with writing(new_database(dsn, name)) as writer:
                await endow(writer)
    stored = 0
    for legs in STAGES:
        with database(folder) as dsn:
            await asyncio.to_thread(_fill, beside(dsn, "large"), stored // LEGS_EACH, legs // LEGS_EACH)
        stored = legs
        # Started anew: what is measured is a large journal, not what a bulk load leaves in the server's memory.
        with database(folder) as dsn:
            pair = await _large_and_empty(dsn, turns=7 if legs == LEGS_MAX else 1)
        measured.growth.setdefault("legs stored", []).append((legs / 1e6, pair.one.per_second))
        measured.growth.setdefault("empty ledger beside it", []).append((legs / 1e6, pair.other.per_second))
    what = "transfers a second with 10 million journal legs stored against an empty ledger"
    measured.rows.append(faster("10 million legs", what, 0.9, ("large", "empty"), pair))


async def _large_and_empty(dsn: str, turns: int) -> Pair:
    load = Load(hot=False)
    async with writing(beside(dsn, "large")) as in_large, writing(beside(dsn, "empty")) as in_empty:
        for writer in (in_large, in_empty):
            # Long enough that the indexes' pages are in memory, as they are where payments come every second.
            await drive(carrying_out(writer.submit, load.prepare(500)), CROWD, WARM_S)
        one, other = (partial(_loaded, writer.submit, load, 12_000) for writer in (in_large, in_empty))
        return await in_turn(one, other, CROWD, seconds=1.5, turns=turns)


# What payments of the past leave behind; ids are of the kind that grow with time, as the service makes them.
PAST: dict[str, tuple[str, ...]] = {
    "payments": (
        "INSERT INTO operation SELECT '9930', id, 'past-' || n, sha256(n::text::bytea), 'PAY_T1', 'P' || n, 'done',"
        " payer, payee, '', 100, 1, '', '', NULL, '000000', '', 'B' || n, at::date, '', '{}', 0, 0, at, at"
        " FROM past",
        "INSERT INTO transaction SELECT '9930', id, 1, 'P' || n, payer, payee, 100, 1, NULL, at, '' FROM past",
        "INSERT INTO hold SELECT '9930', id, 1, 'withdrawable:' || payer, 100 FROM past",
        "INSERT INTO resolution SELECT '9930', id, 1, 'posted', at::date, at FROM past",
        "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
        " SELECT '9930', id, state, '', '', '', sha256(n::text::bytea), at"
        " FROM past, (VALUES ('reserved'), ('done')) AS s (state)",
        "INSERT INTO booking SELECT '9930', id, at::date, 'B' || n FROM past",
    ),
    "legs": (
        "INSERT INTO account SELECT '9930', kind || ':P' || n, kind, '', 'P' || n, 0, fen, 0"
        " FROM past, (VALUES ('refundable', 100), ('refundable-fee', 1)) AS k (kind, fen)",
        "INSERT INTO leg SELECT '9930', id, 1, no, debit, credit, fen FROM past, LATERAL (VALUES"
        " (1, 'withdrawable:' || payer, 'withdrawable:' || payee, 99), (2, 'withdrawable:' || payer, 'fee', 1),"
        " (3, 'limits', 'refundable:P' || n, 100), (4, 'limits', 'refundable-fee:P' || n, 1)"
        ") AS l (no, debit, credit, fen)",
    ),
}
CHUNK = 250_000


def stored_in_chunks(dsn: str, begin: int, end: int, statements: tuple[str, ...], past: str) -> None:
    """Run ``statements`` for the operations ``begin`` to ``end``; they find them in the view ``past``, which is made of
    ``ids``: a number, an id that grows with it as the service's do, and a time.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for first in range(begin, end, CHUNK):
            view = (  # only numbers and texts of ours are put in
                "CREATE OR REPLACE TEMPORARY VIEW past AS WITH ids AS (SELECT n,"  # noqa: S608
                " (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0')"
                " || '8' || substr(md5(n::text), 1, 15))::uuid AS id,"
                " now() - interval '1 year' + n * interval '1 second' AS at"
                f" FROM generate_series({first}, {min(first + CHUNK, end) - 1}) AS n) {past}"
            )
            connection.execute(view.encode())
            for statement in statements:
                connection.execute(statement.encode())


PAYMENTS = (
    "SELECT *, lpad((n % 10000)::text, 16, '0') AS payer, lpad(((n + 1) % 10000)::text, 16, '0') AS payee FROM ids"
)


def _fill(dsn: str, begin: int, end: int) -> None:
    """Store past payments ``begin`` to ``end``; two connections share the work."""
    if begin == end:
        return
    with ThreadPoolExecutor(len(PAST)) as workers:
        for done in [
            workers.submit(stored_in_chunks, dsn, begin, end, statements, PAYMENTS) for statements in PAST.values()
        ]:
            done.result()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


async def two_processes(folder: Path, measured: Measured) -> None:
    """One worker process against two, with as many callers each; all write the hot account."""
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with database(folder) as dsn:
        async with writing(dsn) as writer:
            await endow(writer)
        for _ in range(3):
            for processes in found:
                found[processes].append(_sum(await asyncio.to_thread(_worked, dsn, processes)))
    one, two = ({name: sum(run[name] for run in runs) / len(runs) for name in runs[0]} for runs in found.values())
    measured.rows.append(
        Row(
            "two processes",
            "the same ledger path with 2 worker processes against one, all writing the hot account",
            two["per_s"] / one["per_s"],
            ">=",
            0.9,
            detail={
                "one_per_s": one["per_s"],
                "one_python_cores": one["python_cores"],
                "one_postgres_cores": one["postgres_cores"],
                "two_per_s": two["per_s"],
                "two_python_cores": two["python_cores"],
                "two_postgres_cores": two["postgres_cores"],
            },
        )
    )


def _sum(told: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in told) for name in told[0]}


def _worked(dsn: str, processes: int) -> list[dict[str, float]]:
    """What workers tell that begin at the same time."""
    command = [sys.executable, "-m", "bench.ledger", dsn, str(CROWD)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(processes)
    ]
    for worker in running:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in running:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [json.loads(worker.communicate(timeout=60)[0]) for worker in running]


async def _work(dsn: str, callers: int) -> dict[str, float]:
    load = Load(hot=True, seed=os.getpid())
    name = f"worker-{os.getpid()}"
    async with writing(make_conninfo(dsn, application_name=name)) as writer:
        transfers = load.prepare(15_000)
        await drive(carrying_out(writer.submit, transfers), callers, 1.0)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        backend = _backend(dsn, name)
        before = _cpu_s(backend)
        seen = await drive(carrying_out(writer.submit, transfers), callers, 3.0)
        after = _cpu_s(backend)
        return {
            "per_s": seen.per_second,
            "python_cores": (after[0] - before[0]) / 3.0,
            "postgres_cores": (after[1] - before[1]) / 3.0,
        }


def _backend(dsn: str, application_name: str) -> int:
    with psycopg.connect(dsn) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
        row = connection.execute(query, [application_name]).fetchone()
    assert row is not None
    return int(row[0])


def _cpu_s(backend: int) -> tuple[float, float]:
    return cpu_s(os.getpid()), cpu_s(backend)


if __name__ == "__main__":
    import uvloop

    result: Any = uvloop.run(_work(sys.argv[1], int(sys.argv[2])))
    print(json.dumps(result))
