"""What can be read of the mirror, on books that its one writer made."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from ledger import (
    Change,
    Draft,
    Filter,
    FloorBroken,
    InDoubt,
    Kind,
    LedgerUnavailable,
    Leg,
    Lookups,
    Member,
    MemberBalance,
    Operation,
    Overview,
    PartState,
    Patience,
    Reads,
    SerialNumbers,
    State,
    Step,
    Suspended,
    connect,
    seals,
)
from ledger.accounts import FEE, POOLED, escrow, frozen, refundable, refundable_fee, suspense, uncleared, withdrawable
from ledger.names import BankSerial, MemberCode, RequestId, Serial, SubAccount
from ledger.reads.overview import OVERVIEW
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    CAT,
    DAY,
    DAY_AFTER,
    DAY_BEFORE,
    PLATFORM,
    ask,
    clearing,
    confirm,
    doubting,
    execute,
    freeze,
    money,
    new_id,
    opening,
    pay,
    posting,
    prepay,
    refund,
    top_up,
    voiding,
)
from tests.ledger.conftest import Mirror


async def done(mirror: Mirror, step: Step) -> Step:
    """Reserved and posted."""
    await mirror.do(step)
    await mirror.do(posting(step))
    return step


async def test_available_is_withdrawable_plus_waiting_without_what_is_held(mirror: Mirror) -> None:
    await mirror.do(opening(enter=[money(withdrawable(ANN), 100)]))
    await mirror.do(opening(enter=[top_up(ANN, 50)]))
    await done(mirror, opening(prepay(ANN, "O1", 20)))
    await done(mirror, opening(freeze(ANN, "F1", 10)))
    await mirror.do(opening(pay(ANN, BOB, 40)))
    await mirror.do(opening(confirm(ANN, BOB, "O1", 5)))
    await mirror.do(opening(Draft((Leg(frozen(ANN, "F1"), withdrawable(BOB), 3),))))
    assert (await mirror.reads.balances([ANN, CAT])) == {
        ANN: MemberBalance(
            sub_account=ANN,
            available_fen=80,
            withdrawable_fen=80,
            uncleared_fen=0,
            frozen_fen=7,
            escrow_fen=15,
            held_spendable_fen=40,
            held_withdrawable_fen=20,
            held_frozen_fen=3,
            held_escrow_fen=5,
        ),
        CAT: MemberBalance(sub_account=CAT),
    }
    assert (await mirror.reads.balances([ANN]))[ANN].held_fen == 48
    assert await mirror.reads.pocket(withdrawable(ANN)) == (100, 20)
    assert await mirror.reads.pocket(withdrawable(CAT)) == (0, 0)
    assert await mirror.reads.remaining([escrow(ANN, "O1"), escrow(ANN, "O2")]) == {
        "escrow:1001:O1": 15,
        "escrow:1001:O2": 0,
    }


async def test_the_platforms_own_accounts_are_shown_without_the_limits(mirror: Mirror) -> None:
    await mirror.do(opening(enter=[top_up(ANN, 100, 10)]))
    await done(mirror, opening(pay(ANN, BOB, 50, 5, serial=Serial("S1"))))
    assert await mirror.reads.functional() == {Kind.IN_TRANSIT: -100, Kind.FEE: 15}


async def test_the_trial_balance_sums_to_zero_and_shows_both_sides(mirror: Mirror) -> None:
    await mirror.do(opening(enter=[top_up(ANN, 100, 10)]))
    await done(mirror, opening(pay(ANN, BOB, 50, 5)))
    await mirror.do(opening(pay(ANN, BOB, 20)))
    rows = (await mirror.entries.totals()).by_kind
    debits_fen, credits_fen = (sum(side) for side in zip(*rows.values(), strict=True))
    assert debits_fen == credits_fen == 150
    # What is held has moved nothing.
    assert rows[Kind.UNCLEARED] == (50, 135)


async def test_members_are_found_by_code_and_by_sub_account_and_page_by_page(mirror: Mirror) -> None:
    for code, sub_account in (("ann", ANN), ("bob", BOB), ("cat", CAT)):
        member = Member(member_id=MemberCode(code), sub_account=sub_account, property="SH" if code == "bob" else "00")
        await mirror.do(opening(state=State.DONE, members=(member,)))
    assert set(await mirror.reads.members([MemberCode("ann"), MemberCode("cat"), MemberCode("dan")])) == {"ann", "cat"}
    assert await mirror.reads.member(MemberCode("dan")) is None
    by_number = await mirror.reads.members_by_sub_account([BOB, SubAccount("9999")])
    assert {number: (member.member_id, member.property) for number, member in by_number.items()} == {BOB: ("bob", "SH")}
    first = await mirror.reads.members_page("", 2)
    rest = await mirror.reads.members_page(first[-1].member_id, 2)
    assert [member.member_id for member in first + rest] == ["ann", "bob", "cat"]


async def test_an_operation_is_found_by_each_of_its_names(mirror: Mirror) -> None:
    step = opening(top_up(ANN, 5), request_id="r-1", serial=Serial("S-1"), plan={"kept": "as it was", "fen": 5})
    await mirror.do(step)
    found = await mirror.reads.operation(request_id=RequestId("r-1"))
    assert found is not None
    assert found.id == step.operation_id
    assert found.plan == {"kept": "as it was", "fen": 5}
    assert await mirror.reads.operation(serial=Serial("S-1")) == found
    assert await mirror.reads.operation(operation_id=found.id) == found
    assert await mirror.reads.operation(request_id=RequestId("r-2")) is None
    with pytest.raises(ValueError, match="by its id, its request id or its serial"):
        await mirror.reads.operation(request_id=RequestId("r-1"), serial=Serial("S-1"))


async def test_operations_are_found_by_their_request_ids_together(mirror: Mirror) -> None:
    for name in ("transfer 1", "transfer 2"):
        await mirror.do(opening(enter=[money(withdrawable(ANN), 100)], request_id=name))
    found = await mirror.reads.operations_by_request(
        {RequestId("transfer 1"), RequestId("transfer 2"), RequestId("transfer 3")}
    )
    assert {name: one.request_id for name, one in found.items()} == {
        "transfer 1": "transfer 1",
        "transfer 2": "transfer 2",
    }
    assert await mirror.reads.operations_by_request(set()) == {}


async def test_what_lies_in_suspense_is_told_by_transfer_until_it_is_gone(mirror: Mirror) -> None:
    for transfer, fen in (("2611230000000001", 100), ("2611230000000002", 50), ("2611240000000003", 70)):
        await mirror.do(opening(enter=[money(suspense(BankSerial(transfer)), fen)]))
    await done(mirror, opening(Draft((Leg(suspense(BankSerial("2611230000000002")), withdrawable(ANN), 50),))))
    await mirror.do(opening(Draft((Leg(suspense(BankSerial("2611230000000001")), withdrawable(ANN), 60),))))
    unknown: Any = {"operation_id": None, "amount_fen": 0, "bank_day": None}
    first = Suspended(transfer="2611230000000001", remaining_fen=40, held_fen=60, **unknown)
    last = Suspended(transfer="2611240000000003", remaining_fen=70, held_fen=0, **unknown)
    assert await mirror.reads.suspended("", 10) == [first, last]
    assert await mirror.reads.suspended("", 1) == [first]
    assert await mirror.reads.suspended(first.transfer, 10) == [last]
    assert (await mirror.reads.functional())[Kind.SUSPENSE] == 170
    with pytest.raises(FloorBroken) as refusal:
        await mirror.do(opening(Draft((Leg(suspense(BankSerial("2611230000000001")), withdrawable(ANN), 41),))))
    breach = refusal.value.breach
    assert (breach.pocket, breach.ref, breach.needed_fen, breach.left_fen) == ("suspense", first.transfer, 41, 40)
    await mirror.assert_whole()


async def test_operations_are_listed_newest_first_by_every_filter(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    paid = await done(mirror, opening(pay(ANN, BOB, 1), payer=SubAccount("ann"), payee=SubAccount("bob")))
    ordered = opening(prepay(ANN, "O1", 2), kind="PREPAY_ORDER", payer=SubAccount("ann"), order_no="O1")
    topped = opening(top_up(BOB, 3), kind="TOP_UP", payee=SubAccount("bob"))
    for step in (ordered, topped):
        await mirror.do(step)

    async def page(**filters: Any) -> list[object]:
        behind, limit = filters.pop("behind", None), filters.pop("limit", 10)
        found = await mirror.lists.page(Filter(**filters), behind=behind, limit=limit)
        return [operation.id for operation, _ in found.full_operations if operation.payer or operation.payee]

    ids = [step.operation_id for step in (topped, ordered, paid)]
    assert await page() == ids
    assert await page(behind=ids[0]) == ids[1:]
    assert await page(limit=2) == ids[:2]
    assert await page(states=frozenset({State.RESERVED})) == ids[:2]
    assert await page(states=frozenset({State.DONE})) == [ids[2]]
    assert await page(kinds=frozenset({"TOP_UP"})) == [ids[0]]
    assert await page(kinds=frozenset({"PAY_T1"})) == [ids[2]]
    assert await page(member_id="ann") == ids[1:]
    assert await page(member_id="bob") == [ids[0], ids[2]]
    assert await page(order_no="O1") == [ids[1]]
    assert await page(days=(DAY, DAY)) == [ids[2]]
    assert await page(days=(DAY, DAY), member_id="cat") == []


async def test_a_payment_tells_what_is_left_of_it_pending_refunds_counted_as_gone(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = await done(mirror, opening(pay(ANN, BOB, 100, 10, serial=Serial("S1")), serial=Serial("S1")))
    pending = opening(refund(Serial("S1"), ANN, BOB, 30, 4))
    await mirror.do(pending)
    payment = await mirror.reads.payment(Serial("S1"))
    assert payment is not None
    assert payment.operation.id == step.operation_id
    assert (payment.part.amount_fen, payment.part.state) == (100, PartState.POSTED)
    assert (payment.refundable_fen, payment.refundable_fee_fen) == (70, 6)
    assert [part.amount_fen for part in await mirror.reads.pending_refunds(Serial("S1"))] == [30]
    await mirror.do(voiding(pending))
    assert await mirror.reads.pending_refunds(Serial("S1")) == []
    assert await mirror.reads.remaining([refundable(Serial("S1")), refundable_fee(Serial("S1"))]) == {
        "refundable:S1": 100,
        "refundable-fee:S1": 10,
    }
    assert await mirror.reads.payment(Serial("S2")) is None


async def test_a_payment_is_its_last_part_under_that_serial(mirror: Mirror) -> None:
    step = opening(dataclasses.replace(top_up(ANN, 5), serial=Serial("T1")))
    await mirror.do(step)
    back = dataclasses.replace(money(POOLED, 5), legs=(Leg(FEE, POOLED, 5),), serial=Serial("T1"), corrects=1)
    await mirror.do(posting(step, enter=(back,)))
    payment = await mirror.reads.payment(Serial("T1"))
    assert payment is not None
    assert (payment.part.part, payment.part.corrects) == (2, 1)


async def test_an_order_tells_what_was_done_under_its_number(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    refused = opening(prepay(ANN, "O1", 900), kind="PREPAY_ORDER", order_no="O1", amount_fen=900)
    await mirror.together(refused)
    assert await mirror.reads.order("O1", ["PREPAY_ORDER"]) is None
    step = await done(mirror, opening(prepay(ANN, "O1", 50), kind="PREPAY_ORDER", order_no="O1", amount_fen=50))
    for fen in (10, 15):
        await done(mirror, opening(confirm(ANN, BOB, "O1", fen), kind="CONFIRM_ORDER", order_no="O1", amount_fen=fen))
    await mirror.do(opening(confirm(ANN, BOB, "O1", 5), kind="CONFIRM_ORDER", order_no="O1", amount_fen=5))
    found = await mirror.reads.order("O1", ["PREPAY_ORDER"])
    assert found is not None
    assert found.operation.id == step.operation_id
    (money,) = await mirror.reads.ordered(Kind.ESCROW, [(step.operation_id, "O1")])
    assert money.done_fen == {"PREPAY_ORDER": 50, "CONFIRM_ORDER": 25}
    assert (money.put_fen, money.balance_fen, money.held_fen) == (50, 25, 5)
    assert await mirror.reads.ordered(Kind.FROZEN, []) == []


async def test_an_order_counts_what_was_done_of_an_operation_and_not_what_was_asked(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    frozen = await done(mirror, opening(freeze(ANN, "O1", 50), kind="FREEZE", order_no="O1", amount_fen=50))
    split = opening(
        *(pay(ANN, payee, fen) for payee, fen in ((BOB, 10), (CAT, 15))),
        kind="PAY_FROZEN",
        order_no="O1",
        amount_fen=25,
    )
    await mirror.do(split)
    await mirror.do(dataclasses.replace(posting(split, 1), void=(2,)))
    found = await mirror.reads.order("O1", ["FREEZE"])
    assert found is not None
    (money,) = await mirror.reads.ordered(Kind.FROZEN, [(frozen.operation_id, "O1")])
    assert money.done_fen == {"FREEZE": 50, "PAY_FROZEN": 10}


async def test_the_days_that_wait_are_told_with_what_channels_owe(mirror: Mirror) -> None:
    await mirror.do(opening(enter=[top_up(ANN, 50, 5)], bank_day=DAY))
    await mirror.do(opening(enter=[top_up(ANN, 20)], bank_day=DAY_BEFORE))
    await mirror.do(opening(pay(ANN, BOB, 30)))
    days = await mirror.reads.waiting_days()
    assert [(day.bank_day, day.in_transit_fen, day.uncleared_fen, day.held_fen) for day in days] == [
        (DAY_BEFORE, 20, 20, 20),
        (DAY, 50, 45, 10),
    ]
    assert await mirror.reads.waiting_pockets(DAY_BEFORE, 10) == []
    assert await mirror.reads.waiting_pockets(DAY_AFTER, 10) == [(uncleared(ANN, DAY), 35)]


async def test_cleared_days_are_remembered(mirror: Mirror) -> None:
    assert await mirror.reads.cleared_through() is None
    await mirror.do(clearing(DAY_BEFORE))
    await mirror.do(clearing(DAY))
    assert await mirror.reads.cleared_through() == DAY


async def test_money_in_doubt_is_summed_with_the_age_of_the_oldest(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    assert (await in_doubt(mirror)).doubt_age_s == 0
    steps = [opening(pay(ANN, BOB, fen), amount_fen=fen) for fen in (10, 20, 30)]
    for step in steps:
        await mirror.do(step)
    for step in steps[:2]:
        await mirror.do(doubting(step))
    doubt = await in_doubt(mirror)
    assert doubt.in_doubt == {"PAY_T1": InDoubt(operations=2, amount_fen=30)}
    assert 0 < doubt.doubt_age_s < 60


async def test_the_overview_says_how_far_statements_are_behind_the_journal(mirror: Mirror) -> None:
    assert (await in_doubt(mirror)).statements_s == 0
    await mirror.give(withdrawable(ANN), 100)
    await asyncio.sleep(0.01)
    assert 0.01 <= (await in_doubt(mirror)).statements_s < 60
    await mirror.entries.fill()
    assert (await in_doubt(mirror)).statements_s == 0


async def test_money_whose_process_died_or_whose_order_the_bank_forgot_is_in_doubt(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    reserved, accepted = (opening(pay(ANN, BOB, fen), amount_fen=fen) for fen in (10, 20))
    await mirror.do(reserved)
    await mirror.do(accepted)
    change = dataclasses.replace(accepted.change, state=State.ACCEPTED)
    await mirror.do(dataclasses.replace(accepted, operation=accepted.operation_id, change=change, pend=()))
    assert (await in_doubt(mirror)).in_doubt == {}
    assert (await in_doubt(mirror, reserved_for_s=0.0)).in_doubt == {"PAY_T1": InDoubt(operations=1, amount_fen=10)}
    assert (await in_doubt(mirror, accepted_for_s=0.0)).in_doubt == {"PAY_T1": InDoubt(operations=1, amount_fen=20)}


async def in_doubt(mirror: Mirror, *, reserved_for_s: float = 60.0, accepted_for_s: float = 60.0) -> Overview:
    return await mirror.reads.overview(
        patience=Patience(reserved_for_s=reserved_for_s, accepted_for_s=accepted_for_s, today=DAY)
    )


def due(step: Step, in_s: float) -> Step:
    return dataclasses.replace(step, change=dataclasses.replace(step.change, next_ask_in_s=in_s))


async def test_what_is_due_is_leased_to_one_asker_and_comes_back_after_its_lease(mirror: Mirror) -> None:
    steps = [due(opening(top_up(ANN, 5)), -60.0 + number) for number in range(6)]
    later = due(opening(top_up(ANN, 5)), 60.0)
    await mirror.together(*steps, later)
    leases = await asyncio.gather(*(mirror.reads.lease_due(4, lease_s=0.3) for _ in range(3)))
    taken = [leased.operation.id for lease in leases for leased in lease]
    assert sorted(taken) == sorted(step.operation_id for step in steps)
    assert await mirror.reads.lease_due(10, lease_s=0.3) == []
    await asyncio.sleep(0.35)
    again = await mirror.reads.lease_due(10, lease_s=60.0)
    assert {leased.operation.id for leased in again} == set(taken)


async def test_the_longest_due_are_asked_about_first(mirror: Mirror) -> None:
    steps = [due(opening(top_up(ANN, 5)), -10.0 - number) for number in range(5)]
    await mirror.together(*steps)
    leased = await mirror.reads.lease_due(2, lease_s=60.0)
    assert {one.operation.id for one in leased} == {steps[4].operation_id, steps[3].operation_id}


async def test_one_operation_can_be_leased_ahead_of_its_time_but_not_when_final(mirror: Mirror) -> None:
    step = due(opening(top_up(ANN, 5)), 600.0)
    await mirror.do(step)
    (leased,) = await mirror.reads.lease_due(1, 60.0, step.operation_id)
    assert isinstance(leased.operation, Operation)
    assert leased.operation.next_query_at is not None
    assert leased.operation.next_query_at - leased.operation.created_at > timedelta(seconds=500)
    assert 500 < leased.due_in_s <= 600
    assert timedelta() <= leased.at - leased.operation.created_at < timedelta(seconds=60)
    (again,) = await mirror.reads.lease_due(1, 60.0, step.operation_id)
    assert 50 < again.due_in_s <= 60
    await mirror.do(posting(step))
    assert await mirror.reads.lease_due(1, 60.0, step.operation_id) == []
    assert await mirror.reads.lease_due(1, 60.0, new_id()) == []


async def test_the_next_question_is_as_far_off_as_it_was_to_be_though_the_clock_was_set_back(mirror: Mirror) -> None:
    execute(mirror.dsn, "INSERT INTO platform (platform, batches) VALUES ('9930', 1)")
    ((later,),) = ask(mirror.dsn, "SELECT now() + interval '1 hour'")
    seal = seals.follow(seals.Seal(0, later, seals.BEGINNING), PLATFORM, later, b"")
    execute(mirror.dsn, f"INSERT INTO seal VALUES ('9930', 1, '{later}', '', '\\x{seal.digest.hex()}')")
    step = due(opening(top_up(ANN, 5)), 600.0)
    await mirror.do(step)
    (leased,) = await mirror.reads.lease_due(1, 60.0, step.operation_id)
    assert 500 < leased.due_in_s <= 600


async def test_a_final_operation_is_never_due(mirror: Mirror) -> None:
    step = due(opening(top_up(ANN, 5)), -1.0)
    await mirror.do(step)
    await mirror.do(posting(step))
    execute(mirror.dsn, "UPDATE operation SET asks = asks")
    assert await mirror.reads.lease_due(10, 60.0) == []


async def test_a_released_operation_is_not_asked_about(mirror: Mirror) -> None:
    step = due(opening(top_up(ANN, 5)), -1.0)
    await mirror.do(step)
    await mirror.do(
        dataclasses.replace(voiding(step), change=Change(state=State.RELEASED), expects=frozenset({State.RESERVED}))
    )
    assert await mirror.reads.lease_due(10, 60.0) == []


async def test_numbers_are_never_given_twice_by_any_process(mirror: Mirror) -> None:
    sources = [SerialNumbers(mirror.engine) for _ in range(3)]
    taken = await asyncio.gather(*(source.next() for source in sources for _ in range(150)))
    assert len(set(taken)) == 450


async def test_reads_without_a_database_say_that_it_is_away(empty_database: str) -> None:
    nowhere = empty_database.rsplit("/", 1)[0] + "/no_such_database"
    engine = connect(nowhere, 1)
    pool = AsyncConnectionPool(nowhere, min_size=0, max_size=1, timeout=0.2, open=False)
    await pool.open()
    try:
        reads = Reads(engine, Lookups(pool, "9930"))
        for question in (
            reads.operation(request_id=RequestId("r")),
            reads.member(MemberCode("m")),
            SerialNumbers(engine).next(),
        ):
            with pytest.raises(LedgerUnavailable):
                await question
    finally:
        await pool.close()
        await engine.dispose()


async def test_the_overview_looks_up_what_is_open_however_long_the_history_is(mirror: Mirror) -> None:
    execute(
        mirror.dsn,
        "INSERT INTO operation SELECT '9930', md5(n::text)::uuid, 'r' || n, '', 'PAY_T1', 's' || n,"
        " CASE WHEN n % 50 = 0 THEN 'unknown' ELSE 'done' END, '', '', '', 100, 0, '', '', NULL, '', '', '', NULL, '',"
        " '{}', 0, 0, now() - interval '1 hour', now() FROM generate_series(1, 20000) n",
        "INSERT INTO due SELECT platform, id, now() - interval '1 minute' FROM operation WHERE state <> 'done'",
        "ANALYZE operation, due",
    )
    found = await in_doubt(mirror)
    assert found.in_doubt == {"PAY_T1": InDoubt(operations=400, amount_fen=40_000)}
    assert 60 <= found.overdue_s < 120
    assert 3600 <= found.doubt_age_s < 3700
    statement = OVERVIEW
    for name, value in {"platform": "'9930'", "reserved_for_s": "60", "accepted_for_s": "60"}.items():
        statement = statement.replace(f":{name}", value)
    plan = "\n".join(line for (line,) in ask(mirror.dsn, f"EXPLAIN {statement}"))
    assert "Index Scan using operation_pk" in plan
    assert "Seq Scan on operation" not in plan


async def test_the_parts_of_a_bank_day_are_found_by_index_however_long_the_history_is(mirror: Mirror) -> None:
    execute(
        mirror.dsn,
        "INSERT INTO resolution SELECT '9930', md5(n::text)::uuid, 1, 'posted', date '2026-01-01' + n / 200, now(),"
        " 'B' || n FROM generate_series(0, 39999) n",
        "ANALYZE resolution",
    )
    plan = "\n".join(
        line
        for (line,) in ask(
            mirror.dsn,
            "EXPLAIN SELECT operation_id, part, bank_serial FROM resolution"
            " WHERE platform = '9930' AND bank_day = '2026-01-31' AND verdict = 'posted'",
        )
    )
    assert "resolution_by_day" in plan
    assert "Seq Scan" not in plan
    ((parts,),) = ask(mirror.dsn, "SELECT count(*) FROM resolution WHERE bank_day = '2026-01-31'")
    assert parts == 200
