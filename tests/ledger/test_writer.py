"""The writer on a real PostgreSQL: money under concurrency, broken connections and bad steps."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger import (
    REASON_FLOOR,
    Change,
    DeadlinePassed,
    Draft,
    FloorBroken,
    LedgerBehind,
    LedgerBusy,
    LedgerCorrupt,
    LedgerUnavailable,
    Member,
    NewOperation,
    PartState,
    RequestIdReused,
    State,
    Step,
    StepOutcome,
    Wanted,
    Writer,
    connect,
    journal,
    memory,
    open_pool,
    statements,
)
from ledger import writer as ledger_writer
from ledger.accounts import refundable, uncleared, withdrawable
from ledger.names import MemberCode, Serial, SubAccount
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    CAT,
    DAY,
    PLATFORM,
    again,
    ask,
    cancel,
    clearing,
    confirm,
    doubting,
    money,
    opening,
    pay,
    pay_today,
    posting,
    prepay,
    refund,
    stored,
    top_up,
    voiding,
)
from tests.ledger.conftest import Mirror, open_mirror
from tests.world.databases import PostgresServer

ROOT = Path(__file__).parents[2]


async def carried_out(mirror: Mirror, step: Step) -> None:
    """Reserved, and then posted as the bank's success would."""
    await mirror.do(step)
    await mirror.do(posting(step))


def did(results: list[StepOutcome | BaseException]) -> list[bool | str]:
    """Whether each step acted, or the name of what it raised."""
    return [result.did if isinstance(result, StepOutcome) else type(result).__name__ for result in results]


async def test_payments_at_once_spend_what_is_there_and_not_a_fen_more(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    results = await mirror.together(*(opening(pay(ANN, BOB, 3)) for _ in range(60)))
    assert Counter(did(results)) == {True: 33, "FloorBroken": 27}
    assert mirror.standing()[withdrawable(ANN).name] == (100, 99)
    await mirror.assert_whole()


async def test_two_steps_of_one_operation_in_one_batch_let_its_hold_go_once(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    ended, standing = opening(pay_today(ANN, BOB, 9)), opening(pay_today(ANN, BOB, 20))
    await mirror.together(ended, standing)
    async with mirror.held_up():
        ahead = asyncio.create_task(mirror.do(opening(pay_today(ANN, BOB, 1))))
        await asyncio.sleep(0.05)
        both = asyncio.create_task(mirror.together(voiding(ended), posting(ended)))
        await asyncio.sleep(0)
    await ahead
    first, late = await both
    assert isinstance(first, StepOutcome)
    assert isinstance(late, StepOutcome)
    assert (first.did, late.did) == (True, False)
    assert mirror.standing()[withdrawable(ANN).name] == (100, 21)
    await mirror.assert_whole()


async def test_steps_that_wait_together_are_committed_together(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 1000)
    mirror.batches.clear()
    async with mirror.held_up():
        first = asyncio.create_task(mirror.do(opening(pay(ANN, BOB, 1))))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(mirror.do(opening(pay(ANN, BOB, 1)))) for _ in range(40)]
        await asyncio.sleep(0)
    await asyncio.gather(first, *others)
    assert mirror.batches == [1, 40]


async def test_who_watches_the_batches_hears_where_each_step_of_one_came_from(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 1000)
    caller: ContextVar[str] = ContextVar("caller", default="nobody")
    batches: list[tuple[list[str], float]] = []

    async def submit(writer: Writer, name: str) -> None:
        caller.set(name)
        await writer.submit(opening(pay(ANN, BOB, 1)))

    def noted(origins: Sequence[str], seconds: float) -> None:
        batches.append((list(origins), seconds))

    async with Writer(mirror.dsn, PLATFORM, on_batch=noted, origin=caller.get).running() as writer:
        async with mirror.held_up():
            first = asyncio.create_task(submit(writer, "first"))
            await asyncio.sleep(0.05)
            others = [asyncio.create_task(submit(writer, name)) for name in ("second", "third")]
            await asyncio.sleep(0)
        await asyncio.gather(first, *others)
    assert [origins for origins, _ in batches] == [["first"], ["second", "third"]]
    assert all(seconds > 0 for _, seconds in batches)


async def test_a_refusal_is_recorded_with_the_floor_and_its_amounts(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 101), payer=SubAccount("ann"), amount_fen=101)
    with pytest.raises(FloorBroken) as refusal:
        await mirror.do(step)
    assert (refusal.value.breach.needed_fen, refusal.value.breach.left_fen) == (101, 100)
    recorded = await mirror.reads.operation(operation_id=step.operation_id)
    assert recorded is not None
    assert (recorded.state, recorded.reason, recorded.amount_fen) == (State.REFUSED, REASON_FLOOR, 101)
    assert recorded.breach == dataclasses.asdict(refusal.value.breach)
    assert await mirror.reads.parts([step.operation_id]) == {}
    (event,) = (await mirror.events.after(0, 10, Wanted(operation_id=step.operation_id))).events
    assert event.state is State.REFUSED
    await mirror.assert_whole()


