"""Refunds whose payment the bank must search in its history: it wants the same call again, at its own pace (6164)."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from bankclient import Answer, AnswerOutcome
from jzb.v1 import core_pb2
from ledger.names import Serial
from service.plans.plan import Stored
from service.questions.resend import ResendQuery, resent_result
from service.questions.results import Verdict
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal, open_marketplace
from tests.world.refunds import refund, refund_request, refundable

REFUNDS = "MemberTransactionRefund"
AT_ONCE = {"send_again_interval_s": 0.05}


async def paid(shop: Marketplace) -> str:
    """A payment of 100.00 with a fee of 10.00; returns its serial."""
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    return (await shop.pay("buyer", "seller", 100_00, 10_00)).serial


async def waiting(shop: Marketplace, payment_serial: str, tries: int, more: str = "") -> Refusal:
    """A refund of 50.00 with a fee of 5.00 that the bank takes only after so many tries."""
    request = refund_request(shop, payment_serial, 50_00, 5_00, remark=f"[[history:{tries}]]{more}")
    told = await shop.refusal(shop.refunds.Refund(request, timeout=TIMEOUT_S))
    assert (told.reason, told.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert told.operation.state == core_pb2.OPERATION_STATE_UNKNOWN
    return told


async def until(shop: Marketplace, operation_id: str, state: core_pb2.OperationState.ValueType) -> core_pb2.Operation:
    """Wait without asking."""
    async with asyncio.timeout(10):
        while (found := await shop.operation(operation_id)).state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return found


async def test_a_refund_in_history_waits_with_its_holds_and_is_done_in_the_end(shop: Marketplace) -> None:
    payment_serial = await paid(shop)
    told = await waiting(shop, payment_serial, 2)
    assert "history" in told.message
    assert (await shop.balance("seller")).held_fen == 45_00
    left = await refundable(shop, payment_serial)
    assert (left.remaining_fen, left.remaining_fee_fen, left.held_fen) == (50_00, 5_00, 50_00)
    over = await shop.refusal(refund(shop, payment_serial, 50_01))
    assert over.reason == "REFUND_EXCEEDS_PAYMENT"

    operation = await shop.resolve(told.operation.operation_id)
    assert operation.state == core_pb2.OPERATION_STATE_UNKNOWN
    operation = await shop.resolve(told.operation.operation_id)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received(REFUNDS) == 3
    assert len({one.serial for one in shop.sandbox.requests if one.service_id == REFUNDS}) == 1
    assert shop.calls_received("SingleTransactionStatusQuery") == 0
    assert (await shop.balance("buyer")).available_fen == 50_00
    await shop.assert_agrees()


async def test_the_resolver_sends_it_again_by_itself_at_the_pace_of_the_setting(database: str) -> None:
    async with open_marketplace(database, resolver=AT_ONCE) as shop:
        payment_serial = await paid(shop)
        told = await waiting(shop, payment_serial, 3)
        found = await until(shop, told.operation.operation_id, core_pb2.OPERATION_STATE_DONE)
        assert found.query_attempts == 3
        await shop.assert_agrees()


async def test_it_is_not_sent_again_before_its_time(shop: Marketplace) -> None:
    payment_serial = await paid(shop)
    told = await waiting(shop, payment_serial, 1)
    due = told.operation.next_query_time.ToDatetime() - told.operation.update_time.ToDatetime()
    assert 295 <= due.total_seconds() <= 300
    await asyncio.sleep(0.3)
    assert shop.calls_received(REFUNDS) == 1


async def test_the_same_request_id_meanwhile_sends_nothing_new(shop: Marketplace) -> None:
    payment_serial = await paid(shop)
    request = refund_request(shop, payment_serial, 50_00, 5_00, remark="[[history:1]]")
    first = await shop.refusal(shop.refunds.Refund(request, timeout=TIMEOUT_S))
    second = await shop.refusal(shop.refunds.Refund(request, timeout=TIMEOUT_S))
    assert second.operation.operation_id == first.operation.operation_id
    assert shop.calls_received(REFUNDS) == 1
    await shop.resolve(first.operation.operation_id)
    answer = await shop.refunds.Refund(request, timeout=TIMEOUT_S)
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE


async def test_a_second_try_whose_answer_is_lost_is_sent_once_more_and_acts_once(shop: Marketplace) -> None:
    payment_serial = await paid(shop)
    told = await waiting(shop, payment_serial, 1)
    shop.sandbox.faults.add("lose_after", code="6164")
    lost = await shop.resolve(told.operation.operation_id)
    assert lost.state == core_pb2.OPERATION_STATE_UNKNOWN
    done = await shop.resolve(told.operation.operation_id)
    assert done.state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received(REFUNDS) == 3
    assert (await shop.balance("buyer")).available_fen == 50_00
    await shop.assert_agrees()


async def test_a_real_refusal_of_a_later_try_gives_everything_back(shop: Marketplace) -> None:
    payment_serial = await paid(shop)
    told = await waiting(shop, payment_serial, 1)
    shop.sandbox.faults.add("refuse:ERR270", code="6164")
    operation = await shop.resolve(told.operation.operation_id)
    assert (operation.state, operation.bank_code) == (core_pb2.OPERATION_STATE_REFUSED, "ERR270")
    assert (await refundable(shop, payment_serial)).remaining_fen == 100_00
    await shop.assert_agrees()


async def test_after_many_tries_the_banks_not_found_is_the_refusal_it_is(database: str) -> None:
    async with open_marketplace(database, resolver={**AT_ONCE, "send_again_times": 3}) as shop:
        payment_serial = await paid(shop)
        told = await waiting(shop, payment_serial, 100)
        await until(shop, told.operation.operation_id, core_pb2.OPERATION_STATE_REFUSED)
        assert shop.calls_received(REFUNDS) == 4
        assert (await shop.balance("seller")).held_fen == 0
        await shop.assert_agrees()


async def test_asking_by_hand_does_not_use_the_tries_up(database: str) -> None:
    async with open_marketplace(database, resolver={"send_again_times": 2}) as shop:
        payment_serial = await paid(shop)
        told = await waiting(shop, payment_serial, 4)
        for _ in range(3):
            assert (await shop.resolve(told.operation.operation_id)).state == core_pb2.OPERATION_STATE_UNKNOWN
        assert (await shop.resolve(told.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE


async def test_a_try_that_is_due_is_not_the_last_because_of_those_by_hand_before_it(database: str) -> None:
    # Asked by hand alone: the poll would take what is due as well.
    async with open_marketplace(database, resolver={"send_again_times": 3, "poll_s": 600.0}) as shop:
        payment_serial = await paid(shop)
        told = await waiting(shop, payment_serial, 100)
        operation_id = told.operation.operation_id
        for _ in range(5):
            assert (await shop.resolve(operation_id)).state == core_pb2.OPERATION_STATE_UNKNOWN
        for _ in range(2):
            await due_now(database, operation_id)
            assert (await shop.resolve(operation_id)).state == core_pb2.OPERATION_STATE_UNKNOWN
        await due_now(database, operation_id)
        assert (await shop.resolve(operation_id)).state == core_pb2.OPERATION_STATE_REFUSED


async def due_now(database: str, operation_id: str) -> None:
    """As if the minutes until the next try had gone by."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("UPDATE due SET ask_at = now() WHERE operation_id = %s", [operation_id])


