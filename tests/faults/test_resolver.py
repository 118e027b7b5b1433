"""What the bank is asked about an outcome that is not known, how often, and what its answers do (quick start: 6110)."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from jzb.v1 import balance_pb2, core_pb2, member_pb2, withdrawal_pb2
from ledger import Leased, State
from ledger.names import Serial
from sandbox.records import Trade
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.questions.status import query_days
from tests.world.databases import PostgresServer
from tests.world.doubts import (
    ACCEPTED,
    DONE,
    IMPATIENT,
    REFUSED,
    STATUS_QUERY,
    UNKNOWN,
    assert_in_doubt,
    doubtful_payment,
    final,
    not_found_counted,
    query,
    query_none,
)
from tests.world.marketplace import LENIENT, TIMEOUT_S, Marketplace, bank_says, open_marketplace
from tests.world.process import shop_on, until
from tests.world.topups import split_request, split_top_up

ASK_AT_ONCE = {"ask_after_s": 0.05}


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        yield sandbox


async def test_a_success_that_comes_after_the_time_out_is_found(database: str) -> None:
    async with open_marketplace(database, bank=IMPATIENT, resolver=ASK_AT_ONCE) as shop:
        operation = await doubtful_payment(shop, "[[delay:1]]")
        assert (await shop.balance("buyer")).held_fen in (0, 30_00)
        assert (await final(shop, operation.operation_id)).state == DONE
        assert shop.calls_received("MemberTransaction") == 1
        assert (await shop.balance("seller")).available_fen == 30_00
        await shop.assert_agrees()


async def test_a_payment_that_the_bank_makes_after_the_time_out_is_found(database: str) -> None:
    patient = {**ASK_AT_ONCE, "not_found_interval_s": 0.8}
    async with open_marketplace(database, bank=IMPATIENT, resolver=patient) as shop:
        operation = await doubtful_payment(shop, "[[act_late:1]]")
        assert (await shop.balance("buyer")).held_fen == 30_00
        found = await final(shop, operation.operation_id)
        assert found.state == DONE
        assert found.query_attempts >= 2
        await shop.assert_agrees()


async def test_a_plan_that_was_changed_in_the_database_is_never_carried_on(database: str) -> None:
    patient = {"ask_after_s": 60.0}
    async with open_marketplace(database, bank=IMPATIENT, resolver=patient) as shop:
        operation = await doubtful_payment(shop, "[[delay:1]]")
        await shop.merchant("thief")
        seller, thief = [(await shop.balance(one)).sub_account for one in ("seller", "thief")]
        await query_none(
            shop.dsn,
            "UPDATE operation SET plan = replace(plan::text, %s, %s)::json WHERE id = %s",
            *(seller, thief, operation.operation_id),
        )
        await asyncio.sleep(1)
        assert (await shop.resolve(operation.operation_id)).state == UNKNOWN
        assert (await shop.balance("thief")).available_fen == 0
        assert (await shop.balance("buyer")).held_fen == 30_00


async def test_no_record_counts_only_when_it_is_asked_for_on_schedule(shop: Marketplace) -> None:
    operation = await doubtful_payment(shop, "[[lose_before]]")
    await query_none(
        shop.dsn,
        "UPDATE due SET ask_at = now() + interval '1 hour' WHERE operation_id = %s",
        operation.operation_id,
    )
    shop.service.components.resolver._settings = shop.service.components.settings.model_copy(
        update={
            "resolver": shop.service.components.settings.resolver.model_copy(update={"not_found_interval_s": 3600.0})
        }
    )
    for _ in range(6):
        assert (await shop.resolve(operation.operation_id)).state == UNKNOWN
    assert shop.calls_received(STATUS_QUERY) == 6
    assert await not_found_counted(shop, operation) == 0
    balance = await shop.balance("buyer")
    assert (balance.available_fen, balance.held_fen) == (70_00, 30_00)


async def test_asking_by_hand_neither_hurries_a_refusal_nor_puts_it_off(database: str) -> None:
    schedule = {"ask_after_s": 0.3, "not_found_interval_s": 0.3, "not_found_times": 4}
    async with open_marketplace(database, resolver=schedule) as shop:
        operation = await doubtful_payment(shop, "[[lose_before]]")
        began_s = time.monotonic()

        async def refused_by_hand() -> bool:
            return (await shop.resolve(operation.operation_id)).state == REFUSED

        await until(refused_by_hand, "the payment is refused")
        assert time.monotonic() - began_s >= 1.1
        assert await not_found_counted(shop, operation) == 4
        await shop.assert_agrees()


async def test_no_record_often_enough_gives_the_money_back_for_good(database: str) -> None:
    async with open_marketplace(database, resolver=ASK_AT_ONCE) as shop:
        operation = await doubtful_payment(shop, "[[lose_before]]")
        found = await final(shop, operation.operation_id)
        assert (found.state, found.outcome) == (REFUSED, core_pb2.OUTCOME_NO_EFFECT)
        assert found.bank_code == "ERR020"
        assert found.query_attempts == 3
        balance = await shop.balance("buyer")
        assert (balance.available_fen, balance.held_fen) == (100_00, 0)
        await shop.assert_agrees()


async def test_a_refusal_is_never_taken_back_and_the_comparison_shows_what_the_bank_did_too_late(database: str) -> None:
    async with open_marketplace(database, bank=IMPATIENT, resolver=ASK_AT_ONCE) as shop:
        operation = await doubtful_payment(shop, "[[act_late:5]]")
        assert (await final(shop, operation.operation_id)).state == REFUSED
        asked = shop.calls_received(STATUS_QUERY)
        await until(lambda: shop.sandbox.bank.store.get(Trade, operation.serial), "the bank acts after all")
        assert (await shop.resolve(operation.operation_id)).state == REFUSED
        assert shop.calls_received(STATUS_QUERY) == asked
        assert (await shop.balance("buyer")).available_fen == 100_00
        compared = [
            answer.comparison
            async for answer in shop.balances.CompareWithBank(balance_pb2.CompareWithBankRequest(), timeout=TIMEOUT_S)
        ]
        assert {row.member_id for row in compared if not row.agrees} == {"buyer", "seller"}


@pytest.mark.parametrize("said", [("x", "x"), ("991341", "99991231"), ("", "20241341"), ("", "")])
async def test_a_final_word_counts_whether_or_not_its_day_can_be_read(shop: Marketplace, said: tuple[str, str]) -> None:
    operation = await doubtful_payment(shop, "[[lose_after]]")
    bank_serial, day = said
    words = {"OldTranFrontSeqNo": bank_serial, "TranDate": day}
    with bank_says(shop.sandbox, STATUS_QUERY, lambda answer: answer.update(words)):
        assert (await shop.resolve(operation.operation_id)).state == DONE
    assert (await shop.balance("seller")).available_fen == 30_00
    await shop.assert_agrees()


async def sub_account_of_a_third(shop: Marketplace) -> str:
    return (await shop.balance(await shop.buyer("third"))).sub_account


@pytest.mark.parametrize("field", ["TranAmt", "InSubAcctNo", "OutSubAcctNo"])
async def test_a_success_of_another_booking_ends_nothing_and_is_told(shop: Marketplace, field: str) -> None:
    operation = await doubtful_payment(shop, "[[lose_after]]")
    other = "30.01" if field == "TranAmt" else await sub_account_of_a_third(shop)
    with bank_says(shop.sandbox, STATUS_QUERY, lambda answer: answer.update({field: other})):
        for _ in range(4):
            asked = await shop.resolve(operation.operation_id)
    assert (asked.state, (await shop.balance("buyer")).held_fen) == (UNKNOWN, 30_00)
    assert "says (6110 tells of " in asked.message
    assert (await shop.until_final(operation.operation_id)).state == DONE
    await shop.assert_agrees()


@pytest.mark.parametrize("status", ["2", "5", "6"])
async def test_a_state_in_between_is_asked_on_until_it_is_final(database: str, status: str) -> None:
    async with open_marketplace(database, resolver={"ask_after_s": 0.4}) as shop:
        operation = await doubtful_payment(shop, "[[lose_after]]")
        store = shop.sandbox.bank.store
        trade = store.get(Trade, operation.serial)
        assert trade is not None
        store.put(dataclasses.replace(trade, status=status))
        await until(lambda: shop.calls_received(STATUS_QUERY) >= 4, "the bank is asked on")
        now = await shop.operation(operation.operation_id)
        assert (now.state, now.outcome) == (UNKNOWN, core_pb2.OUTCOME_UNKNOWN)
        assert (await shop.balance("buyer")).held_fen == 30_00
        store.put(trade)
        assert (await final(shop, operation.operation_id)).state == DONE
        await shop.assert_agrees()


async def test_no_other_answer_ends_an_unknown_outcome(database: str) -> None:
    async with open_marketplace(database, resolver={"silent_interval_s": 3600.0}) as shop:
        operation = await doubtful_payment(shop, "[[lose_after]]")
        faults = ("refuse:ERR108", "refuse:ERR044", "err957", "http500", "no_signature", "bad_signature", "malformed")
        for fault in (*faults, "lose_before", "lose_after"):
            shop.sandbox.faults.add(fault, code="6110")
            now = await shop.resolve(operation.operation_id)
            assert (now.state, now.outcome) == (UNKNOWN, core_pb2.OUTCOME_UNKNOWN), fault
            assert await not_found_counted(shop, operation) == 0
        assert (await shop.until_final(operation.operation_id)).state == DONE
        await shop.assert_agrees()


async def test_a_record_found_in_between_starts_the_count_of_no_records_anew(database: str) -> None:
    async with open_marketplace(database) as shop:
        operation = await doubtful_payment(shop, "[[lose_after]]")
        await query_none(shop.dsn, "UPDATE operation SET not_found = 2 WHERE id = %s", operation.operation_id)
        trade = shop.sandbox.bank.store.get(Trade, operation.serial)
        assert trade is not None
        shop.sandbox.bank.store.put(dataclasses.replace(trade, status="2"))
        assert (await shop.resolve(operation.operation_id)).state == UNKNOWN
        assert await not_found_counted(shop, operation) == 0
        shop.sandbox.bank.store.put(trade)
        assert (await shop.until_final(operation.operation_id)).state == DONE


async def test_a_payment_whose_service_stopped_in_the_middle_is_in_doubt_and_found(
    database: str, bank: Sandbox
) -> None:
    async with shop_on(database, bank, drain_s=0.05, resolver={"ask_after_s": 0.2}) as shop:
        await shop.buyer("buyer", 100_00)
        await shop.merchant("seller")
        request = shop.pay_request("buyer", "seller", 30_00, remark="[[delay:0.6]]")
        call = asyncio.ensure_future(shop.payments.Pay(request))
        await until(lambda: shop.calls_received("MemberTransaction"), "the bank has the request")
    await asyncio.wait([call])
    assert await query(database, "SELECT state FROM operation WHERE request_id = %s", request.request_id) == [
        ("unknown",)
    ]
    async with shop_on(database, bank) as shop:
        rows = await query(database, "SELECT id::text FROM operation WHERE request_id = %s", request.request_id)
        assert (await final(shop, rows[0][0])).state == DONE
        await shop.assert_agrees()


async def test_a_caller_who_hangs_up_does_not_stop_the_payment(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00, remark="[[delay:0.3]]")
    call = asyncio.ensure_future(shop.payments.Pay(request))
    await until(lambda: shop.calls_received("MemberTransaction"), "the bank has the request")
    call.cancel()
    answer = await shop.payments.Pay(request, timeout=TIMEOUT_S)
    assert answer.operation.state == DONE
    assert shop.calls_received("MemberTransaction") == 1
    await shop.assert_agrees()


def withdraw_request(shop: Marketplace, remark: str = "") -> withdrawal_pb2.WithdrawRequest:
    return withdrawal_pb2.WithdrawRequest(
        request_id=shop.request_id(),
        member_id="seller",
        amount_fen=40_00,
        fee_on_top_fen=2_00,
        card_number="6222000000000000",
        card_holder_name="A",
        remark=remark,
    )


@pytest.mark.parametrize("fails", [False, True])
async def test_an_accepted_withdrawal_is_asked_for_until_the_money_is_out_or_back(database: str, fails: bool) -> None:
    async with open_marketplace(database, {"withdrawal_delay_s": 0.8}, resolver=ASK_AT_ONCE) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        request = withdraw_request(shop, "[[withdrawal_fail]]" if fails else "")
        operation = (await shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)).operation
        assert (operation.state, operation.outcome) == (ACCEPTED, core_pb2.OUTCOME_DONE)
        assert (await shop.balance("seller")).withdrawable_fen == 58_00
        # The bank knew it once: no record is a question gone astray.
        shop.sandbox.faults.add("not_found_first:4", code="6110")
        found = await final(shop, operation.operation_id)
        assert found.query_attempts > 4
        assert found.state == (REFUSED if fails else DONE)
        assert (await shop.balance("seller")).withdrawable_fen == (100_00 if fails else 58_00)
        await shop.assert_agrees()


async def test_a_withdrawal_whose_acceptance_was_lost_goes_through_both_movements(database: str) -> None:
    async with open_marketplace(database, {"withdrawal_delay_s": 0.5}, resolver=ASK_AT_ONCE) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        shop.sandbox.faults.add("lose_after", code="6033")
        operation = assert_in_doubt(
            await shop.refusal(shop.withdrawals.Withdraw(withdraw_request(shop), timeout=TIMEOUT_S))
        )
        assert (await final(shop, operation.operation_id)).state == DONE
        assert (await shop.balance("seller")).withdrawable_fen == 58_00
        await shop.assert_agrees()


async def test_a_split_top_up_in_doubt_is_asked_for_row_by_row(shop: Marketplace) -> None:
    members = [await shop.merchant(name) for name in ("a", "b", "c")]
    shop.sandbox.faults.add("lose_after", code="6216")
    refusal = await shop.refusal(
        shop.top_ups.SplitTopUp(split_request(shop, *((member, 10_00, 1_00) for member in members)), timeout=TIMEOUT_S)
    )
    operation = assert_in_doubt(refusal)
    shop.sandbox.faults.hide(operation.parts[1].serial, 1)
    assert (await shop.resolve(operation.operation_id)).state == UNKNOWN
    assert shop.calls_received(STATUS_QUERY) == 3
    assert (await shop.balance("a")).available_fen == 0
    assert (await shop.until_final(operation.operation_id)).state == DONE
    assert [(await shop.balance(member)).available_fen for member in members] == [9_00, 9_00, 9_00]
    await shop.assert_agrees()


async def test_a_split_top_up_that_never_arrived_credits_nobody(database: str) -> None:
    async with open_marketplace(database, resolver=ASK_AT_ONCE) as shop:
        members = [await shop.merchant(name) for name in ("a", "b")]
        shop.sandbox.faults.add("lose_before", code="6216")
        refusal = await shop.refusal(
            shop.top_ups.SplitTopUp(
                split_request(shop, *((member, 10_00, 1_00) for member in members)), timeout=TIMEOUT_S
            )
        )
        found = await final(shop, assert_in_doubt(refusal).operation_id)
        assert found.state == REFUSED
        assert [part.state for part in found.parts] == [core_pb2.PART_STATE_VOIDED] * 2
        await shop.assert_agrees()


@pytest.mark.parametrize(("fault", "state"), [("lose_after", DONE), ("lose_before", REFUSED)])
async def test_a_member_whose_opening_is_in_doubt_is_looked_up_by_its_code(
    database: str, fault: str, state: core_pb2.OperationState.ValueType
) -> None:
    async with open_marketplace(database, resolver=ASK_AT_ONCE) as shop:
        shop.sandbox.faults.add(fault, code="6000")
        request = member_pb2.OpenMemberRequest(
            request_id=shop.request_id(), member_id="late", property=member_pb2.MEMBER_PROPERTY_ORDINARY
        )
        operation = assert_in_doubt(await shop.refusal(shop.members.OpenMember(request, timeout=TIMEOUT_S)))
        assert (await final(shop, operation.operation_id)).state == state
        assert shop.calls_received(STATUS_QUERY) == 0
        if state == REFUSED:
            await shop.buyer("late")
        await shop.top_up("late", 5_00)
        assert (await shop.balance("late")).available_fen == 5_00
        await shop.assert_agrees()


async def test_two_services_never_resolve_the_same_payment_twice(database: str, bank: Sandbox) -> None:
    schedule = {"ask_after_s": 0.8, "poll_s": 0.02, "concurrency": 5}
    settings = {"resolver": schedule, "breaker": {"failures": None}}
    async with shop_on(database, bank, **settings) as one, shop_on(database, bank, **settings) as other:
        await one.buyer("buyer", 100_00)
        await one.merchant("seller")
        bank.faults.add("lose_after", code="6034", times=30)
        lost = [shop.pay_request("buyer", "seller", 1_00) for shop in (one, other) for _ in range(15)]
        shops = [one] * 15 + [other] * 15
        refusals = await asyncio.gather(
            *(
                shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
                for shop, request in zip(shops, lost, strict=True)
            )
        )
        for refusal in refusals:
            assert (await final(one, assert_in_doubt(refusal).operation_id)).state == DONE
        asked = one.calls_received(STATUS_QUERY)
        assert asked == 30
        serials = Counter(row.serial for row in bank.requests if row.service_id == "MemberTransaction")
        assert set(serials.values()) == {1}
        ended = await query(
            database,
            "SELECT event.operation_id, count(*) FILTER (WHERE event.state = 'done') FROM event JOIN operation o"
            " ON o.id = event.operation_id WHERE o.payee = 'seller' AND o.payer = 'buyer' GROUP BY event.operation_id",
        )
        assert [times for _, times in ended] == [1] * 30
        await one.assert_agrees()


async def test_twenty_who_ask_at_once_are_answered_by_few_questions(shop: Marketplace) -> None:
    operation = await doubtful_payment(shop, "[[lose_after]]")
    shop.sandbox.faults.add("delay:0.3", code="6110", times=None)
    answers = await asyncio.gather(*(shop.resolve(operation.operation_id) for _ in range(20)))
    assert {answer.state for answer in answers} == {DONE}
    assert shop.calls_received(STATUS_QUERY) == 1
    await shop.assert_agrees()


async def test_who_asks_while_the_operation_is_being_leased_gets_the_answer(shop: Marketplace, database: str) -> None:
    operation = await doubtful_payment(shop, "[[lose_after]]")
    async with await psycopg.AsyncConnection.connect(database) as other:
        await other.execute("SELECT FROM due FOR UPDATE")
        answers = asyncio.gather(*(shop.resolve(operation.operation_id) for _ in range(3)))
        await asyncio.sleep(0.3)
        assert shop.calls_received(STATUS_QUERY) == 0
    assert {answer.state for answer in await answers} == {DONE}
    assert shop.calls_received(STATUS_QUERY) == 1


async def test_the_resolver_goes_on_after_postgresql_was_away(database: str, postgres: PostgresServer) -> None:
    name = sql.Identifier(database.rsplit("/", 1)[1])

    async def allow(connection: psycopg.AsyncConnection[Any], word: str) -> None:
        await connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS " + word).format(name))

    async with (
        await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as administration,
        open_marketplace(database, resolver={"ask_after_s": 0.5}) as shop,
    ):
        operation = await doubtful_payment(shop, "[[lose_after]]")
        await allow(administration, "false")
        try:
            await administration.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [database.rsplit("/", 1)[1]],
            )
            refusal = await shop.refusal(
                shop.balances.GetBalance(balance_pb2.GetBalanceRequest(member_id="buyer"), timeout=TIMEOUT_S)
            )
            assert refusal.reason == "LEDGER_UNAVAILABLE"
            await asyncio.sleep(0.8)
        finally:
            await allow(administration, "true")
        assert (await final(shop, operation.operation_id)).state == DONE
        await shop.assert_agrees()


@pytest.mark.parametrize(
    ("opened_at", "now", "days"),
    [
        ("2026-03-01T10:00", "2026-03-04T09:59", [None]),
        ("2026-03-01T10:00", "2026-03-04T10:00", [date(2026, 3, 1), date(2026, 3, 2), date(2026, 2, 28)]),
    ],
)
def test_an_old_call_is_asked_for_with_its_bank_day_and_those_beside_it(
    opened_at: str, now: str, days: list[date | None]
) -> None:
    opened, present = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (opened_at, now))
    for serial in ("X285502603010000000001", "26030100000000000001"):
        assert list(query_days(Serial(serial), opened, present)) == days


@pytest.mark.parametrize("code", ["6034", "6216"])
async def test_what_was_settled_since_it_was_leased_is_left_as_it_is(shop: Marketplace, code: str) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    shop.sandbox.faults.add("lose_after", code=code)
    call = (
        shop.payments.Pay(shop.pay_request("buyer", "seller", 30_00), timeout=TIMEOUT_S)
        if code == "6034"
        else split_top_up(shop, buyer=(30_00, 0), seller=(20_00, 0))
    )
    lost = await shop.refusal(call)
    parts = shop.service.components
    leased = await parts.reads.operation(operation_id=UUID(lost.operation.operation_id))
    assert leased is not None
    await shop.until_final(lost.operation.operation_id)
    asked = len(shop.sandbox.requests)
    settled = await parts.resolver.resolve(Leased(operation=leased, due_in_s=0.0, at=leased.created_at))
    assert (settled.operation.state, len(shop.sandbox.requests)) == (State.DONE, asked)
    await shop.assert_agrees()
