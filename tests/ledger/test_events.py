"""The events of a platform, read in pages, each with its operation as a whole."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ledger import Draft, Events, PartState, State, Step, Wanted, Writer, copies, open_pool
from ledger.accounts import withdrawable
from ledger.events import LAST, Event
from ledger.names import NO_SUB_ACCOUNT, MemberCode, SubAccount
from ledger.statements import EVENTS, EVENTS_OF_ONE
from tests.ledger.bookkeeping import ANN, BOB, PLATFORM, doubting, opening, pay, posting, voiding
from tests.ledger.conftest import Mirror


def said(events: list[Event]) -> list[tuple[object, State]]:
    return [(event.full.operation.id, event.state) for event in events]


async def test_events_come_in_commit_order_and_go_on_from_a_cursor(mirror: Mirror) -> None:
    assert await mirror.reads.last_event() == 0
    await mirror.give(withdrawable(ANN), 100)
    start = await mirror.reads.last_event()
    step, other = opening(pay(ANN, BOB, 30)), opening(pay(ANN, BOB, 20))
    await mirror.together(step, other, doubting(step), posting(other), posting(step))
    events = (await mirror.events.after(start, 100)).events
    assert [event.seq for event in events] == sorted(event.seq for event in events)
    assert said(events) == [
        (step.operation_id, State.RESERVED),
        (other.operation_id, State.RESERVED),
        (step.operation_id, State.UNKNOWN),
        (other.operation_id, State.DONE),
        (step.operation_id, State.DONE),
    ]
    page = await mirror.events.after(events[0].seq, 1, Wanted(operation_id=step.operation_id))
    assert [(event.state, event.full.operation.state) for event in page.events] == [(State.UNKNOWN, State.DONE)]
    assert page.is_full
    assert await mirror.reads.last_event() == events[-1].seq


async def test_a_page_says_how_far_it_looked_also_when_nothing_was_wanted(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    steps = [opening(pay(ANN, BOB, 1), payer=SubAccount("ann")) for _ in range(4)]
    await mirror.together(*steps)
    first, *_, last = (await mirror.events.after(0, 100)).events
    nobodys = Wanted(member_id="nobody")
    page = await mirror.events.after(first.seq, 3, nobodys)
    assert (page.events, page.is_full) == ([], True)
    page = await mirror.events.after(page.end, 3, nobodys)
    assert (page.events, page.end, page.is_full) == ([], last.seq, False)
    page = await mirror.events.after(last.seq, 3)
    assert (page.events, page.end, page.is_full) == ([], last.seq, False)
    page = await mirror.events.after(0, 100, upto=last.seq - 1)
    assert page.end == last.seq - 1


def part(payer: SubAccount, payee: SubAccount, order_no: str, fen: int = 1) -> Draft:
    return replace(pay(ANN, BOB, fen), payer=MemberCode(payer), payee=MemberCode(payee), order_no=order_no)


STEPS = [
    opening(part(SubAccount("ann"), SubAccount("bob"), ""), payer=SubAccount("ann"), payee=SubAccount("bob")),
    opening(
        part(SubAccount("ann"), SubAccount("bob"), "O1"),
        part(SubAccount("ann"), SubAccount("cat"), "O2"),
        kind="BATCH_PAY",
        payer=SubAccount("ann"),
    ),
    opening(part(NO_SUB_ACCOUNT, SubAccount("cat"), ""), kind="CONFIRM_ORDER", payee=SubAccount("cat"), order_no="O1"),
    opening(kind="OPEN_MEMBER", payee=SubAccount("cat")),
]
FILTERS = [
    Wanted(operation_id=operation_id, member_id=member_id, order_no=order_no, kinds=kinds, states=states)
    for operation_id in (None, *(step.operation_id for step in STEPS))
    for member_id in ("", "ann", "cat", "dan")
    for order_no in ("", "O1", "O3")
    for kinds in (frozenset[str](), frozenset({"PAY_T1", "BATCH_PAY"}))
    for states in (frozenset[State](), frozenset({State.DONE}), frozenset({State.DONE, State.REFUSED}))
]


async def test_what_is_wanted_is_the_same_in_memory_and_in_the_database(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    start = await mirror.reads.last_event()
    for step in STEPS:
        await mirror.do(step)
    await mirror.together(posting(STEPS[0]), posting(STEPS[1], 1), doubting(STEPS[2]))
    await mirror.do(voiding(STEPS[2]))
    everything = (await mirror.events.after(start, 100)).events
    assert len(everything) == 8
    counts = set()
    for wanted in FILTERS:
        here = [event.seq for event in everything if wanted.takes(event, event.names())]
        page = await mirror.events.after(start, 100, wanted)
        assert [event.seq for event in page.events] == here, wanted
        counts.add(len(here))
    assert counts > {0, 1, 2, 8}


@pytest.mark.parametrize("parts", [1, 3])
async def test_an_operation_is_never_shown_beside_parts_of_another_moment(mirror: Mirror, parts: int) -> None:
    await mirror.give(withdrawable(ANN), 10_000)
    dice = random.Random(parts)
    ended = False

    async def trade() -> None:
        nonlocal ended
        for _ in range(20):
            steps = [opening(*(pay(ANN, BOB, 1) for _ in range(parts))) for _ in range(3)]
            await mirror.together(*steps)
            await mirror.together(*(dice.choice((posting, voiding))(step) for step in steps))
        ended = True

    async def look() -> int:
        looks = 0
        while not ended:
            wholes = [event.full for event in (await mirror.events.after(1, 1000)).events]
            wholes += (await mirror.reads.full_operations([whole.operation.id for whole in wholes])).values()
            for operation, of_it in wholes:
                expected = {State.RESERVED: PartState.RESERVED, State.DONE: PartState.POSTED}
                assert {one.state for one in of_it} == {expected.get(operation.state, PartState.VOIDED)}
                assert len(of_it) == parts
            looks += 1
        return looks

    _, looks = await asyncio.gather(trade(), look())
    assert looks > 3


@pytest.mark.parametrize("statement", [EVENTS, EVENTS_OF_ONE])
async def test_a_page_of_events_is_found_by_index_whatever_is_known_of_the_tables(
    mirror: Mirror, statement: str
) -> None:
    """A plan that sorts or scans would take longer with every day of the books."""
    await mirror.give(withdrawable(ANN), 1_000)
    await mirror.together(*(opening(pay(ANN, BOB, 1)) for _ in range(200)))
    wanted = {"operation_id": STEPS[0].operation_id, "states": [], "kinds": [], "order_no": "O1", "member_id": "cat"}
    with psycopg.connect(mirror.dsn, cursor_factory=psycopg.ClientCursor) as connection:
        values = {"platform": PLATFORM, "after": 100, "upto": LAST, "limit": 10, **wanted}
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {statement}".encode(), values))
    assert "Index Scan using event_" in plan
    assert "Seq Scan" not in plan


async def test_an_operations_parts_come_with_their_days_and_numbers(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step: Step = opening(
        part(SubAccount("ann"), SubAccount("bob"), "O1", 10), part(SubAccount("ann"), SubAccount("cat"), "", 20)
    )
    await mirror.do(step)
    await mirror.do(posting(step, 1))
    whole = (await mirror.reads.full_operations([step.operation_id]))[step.operation_id]
    assert list(whole.parts) == (await mirror.reads.parts([step.operation_id]))[step.operation_id]
    assert whole.operation == await mirror.reads.operation(operation_id=step.operation_id)
    assert (await mirror.events.after(0, 100)).events[-1].full == whole


async def test_a_cursor_that_is_younger_than_a_restored_copy_misses_nothing_of_what_comes_then(
    mirror: Mirror, empty_database: str, tmp_path: Path
) -> None:
    await mirror.give(withdrawable(ANN), 100)
    await asyncio.to_thread(copies.back_up, mirror.dsn, tmp_path / "copy")
    await mirror.together(*(opening(pay(ANN, BOB, 1)) for _ in range(5)))
    cursor = await mirror.reads.last_event()
    await asyncio.to_thread(copies.restore, empty_database, tmp_path / "copy")
    async with (
        open_pool(empty_database) as pool,
        Writer(empty_database, PLATFORM, catches_up=True).running() as writer,
    ):
        step = opening(pay(ANN, BOB, 2))
        await writer.submit(step)
        page = await Events(pool, PLATFORM).after(cursor, 100)
    assert said(page.events) == [(step.operation_id, State.RESERVED)]
    # As a watch has it in its cursor.
    assert len(str(page.end)) <= 18
