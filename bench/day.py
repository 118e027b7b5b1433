"""A bank day of a million payments set against the bank's file of it, beside the same work by DuckDB.

The same work: from the file's plain bytes (GB18030) and the postings in PostgreSQL to typed lines on the disk, each
with a digest of its text and with its posting, and all that does not agree. DuckDB reads the postings as a copy,
decodes the text in Python, as we do, and keeps nothing of the file's bytes; we keep those, encrypted, and the breaks.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg

from bench.ledger import PAST, stored_in_chunks
from bench.rows import Measured, Row
from bench.site import VAULT_KEY, database
from bench.transfers import DAY as PAYMENTS_DAY
from bench.transfers import PLATFORM, Load, endow, member, writing
from ledger import connect
from ledger.day import BreakFilter, BreakState, Days, FileType, NewFile
from service.vault import Vault

ROWS: Final = int(os.environ.get("BENCH_DAY_ROWS", "1000000"))
DAY: Final = PAYMENTS_DAY - timedelta(days=1)
TURNS: Final = 3
CHUNK_BYTES: Final = 1 << 16
ROOT: Final = Path(__file__).parent.parent

PAST_DAY: Final = (
    "SELECT n, id, TIMESTAMPTZ '{0} 04:00:00+00' AS at, lpad((n % 10000)::text, 16, '0') AS payer,"
    " lpad(((n + 1) % 10000)::text, 16, '0') AS payee FROM ids"
)


async def day(folder: Path, measured: Measured) -> None:
    """A file of a million lines, three times by us and by DuckDB in turn, then once more beside payments."""
    with database(folder) as dsn:
        await asyncio.to_thread(_fill, dsn)
        files = [await asyncio.to_thread(_write, folder / f"JY-{turn}.txt", turn) for turn in range(TURNS + 1)]
        found = [(await _told("ours", dsn, file), await _told("duckdb", dsn, file)) for file in files[:TURNS]]
        quiet, busy = await _beside_payments(dsn, files[TURNS])
    for ours, duckdb in found:
        assert ours["breaks"] == duckdb["breaks"], (ours, duckdb)
    rounds = [ours["took_s"] / duckdb["took_s"] for ours, duckdb in found]
    mib = max(ours["more_mib"] for ours, _ in found)
    millions = f"{ROWS / 1e6:g} million lines of a bank day"
    detail = {
        "ours_s": median(ours["took_s"] for ours, _ in found),
        "duckdb_s": median(duckdb["took_s"] for _, duckdb in found),
    }
    measured.rows += [
        Row("day", f"{millions} loaded, typed and matched, against DuckDB", median(rounds), "<=", 1.5, detail=detail),
        Row("day, memory", f"{millions}: memory that the process takes for it", mib, "<=", 200.0, "MiB"),
        Row(
            "day, payments",
            "p99 of payments while a file is loaded and matched, against before and after",
            busy["p99_ms"] / quiet["p99_ms"],
            "<=",
            1.2,
            detail={f"{name}_{what}": one[what] for name, one in (("quiet", quiet), ("busy", busy)) for what in one},
        ),
    ]


def _fill(dsn: str) -> None:
    past = PAST_DAY.format(DAY)
    stored_in_chunks(dsn, 0, ROWS, PAST["payments"], past)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO platform (platform, batches) VALUES (%s, 0) ON CONFLICT DO NOTHING", [PLATFORM])
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _write(path: Path, turn: int) -> Path:
    """The bank's file: five postings are not in it, five of its lines are nobody's, five have another amount, five come
    twice, and one cannot be read.
    """
    with path.open("wb") as file:
        for number in range(5, ROWS + 11):
            known = number if number < ROWS else (number - 10 if number < ROWS + 5 else -number)
            amount = "1.01" if 100 <= number < 105 else "ten" if number == 200 else "1.00"
            payer, payee = member(known % 10_000), member((known + 1) % 10_000)
            line = (
                f"{number}&确认付款&{payer}&9930{payer[4:]}&某某商行&{payee}&9930{payee[4:]}&某某公司&{amount}&0.01"
                f"&{DAY:%Y%m%d}&120000&B{known}&P{known}&运费&{f'O{turn}' if number == 300 else ''}&\n"
            )
            file.write(line.encode("gb18030"))
    return path


async def _told(who: str, dsn: str, file: Path) -> dict[str, Any]:
    """What a process of its own tells of one file."""
    command = (sys.executable, "-m", "bench.day", who, dsn, str(file))
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=ROOT)
    told, _ = await process.communicate()
    assert process.returncode == 0, who
    found: dict[str, Any] = json.loads(told)
    return found


CALLERS: Final = 16
PAUSE_S: Final = 0.1
QUIET_S: Final = 10.0


async def _beside_payments(dsn: str, file: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Payments at a steady pace: how long they take before and after a file, and while it is loaded and matched."""
    async with writing(dsn) as writer:
        await endow(writer)
        transfers = Load(hot=True).prepare(5000)
        took: dict[str, list[float]] = {"warm": [], "quiet": [], "busy": []}
        now, is_over = "warm", False

        async def caller(number: int) -> None:
            await asyncio.sleep(PAUSE_S * number / CALLERS)
            while not is_over:
                transfer = next(transfers)
                within = now
                began_s = time.perf_counter()
                await writer.submit(transfer.reserve)
                await writer.submit(transfer.settle)
                took[within].append(time.perf_counter() - began_s)
                await asyncio.sleep(PAUSE_S)

        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLERS):
                tasks.create_task(caller(number))
            await asyncio.sleep(3.0)
            now = "quiet"
            await asyncio.sleep(QUIET_S)
            now = "busy"
            await _told("ours", dsn, file)
            now = "quiet"
            await asyncio.sleep(QUIET_S)
            is_over = True
    return _figures(took["quiet"]), _figures(took["busy"])