async def test_another_process_carries_it_on_from_what_the_first_has_stored(database: str) -> None:
    async with open_marketplace(database) as shop:
        payment_serial = await paid(shop)
        told = await waiting(shop, payment_serial, 1, more="含备注")
        stored = await shop.service.components.reads.operation(serial=Serial(told.operation.serial))
        assert stored is not None
        query = Stored.from_json(stored.plan).query
        assert isinstance(query, ResendQuery)
        again = query.message(stored)
        assert (again.code, again.model_dump()["ReturnAmt"], again.model_dump()["Remark"]) == (
            "6164",
            50_00,
            "[[history:1]]含备注",
        )
        assert Stored.from_json(Stored.from_json(stored.plan).to_json()) == Stored.from_json(stored.plan)


def answer(outcome: AnswerOutcome, **fields: Any) -> Answer[Any]:
    return Answer(outcome, fields.pop("code", ""), "", "", 1, **fields)


def test_what_an_answer_to_a_repeated_call_means() -> None:
    searching = answer(AnswerOutcome.REFUSED, code="ERR270", evidence=b"e", send_again=True)
    assert resent_result(searching, is_last=False).verdict is Verdict.AGAIN
    assert resent_result(searching, is_last=True).verdict is Verdict.REFUSED
    assert resent_result(answer(AnswerOutcome.DONE, evidence=b"e"), is_last=True).verdict is Verdict.DONE
    assert resent_result(answer(AnswerOutcome.REFUSED, evidence=b"e"), is_last=False).verdict is Verdict.REFUSED
    assert resent_result(answer(AnswerOutcome.UNKNOWN), is_last=True).verdict is Verdict.AGAIN
    assert resent_result(answer(AnswerOutcome.NOT_SENT), is_last=True).verdict is Verdict.AGAIN
    # A serial that the bank calls repeated has acted, perhaps: that is 6110's to say.
    assert (
        resent_result(answer(AnswerOutcome.UNKNOWN, code="ERR160", evidence=b"e"), is_last=False).verdict
        is Verdict.INCONCLUSIVE
    )
