"""What waits for a person or for the bank is one queue, read from the books: each kind, in the right amount and age."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import psycopg
import pytest

from ledger import Patience, Work, WorkKind, WorkSum, WorkWanted
from ledger.reads.work import QUEUE, SUMS
from tests.ledger.bookkeeping import ask, execute
from tests.ledger.conftest import Mirror

TODAY = date(2026, 11, 30)
PATIENCE = Patience(reserved_for_s=240.0, accepted_for_s=3600.0, today=TODAY)
ID = "00000000-0000-0000-0000-{:012d}"


def operation(number: int, state: str, age: str, *, kind: str = "PAY_T1", request_id: str = "") -> tuple[str, ...]:
    """An operation of 1 yuan in a state, so old, due in a minute while it is open."""
    made = (
        f"INSERT INTO operation SELECT '9930', '{ID.format(number)}', '{request_id or f'r{number}'}', '', '{kind}',"
        f" 's{number}', '{state}', '', '', 'o{number}', 100, 0, '', '', NULL, 'ERR020', '', 'B{number}', NULL, '',"
        f" '{{}}', 0, 0, now() - interval '{age}', now()"
    )
    due = f"INSERT INTO due SELECT '9930', '{ID.format(number)}', now() + interval '1 minute'"
    return (made,) if state in ("done", "refused") else (made, due)


def account(name: str, kind: str, ref: str, fen: int, held_fen: int = 0) -> str:
    floor = "NULL" if kind in ("in-transit", "difference") else "0"
    return f"INSERT INTO account VALUES ('9930', '{name}', '{kind}', '', '{ref}', {floor}, {fen}, {held_fen})"


def proposal(number: int, ends: str) -> tuple[str, str]:
    return (
        f"INSERT INTO proposal SELECT '9930', '{ID.format(number)}', 'p{number}', '', 'jzb.v1.PaymentService/Pay', 'k',"
        f" '', 500, 'a', 'b', '', 'owed', 'shop', '', now() - interval '2 hours', now() + interval '{ends}'",
        f"INSERT INTO proposal_due SELECT platform, proposal_id, expires_at"
        f" FROM proposal WHERE request_id = 'p{number}'",
    )


def broken(number: int, *, is_open: bool) -> str:
    """A break of 3 yuan: the file has 5, the books 2."""
    return (
        f"INSERT INTO break SELECT '9930', '{ID.format(number)}', '2026-11-29', 'JY', 'amount', 500, 200, 1, 1, '',"
        f" NULL, NULL, 'PAY_T1', 's1', 'B{number}', 'a', '1001', '', {is_open}, now() - interval '1 hour'"
    )


@pytest.fixture
def busy(mirror: Mirror) -> Mirror:
    """Something of each kind, and beside each what is no work."""
    execute(
        mirror.dsn,
        "INSERT INTO platform (platform, batches, cleared_through) VALUES ('9930', 1, '2026-11-27')",
        *operation(1, "unknown", "5 hours"),
        *operation(2, "reserved", "10 minutes"),
        *operation(3, "reserved", "1 minute"),
        *operation(4, "accepted", "3 hours", kind="WITHDRAW"),
        *operation(5, "accepted", "10 minutes", kind="WITHDRAW"),
        *operation(6, "accepted", "1 minute", kind="WITHDRAWAL_RETURN"),
        *operation(7, "done", "4 hours", kind="TRANSFER_IN", request_id="transfer B7"),
        *operation(8, "done", "4 hours", kind="TRANSFER_IN", request_id="transfer B8"),
        account("suspense:B7", "suspense", "B7", 70, 30),
        account("suspense:B8", "suspense", "B8", 0),
        account("difference:ours", "difference", "ours", -400),
        account("difference:B-0", "difference", "B-0", 0),
        "INSERT INTO reference (platform, operation_id, kind, value)"
        f" VALUES ('9930', '{ID.format(7)}', 'break', 'ours')",
        "INSERT INTO resolution VALUES"
        f" ('9930', '{ID.format(7)}', 1, 'posted', '2026-11-29', now() - interval '1 day')",
        f"INSERT INTO leg VALUES ('9930', '{ID.format(7)}', 1, 1, 'difference:ours', 'fee', 400)",
        account("in-transit:20261127", "in-transit", "20261127", -1),
        account("in-transit:20261128", "in-transit", "20261128", -800),
        account("in-transit:20261130", "in-transit", "20261130", -900),
        *(broken(number, is_open=number == 11) for number in (11, 12)),
        *proposal(9, "1 day"),
        *proposal(10, "-1 minute"),
    )
    return mirror


async def queue(mirror: Mirror, limit: int = 100, **wanted: Any) -> list[Work]:
    return await mirror.reads.work(WorkWanted(**wanted), PATIENCE, behind=None, limit=limit)


async def test_each_kind_of_what_waits_is_in_the_queue_once_and_nothing_else(busy: Mirror) -> None:
    found = {one.kind: one for one in await queue(busy)}
    assert {kind: (one.work_id, one.amount_fen) for kind, one in found.items()} == {
        WorkKind.IN_DOUBT: (f"operation:{ID.format(1)}", 100),
        WorkKind.ORPHANED: (f"operation:{ID.format(2)}", 100),
        WorkKind.UNDER_WAY: (f"operation:{ID.format(4)}", 100),
        WorkKind.RETURN: (f"operation:{ID.format(6)}", 100),
        WorkKind.SUSPENSE: ("suspense:B7", 70),
        WorkKind.CLEARING: ("clearing:2026-11-28", 800),
        WorkKind.PROPOSAL: (f"proposal:{ID.format(9)}", 500),
        WorkKind.BREAK: (f"break:{ID.format(11)}", 300),
        WorkKind.DIFFERENCE: ("difference:ours", 400),
    }
    assert len(await queue(busy)) == len(found)
    assert 5 * 3600 <= found[WorkKind.IN_DOUBT].age_s < 5 * 3600 + 60
    assert found[WorkKind.IN_DOUBT].next_at is not None
    assert found[WorkKind.IN_DOUBT].detail == "ERR020"
    assert found[WorkKind.SUSPENSE].next_at is None
    assert 4 * 3600 <= found[WorkKind.SUSPENSE].age_s < 4 * 3600 + 60
    # The bank day is over at midnight in Shanghai.
    assert found[WorkKind.CLEARING].since == datetime.fromisoformat("2026-11-29T00:00:00+08:00")
    assert 86400 <= found[WorkKind.DIFFERENCE].age_s < 86460
    assert not found[WorkKind.PROPOSAL].is_decided


async def test_sums_and_pages_are_of_the_same_queue(busy: Mirror) -> None:
    everything = await queue(busy)
    assert everything == sorted(everything, key=lambda one: (one.since, one.work_id))
    sums = await busy.reads.work_sums(PATIENCE)
    assert {kind: (one.count, one.amount_fen) for kind, one in sums.items()} == {
        one.kind: (1, one.amount_fen) for one in everything
    }
    behind, paged = None, []
    while page := await busy.reads.work(WorkWanted(), PATIENCE, behind=behind, limit=2):
        paged += page
        behind = page[-1].since, page[-1].work_id
    assert [one.work_id for one in paged] == [one.work_id for one in everything]
    some = await queue(busy, kinds=(WorkKind.SUSPENSE, WorkKind.PROPOSAL))
    assert {one.kind for one in some} == {WorkKind.SUSPENSE, WorkKind.PROPOSAL}


async def test_who_takes_an_item_and_what_is_said_of_it_is_kept_in_order_and_once(busy: Mirror) -> None:
    who = {"caller": "console", "person": "ann"}
    said = (None, "the payer was asked")
    for owner, note in (("ann", ""), said, said, ("ben", "over to you")):
        await busy.reads.say("suspense:B7", owner=owner, note=note, **who)
    (item,) = await queue(busy, owner="ben")
    assert (item.work_id, [(one.owner, one.note) for one in item.notes]) == (
        "suspense:B7",
        [("ann", ""), (None, "the payer was asked"), ("ben", "over to you")],
    )
    assert await queue(busy, owner="ann") == []
    assert len(await queue(busy, owner="")) == 8
    await busy.reads.say("suspense:B7", owner="", note="", **who)
    assert len(await queue(busy, owner="")) == 9
    # Why a break rests was said with that decision.
    await busy.reads.say(f"break:{ID.format(11)}", owner="cat", note="look", **who)
    held = "INSERT INTO break_event (platform, break_id, kind, caller, person, note, until, mac) VALUES"
    execute(
        busy.dsn, f"{held} ('9930', '{ID.format(11)}', 'held', 'console', 'eve', 'the bank asks', '2126-01-01', '')"
    )
    (item,) = await queue(busy, owner="cat")
    assert (item.kind, [(one.owner, one.note) for one in item.notes]) == (
        WorkKind.BREAK,
        [("cat", "look"), (None, "the bank asks")],
    )
    for change in ("UPDATE work_event SET note = 'x'", "DELETE FROM work_event"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            execute(busy.dsn, change)


async def test_the_queue_looks_up_what_is_open_however_long_the_history_is(mirror: Mirror) -> None:
    execute(
        mirror.dsn,
        "INSERT INTO platform (platform, batches) VALUES ('9930', 1)",
        "INSERT INTO operation SELECT '9930', md5(n::text)::uuid, 'transfer ' || n, '', 'PAY_T1', 's' || n,"
        " CASE WHEN n % 50 = 0 THEN 'unknown' ELSE 'done' END, '', '', '', 100, 0, '', '', NULL, '', '', '', NULL, '',"
        " '{}', 0, 0, now() - interval '1 hour', now() FROM generate_series(1, 20000) n",
        "INSERT INTO due SELECT platform, id, now() FROM operation WHERE state <> 'done'",
        "INSERT INTO account SELECT '9930', 'refundable:' || n, 'refundable', '', n::text, 0, 9, 0"
        " FROM generate_series(1, 20000) n",
        "INSERT INTO account SELECT '9930', 'suspense:' || n, 'suspense', '', n::text, 0, n % 2, 0"
        " FROM generate_series(1, 100) n",
        "ANALYZE",
    )
    sums = await mirror.reads.work_sums(PATIENCE)
    assert sums[WorkKind.IN_DOUBT].count == 400
    assert sums[WorkKind.SUSPENSE] == WorkSum(count=50, amount_fen=50, age_s=sums[WorkKind.SUSPENSE].age_s)
    values = {
        "platform": "'9930'",
        "reserved_for": "interval '60 s'",
        "accepted_for": "interval '60 s'",
        "today": "date '2026-11-30'",
        "kinds": "'{}'::text[]",
        "work_id": "''",
        "since": "timestamptz '1970-01-01'",
        "behind": "''",
        "limit": "51",
        "read": "'{}'::text[]",
        "with_sums": "true",
    }
    for statement in (QUEUE, SUMS):
        text = statement
        # The longest names first: some begin like others.
        for name, value in sorted(values.items(), key=lambda one: -len(one[0])):
            text = text.replace(f":{name}", value)
        plan = "\n".join(line for (line,) in ask(mirror.dsn, f"EXPLAIN {text}"))
        assert "Index Scan using operation_pk" in plan
        for table in ("operation", "account"):
            assert f"Seq Scan on {table}" not in plan, plan