def _figures(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    at = {f"p{share}_ms": ordered[len(ordered) * share // 100] * 1000 for share in (50, 99)}
    return {**at, "payments": float(len(ordered))}


async def _ours(dsn: str, file: Path) -> dict[str, Any]:
    vault = Vault([VAULT_KEY], PLATFORM)
    engine = connect(dsn, 1)
    days = Days(dsn, engine, PLATFORM, encrypt=vault.seal_answer, sign=vault.sign_decision)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def content() -> Any:
        with file.open("rb") as raw:
            while chunk := raw.read(CHUNK_BYTES):
                yield chunk

    began_s = time.perf_counter()
    loaded = await days.load(NewFile(bank_day=DAY, type=FileType.TRANSACTIONS, name=file.name), content)
    took_s = time.perf_counter() - began_s
    assert loaded.did
    more_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = await days.breaks(BreakFilter(states=[BreakState.OPEN, BreakState.CARRIED]), limit=1000)
    await engine.dispose()
    return {"took_s": took_s, "more_mib": more_mib, "breaks": _counted(str(one.kind) for one in found)}


_POSTED: Final = """
COPY (
  SELECT t.serial, t.operation_id, t.part, t.payer, t.payee, t.amount_fen, t.fee_fen
  FROM resolution r
  JOIN transaction t ON t.platform = r.platform AND t.operation_id = r.operation_id AND t.part = r.part
  JOIN operation o ON o.platform = r.platform AND o.id = r.operation_id
  WHERE r.platform = '{0}' AND r.bank_day = '{1}' AND r.verdict = 'posted' AND o.kind = 'PAY_T1'
) TO STDOUT (FORMAT csv)
"""

_NAMES: Final = (
    *("number", "booking", "payer", "payer_sub", "payer_name", "payee", "payee_sub", "payee_name", "amount", "fee"),
    *("day", "time", "bank_serial", "serial", "remark", "order_no", "rest"),
)


def _duckdb(dsn: str, file: Path) -> dict[str, Any]:
    import duckdb

    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name)
        with file.open("r", encoding="gb18030", newline="") as text, (folder / "JY").open("w", newline="") as utf8:
            while chunk := text.read(CHUNK_BYTES):
                utf8.write(chunk)
        with (
            psycopg.connect(dsn) as connection,
            (folder / "posted").open("wb") as copied,
            connection.cursor().copy(_POSTED.format(PLATFORM, DAY).encode()) as rows,
        ):
            for block in rows:
                copied.write(block)
        books = duckdb.connect(str(folder / "day.duckdb"))
        columns = ", ".join(f"'{one}': 'VARCHAR'" for one in _NAMES)
        for statement in (
            # Names of ours alone are put in.
            f"""CREATE TABLE posted AS SELECT * FROM read_csv('{folder}/posted', header = false, columns = {{
              'serial': 'VARCHAR', 'operation_id': 'UUID', 'part': 'INTEGER', 'payer': 'VARCHAR', 'payee': 'VARCHAR',
              'amount_fen': 'BIGINT', 'fee_fen': 'BIGINT'}})""",
            f"""CREATE TABLE line AS
              SELECT
                l.line, sha256(concat_ws('&', {", ".join(f"l.{one}" for one in _NAMES)})) AS digest, l.serial,
                bank_serial, l.payer, payer_sub, l.payee, payee_sub, try_cast(amount AS DECIMAL(15, 2)) AS yuan,
                try_cast(fee AS DECIMAL(15, 2)) AS fee,
                try_strptime(day, '%Y%m%d')::DATE AS day, try_strptime(time, '%H%M%S')::TIME AS time, order_no, booking,
                p.operation_id, p.part, p.amount_fen, p.fee_fen, p.payer AS our_payer, p.payee AS our_payee
              FROM (
                SELECT *, row_number() OVER () AS line
                FROM read_csv(
                  '{folder}/JY', delim = '&', quote = '', escape = '', header = false, columns = {{{columns}}}
                )
              ) l
              LEFT JOIN posted p ON p.serial = l.serial""",
            "CHECKPOINT",
        ):
            books.execute(statement)
        found = books.execute("""
          WITH again AS (
            SELECT operation_id, part, min(line) AS first_line, count(*) AS times
            FROM line WHERE operation_id IS NOT NULL AND yuan IS NOT NULL GROUP BY ALL
          )
          SELECT 'unreadable', count(*) FROM line WHERE yuan IS NULL OR fee IS NULL OR day IS NULL OR time IS NULL
          UNION ALL SELECT 'missing-here', count(*) FROM line WHERE operation_id IS NULL AND yuan IS NOT NULL
          UNION ALL SELECT 'duplicate', sum(times - 1) FROM again
          UNION ALL SELECT 'amount', count(*) FROM line WHERE (yuan * 100)::BIGINT <> amount_fen
          UNION ALL SELECT 'fee', count(*) FROM line WHERE (fee * 100)::BIGINT <> fee_fen AND yuan IS NOT NULL
          UNION ALL SELECT 'member', count(*) FROM line WHERE (payer <> our_payer OR payee <> our_payee)
          UNION ALL SELECT 'missing-there', count(*) FROM posted p ANTI JOIN again a USING (operation_id, part)
        """).fetchall()
        books.close()
        took_s = time.perf_counter() - began_s
    return {"took_s": took_s, "breaks": {name: int(count) for name, count in sorted(found) if count}}


def _counted(kinds: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for kind in sorted(kinds):
        found[kind] = found.get(kind, 0) + 1
    return found


if __name__ == "__main__":
    who, dsn, path = sys.argv[1:]
    told = asyncio.run(_ours(dsn, Path(path))) if who == "ours" else _duckdb(dsn, Path(path))
    print(json.dumps(told))