async def test_holds_are_counted_in_available_until_the_bank_has_spoken(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 60)
    await carried_out(mirror, opening(top_up(ANN, 40)))
    step = opening(pay(ANN, BOB, 70))
    await mirror.do(step)
    await mirror.do(doubting(step))
    balance = (await mirror.reads.balances([ANN]))[ANN]
    assert (balance.available_fen, balance.held_fen) == (30, 70)
    with pytest.raises(FloorBroken) as refusal:
        await mirror.do(opening(pay(ANN, CAT, 31)))
    assert refusal.value.breach.left_fen == 30
    await mirror.do(voiding(step))
    assert (await mirror.reads.balances([ANN]))[ANN].available_fen == 100


async def test_two_confirms_of_one_order_at_once_pay_it_once(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    await carried_out(mirror, opening(prepay(ANN, "O1", 40)))
    results = await mirror.together(*(opening(confirm(ANN, BOB, "O1", 40)) for _ in range(2)))
    assert did(results) == [True, "FloorBroken"]
    await mirror.assert_whole()


async def test_an_order_is_not_confirmed_after_its_cancellation(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    await carried_out(mirror, opening(prepay(ANN, "O1", 40)))
    cancelled = opening(cancel(ANN, "O1", 40))
    await mirror.do(cancelled)
    for _ in range(2):
        with pytest.raises(FloorBroken) as refusal:
            await mirror.do(opening(confirm(ANN, BOB, "O1", 40)))
        assert (refusal.value.breach.pocket, refusal.value.breach.left_fen) == ("escrow", 0)
        await mirror.do(posting(cancelled))


async def test_two_prepayments_of_one_order_number_at_once_make_one_order(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    results = await mirror.together(*(opening(prepay(ANN, "O1", 40)) for _ in range(3)))
    assert did(results) == [True, "FloorBroken", "FloorBroken"]


async def test_refunds_at_once_give_back_the_payment_and_not_a_fen_more(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    await mirror.give(withdrawable(BOB), 1000)
    await carried_out(mirror, opening(pay(ANN, BOB, 100, 10, serial=Serial("S1"))))
    results = await mirror.together(*(opening(refund(Serial("S1"), ANN, BOB, 30)) for _ in range(5)))
    assert did(results) == [True, True, True, "FloorBroken", "FloorBroken"]
    refusal = results[3]
    assert isinstance(refusal, FloorBroken)
    assert (refusal.breach.pocket, refusal.breach.left_fen) == ("refundable", 10)


async def test_fee_refunds_at_once_give_back_the_fee_once(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    await carried_out(mirror, opening(pay(ANN, BOB, 100, 10, serial=Serial("S1"))))
    results = await mirror.together(*(opening(refund(Serial("S1"), ANN, BOB, 20, 10)) for _ in range(3)))
    assert did(results) == [True, "FloorBroken", "FloorBroken"]
    refusal = results[1]
    assert isinstance(refusal, FloorBroken)
    assert refusal.breach.pocket == "refundable-fee"
    left = await mirror.reads.remaining([refundable(Serial("S1"))])
    assert left[refundable(Serial("S1")).name] == 80


async def test_the_same_request_twenty_times_at_once_acts_once(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 5))
    results = await mirror.together(step, *(again(step) for _ in range(19)))
    assert did(results) == [True] + [False] * 19
    assert {result.operation.id for result in results if isinstance(result, StepOutcome)} == {step.operation_id}
    assert mirror.standing()[withdrawable(ANN).name] == (100, 5)


async def test_the_same_request_id_with_other_content_is_refused_and_changes_nothing(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 5))
    results = await mirror.together(step, again(step, content=b"other"))
    assert did(results) == [True, "RequestIdReused"]
    with pytest.raises(RequestIdReused):
        await mirror.do(again(step, content=b"other"))


async def test_two_settlements_at_once_post_a_part_once(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 60))
    await mirror.do(step)
    results = await mirror.together(posting(step), voiding(step), posting(step))
    assert did(results) == [True, False, False]
    assert mirror.standing()[uncleared(BOB, DAY).name] == (60, 0)
    await mirror.assert_whole()


async def test_platforms_in_one_database_do_not_see_each_others_money(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    async with Writer(mirror.dsn, "8888").running() as other:
        with pytest.raises(FloorBroken):
            await other.submit(opening(pay(ANN, BOB, 1)))
        await other.submit(opening(enter=[money(withdrawable(ANN), 7)]))
    assert stored(mirror.dsn, "8888")[withdrawable(ANN).name] == (7, 0)
    assert mirror.standing()[withdrawable(ANN).name] == (100, 0)


async def test_a_texts_odd_characters_do_not_stop_a_settlement(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 60))
    await mirror.do(step)
    odd = Change(state=State.DONE, bank_code="000000", bank_message='余额"不足\\ {,} NULL \0 \ud800')
    await mirror.do(dataclasses.replace(posting(step), change=odd))
    found = await mirror.reads.operation(operation_id=step.operation_id)
    assert found is not None
    assert found.bank_message == '余额"不足\\ {,} NULL ? ?'


SPENDER = """
import asyncio, sys
from ledger import FloorBroken, Writer
from ledger.accounts import withdrawable
from tests.ledger.bookkeeping import ANN, BOB, CAT, PLATFORM, opening, pay, pay_today, posting

dsn, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
there, back = (ANN, BOB) if name == "left" else (BOB, ANN)

async def spend(writer, number):
    # CAT's money is for both processes; ANN's and BOB's goes to and fro, in opposite orders.
    drafts = (pay(CAT, "2000", 1), pay_today(there, back, 1), pay_today(back, there, 1))
    step = opening(*drafts, request_id=f"{name}-{number}", serial=f"{name}-{number}")
    try:
        await writer.submit(step)
    except FloorBroken as refusal:
        assert refusal.breach.owner == CAT, refusal
        return 0
    await writer.submit(posting(step))
    return 1

async def main():
    async with Writer(dsn, PLATFORM, batch_max=8).running() as writer:
        print("ready", flush=True)
        sys.stdin.readline()
        print(sum(await asyncio.gather(*(spend(writer, number) for number in range(count)))))

asyncio.run(main())
"""


async def test_two_processes_never_spend_the_same_money_and_never_block_each_other(mirror: Mirror) -> None:
    await mirror.do(
        opening(enter=[money(withdrawable(CAT), 150), money(withdrawable(ANN), 300), money(withdrawable(BOB), 300)])
    )

    def spend_in_two_processes() -> list[int]:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", SPENDER, mirror.dsn, name, "120"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("left", "right")
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            return [int(process.communicate(timeout=60)[0]) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()

    spent = await asyncio.to_thread(spend_in_two_processes)
    assert sum(spent) == 150
    assert all(spent), "both processes had their turn"
    standing = mirror.standing()
    assert withdrawable(CAT).name not in standing
    assert standing[uncleared(SubAccount("2000"), DAY).name] == (150, 0)
    assert (standing[withdrawable(ANN).name], standing[withdrawable(BOB).name]) == ((300, 0), (300, 0))
    await mirror.assert_whole()


async def test_a_process_that_waited_for_its_turn_has_a_whole_one(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_writer, "TURN_S", 2.0)
    await mirror.give(withdrawable(ANN), 1000)
    done = 0

    def count(origins: Sequence[None], _: float) -> None:
        nonlocal done
        done += len(origins)

    async with (
        Writer(mirror.dsn, PLATFORM, batch_max=64, on_batch=count).running() as writer,
        await psycopg.AsyncConnection.connect(mirror.dsn, autocommit=True) as before,
        await psycopg.AsyncConnection.connect(mirror.dsn, autocommit=True) as behind,
    ):
        await before.execute(statements.TAKE_TURN, [PLATFORM])
        steps = [asyncio.create_task(writer.submit(opening(pay(ANN, BOB, 1)))) for _ in range(300)]
        await asyncio.sleep(2.1)
        next_turn = asyncio.create_task(behind.execute(statements.TAKE_TURN, [PLATFORM]))
        await asyncio.sleep(0.1)
        await before.execute(statements.END_TURN, [PLATFORM])
        await next_turn
        # More than one batch: what is left of 300 is no crowd.
        assert done > 250
        await behind.execute(statements.END_TURN, [PLATFORM])
        await asyncio.gather(*steps)


async def test_connections_killed_under_load_lose_nothing_and_act_once(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 1000)
    kills = 0

    async def kill() -> None:
        nonlocal kills
        async with await psycopg.AsyncConnection.connect(mirror.dsn, autocommit=True) as killer:
            while True:
                rows = await killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    " AND backend_type = 'client backend'"
                )
                kills += len(await rows.fetchall())
                await asyncio.sleep(random.uniform(0.02, 0.15))

    async def payment() -> tuple[bool, State]:
        step = opening(pay(ANN, BOB, 2, 1))
        await mirror.do(step)
        await asyncio.sleep(0)
        return True, (await mirror.do(posting(step))).operation.state

    async def stream() -> list[tuple[bool, State]]:
        return [await payment() for _ in range(10)]

    killing = asyncio.create_task(kill())
    try:
        results = [result for results in await asyncio.gather(*(stream() for _ in range(25))) for result in results]
    finally:
        killing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await killing
    assert kills > 2
    assert results == [(True, State.DONE)] * 250
    standing = mirror.standing()
    assert standing[withdrawable(ANN).name] == (500, 0)
    assert standing[uncleared(BOB, DAY).name] == (250, 0)
    assert ask(mirror.dsn, "SELECT count(*) FROM transaction") == [(251,)]
    async with open_mirror(mirror.dsn) as fresh:
        await fresh.assert_whole()


@pytest.fixture
def lose_next_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The next batch is committed, but its writer only sees a broken connection."""
    losses = [0]
    sync = psycopg.AsyncPipeline.sync

    async def sync_and_lose(pipeline: psycopg.AsyncPipeline) -> None:
        await sync(pipeline)
        if losses[0]:
            losses[0] -= 1
            raise psycopg.OperationalError("the connection broke after COMMIT")

    monkeypatch.setattr(psycopg.AsyncPipeline, "sync", sync_and_lose)

    def lose() -> None:
        losses[0] += 1

    return lose


async def test_a_commit_nobody_heard_of_is_not_done_twice(mirror: Mirror, lose_next_commit: Callable[[], None]) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 30))
    lose_next_commit()
    reserved = await mirror.do(step)
    assert (reserved.did, reserved.pended) == (True, (1,))
    lose_next_commit()
    settled = await mirror.do(posting(step))
    assert settled.operation.state is State.DONE
    lose_next_commit()
    await mirror.give(withdrawable(CAT), 5)
    assert mirror.standing()[uncleared(BOB, DAY).name] == (30, 0)
    assert mirror.standing()[withdrawable(CAT).name] == (5, 0)
    await mirror.assert_whole()


async def test_a_refusal_nobody_heard_of_is_still_a_refusal(
    mirror: Mirror, lose_next_commit: Callable[[], None]
) -> None:
    lose_next_commit()
    results = await mirror.together(
        opening(pay(ANN, BOB, 30)),
        opening(enter=[top_up(ANN, 20)]),
        opening(pay(ANN, BOB, 30)),
        opening(pay(ANN, CAT, 20)),
    )
    assert did(results) == ["FloorBroken", True, "FloorBroken", True]
    lefts = [result.breach.left_fen for result in results if isinstance(result, FloorBroken)]
    assert lefts == [0, 20]
    await mirror.assert_whole()


async def test_a_second_try_of_a_released_call_survives_a_lost_commit(
    mirror: Mirror, lose_next_commit: Callable[[], None]
) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 30))
    await mirror.do(step)
    await mirror.do(voiding(step, state=State.RELEASED))
    lose_next_commit()
    retry = again(step)
    reserved = await mirror.do(retry)
    assert isinstance(retry.operation, NewOperation)
    assert (reserved.did, reserved.pended, reserved.operation.serial) == (True, (2,), retry.operation.serial)
    await mirror.do(dataclasses.replace(posting(step), post={2: retry.pend[0]}))
    assert mirror.standing()[uncleared(BOB, DAY).name] == (30, 0)
    parts = (await mirror.reads.parts([step.operation_id]))[step.operation_id]
    assert [part.state for part in parts] == [PartState.VOIDED, PartState.POSTED]
    await mirror.assert_whole()


@pytest.mark.parametrize(
    ("owner", "method", "batches_before"),
    [(journal.Reading, "learn", 0), (psycopg.AsyncPipeline, "sync", 1)],
    ids=["within a batch", "between two batches"],
)
async def test_a_writer_that_stalls_gives_its_turn_up_and_still_writes_its_step(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, batches_before: int
) -> None:
    monkeypatch.setattr(statements, "TAKE_TURN", statements.TAKE_TURN.replace("'10s'", "'300ms'"))
    for name in ("transaction_timeout", "idle_in_transaction_session_timeout"):
        monkeypatch.setitem(statements.SESSION, name, "300ms")
    await mirror.give(withdrawable(ANN), 100)
    original, stalls, goes_on = getattr(owner, method), asyncio.Event(), asyncio.Event()

    async def stall(*arguments: Any) -> None:
        await original(*arguments)
        if not stalls.is_set():
            stalls.set()
            await goes_on.wait()

    monkeypatch.setattr(owner, method, stall)
    async with Writer(mirror.dsn, PLATFORM, batch_max=1).running() as stalling:
        early = [asyncio.create_task(stalling.submit(opening(enter=[top_up(BOB, 1)]))) for _ in range(batches_before)]
        late = asyncio.create_task(stalling.submit(opening(pay(ANN, BOB, 60))))
        await stalls.wait()
        async with asyncio.timeout(30):
            assert (await mirror.do(opening(pay(ANN, CAT, 60)))).did
        goes_on.set()
        assert did(await asyncio.gather(*early)) == [True] * batches_before
        with pytest.raises(FloorBroken) as refusal:
            await late
        assert refusal.value.breach.left_fen == 40
    await mirror.assert_whole()


def poison() -> dict[str, Step]:
    """Steps that no caller should make, by what stops each."""
    return {
        "UniqueViolation": opening(top_up(ANN, 1), serial=Serial("S-taken")),
        "CheckViolation": opening(top_up(ANN, 1), amount_fen=-1),
        "NumericValueOutOfRange": opening(top_up(ANN, 1), amount_fen=2**63),
        "LedgerCorrupt": opening(top_up(ANN, 1)),
        "TypeError": opening(top_up(ANN, 1), plan={"day": DAY}),
    }


@pytest.mark.parametrize("kind", list(poison()))
async def test_a_step_that_cannot_be_written_hurts_nobody_else_in_its_batch(mirror: Mirror, kind: str) -> None:
    await mirror.give(withdrawable(ANN), 100)
    await mirror.do(opening(top_up(CAT, 1), serial=Serial("S-taken")))
    bad = poison()[kind]
    if kind == "LedgerCorrupt":
        await mirror.do(bad)
        bad = dataclasses.replace(posting(bad), post={9: bad.pend[0]})
    mirror.batches.clear()
    good = [opening(pay(ANN, BOB, 10)) for _ in range(8)]
    results = await mirror.together(*good[:4], bad, *good[4:])
    assert did(results) == [True] * 4 + [kind] + [True] * 4
    assert mirror.standing()[withdrawable(ANN).name] == (100, 80)
    assert (await mirror.do(opening(pay(ANN, BOB, 20)))).did
    await mirror.assert_whole()


async def test_a_full_queue_refuses_new_operations_and_lets_those_under_way_go_on(database: str) -> None:
    async with open_mirror(database, queue_max=5) as mirror:
        await mirror.give(withdrawable(ANN), 100)
        under_way = opening(pay(ANN, BOB, 1))
        await mirror.do(under_way)
        async with mirror.held_up():
            first = asyncio.create_task(mirror.do(opening(pay(ANN, BOB, 1))))
            await asyncio.sleep(0.05)
            waits = [asyncio.create_task(mirror.do(opening(pay(ANN, BOB, 1)))) for _ in range(5)]
            await asyncio.sleep(0)
            with pytest.raises(LedgerBusy):
                await mirror.do(opening(pay(ANN, BOB, 1)))
            settled = asyncio.create_task(mirror.do(posting(under_way)))
            await asyncio.sleep(0)
        assert all(outcome.did for outcome in await asyncio.gather(first, *waits, settled))
        assert mirror.standing()[withdrawable(ANN).name] == (99, 6)


async def test_a_step_opens_nothing_when_its_turn_comes_too_late_and_is_carried_on_however_late(
    mirror: Mirror,
) -> None:
    await mirror.give(withdrawable(ANN), 100)
    under_way = opening(pay(ANN, BOB, 1))
    await mirror.do(under_way)
    soon_s, later_s = time.monotonic() + 0.05, time.monotonic() + 60.0
    async with mirror.held_up():
        first = asyncio.create_task(mirror.do(opening(pay(ANN, BOB, 2), not_after_s=later_s)))
        await asyncio.sleep(0.02)
        waits = asyncio.create_task(
            mirror.together(
                opening(pay(ANN, BOB, 50), not_after_s=soon_s),
                opening(pay(ANN, BOB, 4), not_after_s=later_s),
                dataclasses.replace(posting(under_way), not_after_s=soon_s),
            )
        )
        await asyncio.sleep(0.1)
    assert (await first).did
    assert did(await waits) == ["DeadlinePassed", True, True]
    assert mirror.standing()[withdrawable(ANN).name] == (99, 6)
    await mirror.assert_whole()


async def test_what_was_opened_in_time_is_told_to_whoever_asks_too_late(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    past_s = time.monotonic() - 1.0
    step = opening(pay(ANN, BOB, 1))
    await mirror.do(step)
    # Its own writer asks again after a lost connection, its caller with another serial.
    assert (await mirror.do(dataclasses.replace(step, not_after_s=past_s))).did
    assert not (await mirror.do(dataclasses.replace(again(step), not_after_s=past_s))).did
    # Released, it would be opened anew.
    await mirror.do(voiding(step, state=State.RELEASED))
    with pytest.raises(DeadlinePassed):
        await mirror.do(dataclasses.replace(again(step), not_after_s=past_s))
    assert (await mirror.do(again(step))).did


@pytest.mark.parametrize("ends_badly", [False, True])
async def test_a_writer_that_stops_writes_what_waits(mirror: Mirror, ends_badly: bool) -> None:
    await mirror.give(withdrawable(ANN), 100)
    steps = [opening(pay(ANN, BOB, 1)) for _ in range(20)]

    @contextlib.asynccontextmanager
    async def stopping() -> AsyncIterator[list[asyncio.Task[StepOutcome]]]:
        with contextlib.suppress(ExceptionGroup):
            async with Writer(mirror.dsn, PLATFORM, batch_max=6).running() as writer:
                tasks = [asyncio.create_task(writer.submit(step)) for step in steps]
                await asyncio.sleep(0)
                yield tasks
                if ends_badly:
                    raise RuntimeError("the service fell over")
        with pytest.raises(LedgerUnavailable):
            await writer.submit(opening(pay(ANN, BOB, 1)))

    async with stopping() as tasks:
        pass
    assert [task.result().did for task in tasks] == [True] * 20
    assert mirror.standing()[withdrawable(ANN).name] == (100, 20)
    await mirror.assert_whole()


async def test_a_writer_that_cannot_write_stops_in_time_and_tells_those_who_wait(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    async with mirror.held_up():
        began_s = time.monotonic()
        async with Writer(mirror.dsn, PLATFORM, close_s=0.2).running() as writer:
            tasks = [asyncio.create_task(writer.submit(opening(pay(ANN, BOB, 1)))) for _ in range(3)]
            await asyncio.sleep(0.1)
            tasks.append(asyncio.create_task(writer.submit(opening(pay(ANN, BOB, 1)))))
            await asyncio.sleep(0)
        assert time.monotonic() - began_s < 5
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [LedgerUnavailable] * 4
    assert mirror.standing()[withdrawable(ANN).name] == (100, 0)


async def test_a_caller_who_stops_waiting_does_not_take_his_step_back(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 60))
    async with mirror.held_up():
        task = asyncio.create_task(mirror.do(step))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert (await mirror.do(posting(step))).did
    assert mirror.standing()[uncleared(BOB, DAY).name] == (60, 0)


async def test_callers_are_told_when_postgres_stays_away_and_those_behind_them_wait_no_longer(
    unused_tcp_port: int,
) -> None:
    async with Writer(
        f"postgresql://jzb@127.0.0.1:{unused_tcp_port}/jzb", PLATFORM, retry_s=1, batch_max=1
    ).running() as away:
        started_s = time.monotonic()
        results = await asyncio.gather(
            *(away.submit(opening(pay(ANN, BOB, 1))) for _ in range(4)), return_exceptions=True
        )
        took_s = time.monotonic() - started_s
    assert [type(result) for result in results] == [LedgerUnavailable] * 4
    assert 1 <= took_s < 3


async def test_a_member_is_kept_with_the_step_that_opened_it(mirror: Mirror) -> None:
    member = Member(member_id=MemberCode("ann"), sub_account=ANN, property="00")
    await mirror.do(opening(state=State.DONE, members=(member,)))
    found = await mirror.reads.member(MemberCode("ann"))
    assert found is not None
    assert (found.sub_account, found.property, found.is_open) == (ANN, "00", True)
    await mirror.do(opening(state=State.DONE, members=(dataclasses.replace(member, is_open=False),)))
    found = await mirror.reads.member(MemberCode("ann"))
    assert found is not None
    assert not found.is_open
    assert found.closed_at is not None


async def test_money_held_over_a_clearing_is_withdrawable_when_it_comes_back(mirror: Mirror) -> None:
    await mirror.do(opening(enter=[top_up(ANN, 70), money(withdrawable(ANN), 30)]))
    step = opening(pay(ANN, BOB, 90))
    await mirror.do(step)
    await mirror.do(clearing(DAY))
    # A writer that has read nothing of the withdrawable pocket adds to it all the same.
    await mirror.do(voiding(step))
    balance = (await mirror.reads.balances([ANN]))[ANN]
    assert (balance.withdrawable_fen, balance.uncleared_fen, balance.held_fen) == (100, 0, 0)
    assert (await mirror.do(opening(pay_today(ANN, BOB, 100)))).did
    await mirror.assert_whole()


async def test_a_check_writes_nothing(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    before = ask(mirror.dsn, "SELECT name, xmin::text FROM account ORDER BY name")
    for fen in (60, 101):
        draft: Draft = prepay(ANN, "O1", fen)
        (result,) = await mirror.together(opening(draft, check_only=True))
        assert isinstance(result, StepOutcome if fen == 60 else FloorBroken)
    assert ask(mirror.dsn, "SELECT name, xmin::text FROM account ORDER BY name") == before
    assert ask(mirror.dsn, "SELECT count(*) FROM operation") == [(1,)]


async def test_a_part_that_was_never_pending_is_reported_as_corruption(mirror: Mirror) -> None:
    step = opening(top_up(ANN, 1))
    await mirror.do(step)
    with pytest.raises(LedgerCorrupt, match="part 7"):
        await mirror.do(dataclasses.replace(voiding(step), void=(7,)))


async def test_a_writer_that_remembers_too_much_starts_afresh(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ACCOUNTS_MAX", 3)
    await mirror.give(withdrawable(ANN), 100)
    steps = [opening(pay(ANN, SubAccount(member), 10)) for member in (BOB, CAT, "1004", "1005")]
    assert did(await mirror.together(*steps)) == [True] * 4
    assert did(await mirror.together(*map(posting, steps))) == [True] * 4
    assert mirror.standing()[withdrawable(ANN).name] == (60, 0)
    await mirror.assert_whole()


async def test_what_somebody_else_changed_by_hand_is_added_to_and_not_written_over(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    with psycopg.connect(mirror.dsn) as connection:
        connection.execute("UPDATE account SET balance_fen = balance_fen - 95 WHERE name = 'withdrawable:1001'")
    # The writer still believes in 100 fen: PostgreSQL's own floor stops it, and then it looks.
    with pytest.raises(FloorBroken) as refusal:
        await mirror.do(opening(pay(ANN, BOB, 60)))
    assert refusal.value.breach.left_fen == 5


def _replaced(postgres: PostgresServer, dsn: str, copy: str) -> None:
    """Another database takes the place of one that is in use."""
    name, other = dsn.rsplit("/", 1)[1], copy.rsplit("/", 1)[1]
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        connection.execute(f"ALTER DATABASE {other} RENAME TO {name}".encode())


async def test_books_that_lost_what_this_process_committed_are_not_written_to_even_when_they_have_grown(
    database: str, postgres: PostgresServer
) -> None:
    async with Writer(database, PLATFORM).running() as earlier:
        await earlier.submit(opening(enter=[money(withdrawable(ANN), 100)]))
    older = postgres.create(f"{database.rsplit('/', 1)[1]}_older", database.rsplit("/", 1)[1])
    async with Writer(database, PLATFORM).running() as writer:
        await writer.submit(opening(enter=[money(withdrawable(ANN), 1)]))
        _replaced(postgres, database, older)
        with pytest.raises(LedgerBehind, match="have 1 batches, and not batch 2"):
            await writer.submit(opening(enter=[money(withdrawable(ANN), 1)]))
        async with Writer(database, PLATFORM).running() as other:
            for _ in range(2):
                await other.submit(opening(enter=[money(withdrawable(ANN), 1)]))
        with pytest.raises(LedgerBehind, match="have 3 batches, and not batch 2"):
            await writer.submit(opening(enter=[money(withdrawable(ANN), 1)]))
    assert stored(database)[withdrawable(ANN).name] == (102, 0)


async def test_marked_books_are_written_to_by_the_catch_up_alone_and_others_never(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    async with Writer(mirror.dsn, PLATFORM, catches_up=True).running() as catching_up:
        with pytest.raises(LedgerBehind, match="these books are open"):
            await catching_up.submit(opening(pay(ANN, BOB, 1)))
        with psycopg.connect(mirror.dsn) as connection:
            connection.execute("UPDATE platform SET behind_since = now()")
        with pytest.raises(LedgerBehind, match="restored from a copy"):
            await mirror.do(opening(pay(ANN, BOB, 1)))
        assert (await catching_up.submit(opening(pay(ANN, BOB, 1)))).did


async def test_a_server_that_takes_no_writes_any_more_is_one_that_is_away(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    name = mirror.dsn.rsplit("/", 1)[1]

    def set_read_only(is_so: str) -> None:
        with psycopg.connect(mirror.dsn, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {is_so}".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    set_read_only("on")
    paying = asyncio.create_task(mirror.do(opening(pay(ANN, BOB, 1))))
    await asyncio.sleep(0.5)
    assert not paying.done()
    set_read_only("off")
    assert (await paying).did


async def test_every_connection_notices_a_network_that_swallows_everything(database: str) -> None:
    patient = f"{database}?connect_timeout=17"
    async with open_pool(patient) as pool, pool.connection() as connection:
        found = [connection.info.get_parameters()]
    engine = connect(patient, 1)
    try:
        async with engine.connect() as reading:
            raw = await reading.get_raw_connection()
            assert raw.driver_connection is not None
            found.append(raw.driver_connection.info.get_parameters())
    finally:
        await engine.dispose()
    async with Writer(patient, PLATFORM).running() as writer:
        await writer.submit(opening(enter=[money(withdrawable(ANN), 1)]))
        assert writer._connection is not None
        found.append(writer._connection.info.get_parameters())
    for parameters in found:
        assert (parameters["keepalives_idle"], parameters["tcp_user_timeout"]) == ("5", "10000")
        assert parameters["connect_timeout"] == "17"
