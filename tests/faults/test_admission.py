"""Admission: bounded calls, bounded calls of an interface, and breakers; what is refused has reserved nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import psycopg
import pytest

from bankclient import Answer
from bankclient import AnswerOutcome as AnswerOutcome
from bankclient import Evidence as Evidence
from jzb.v1 import balance_pb2, core_pb2, operation_pb2, payment_pb2
from service.path.admission import Admission, Breaker, BreakerState
from service.problems import Problem
from service.questions.query import has_answered
from service.settings import BreakerSettings
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal, open_marketplace, refusal_of
from tests.world.process import until

DONE = core_pb2.OPERATION_STATE_DONE
UNKNOWN = core_pb2.OPERATION_STATE_UNKNOWN


# The breaker, on a clock of its own.


def opened(failures: int = 3, open_s: float = 10.0) -> Breaker:
    """A breaker that has just opened, at second 0."""
    breaker = Breaker(BreakerSettings(failures=failures, open_s=open_s))
    for _ in range(failures):
        assert breaker.wait_s(0.0) == 0
        breaker.end(on_trial=breaker.begin(), answered=False, now_s=0.0)
    return breaker


def test_it_opens_after_so_many_unanswered_calls_in_a_row_and_tells_for_how_long() -> None:
    breaker = Breaker(BreakerSettings(failures=3, open_s=10.0))
    for answered in (False, False, True, False, None, False):
        breaker.end(on_trial=breaker.begin(), answered=answered, now_s=0.0)
        assert breaker.state is BreakerState.CLOSED
    breaker.end(on_trial=breaker.begin(), answered=False, now_s=5.0)
    assert breaker.state is BreakerState.OPEN
    assert (breaker.wait_s(5.0), breaker.wait_s(12.0), breaker.wait_s(15.0)) == (10.0, 3.0, 0.0)


def test_when_its_time_is_over_one_call_goes_on_trial_and_the_others_wait() -> None:
    breaker = opened()
    assert breaker.begin()
    assert breaker.state is BreakerState.ON_TRIAL
    assert breaker.wait_s(11.0) > 0
    breaker.end(on_trial=True, answered=True, now_s=12.0)
    assert (breaker.state, breaker.wait_s(12.0)) == (BreakerState.CLOSED, 0)
    assert not breaker.begin()


def test_a_trial_without_an_answer_opens_it_again() -> None:
    breaker = opened()
    breaker.end(on_trial=breaker.begin(), answered=False, now_s=40.0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.wait_s(41.0) == 9.0


def test_a_trial_that_never_reached_the_bank_makes_way_for_the_next() -> None:
    breaker = opened()
    breaker.end(on_trial=breaker.begin(), answered=None, now_s=11.0)
    assert breaker.wait_s(11.0) == 0
    assert breaker.begin()


def test_of_the_calls_that_were_under_way_when_it_opened_an_answer_closes_it_and_silence_keeps_its_time() -> None:
    breaker = opened()
    breaker.end(on_trial=False, answered=False, now_s=9.0)
    assert breaker.wait_s(9.0) == 1.0
    breaker.end(on_trial=False, answered=True, now_s=9.0)
    assert breaker.state is BreakerState.CLOSED


def test_switched_off_it_never_opens() -> None:
    breaker = Breaker(BreakerSettings(failures=None))
    for _ in range(1000):
        breaker.end(on_trial=breaker.begin(), answered=False, now_s=0.0)
    assert breaker.wait_s(0.0) == 0


@pytest.mark.parametrize(
    ("outcome", "evidence", "attempts", "expected"),
    [
        (AnswerOutcome.DONE, b"signed", 1, True),
        (AnswerOutcome.REFUSED, b"signed", 1, True),
        (AnswerOutcome.UNKNOWN, b"signed", 1, True),
        (AnswerOutcome.UNKNOWN, b"", 1, False),
        (AnswerOutcome.NOT_SENT, b"", 3, False),
        # None of our connections became free.
        (AnswerOutcome.NOT_SENT, b"", 0, None),
    ],
)
def test_a_bank_that_signs_works_whatever_it_says(
    outcome: AnswerOutcome, evidence: bytes, attempts: int, expected: bool | None
) -> None:
    assert has_answered(Answer(outcome, "", "", "", attempts, evidence=Evidence(evidence))) is expected


async def test_permits_are_counted_when_they_are_given_and_come_back_however_a_call_ends() -> None:
    admission = Admission(2, {}, BreakerSettings())
    with admission.admit(), admission.admit() as second:
        with pytest.raises(Problem, match="OVERLOADED"):
            admission.admit()
        task = asyncio.create_task(asyncio.sleep(60))
        second.hand_over(task)
    assert admission.calls.in_use == 1
    task.cancel()
    assert await admission.calls.wait_idle(1.0)
    admission.close()
    with pytest.raises(Problem, match="SERVICE_STOPPING"):
        admission.admit()


# The service.


async def trade(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")


def payments(shop: Marketplace, number: int, remark: str = "") -> list[payment_pb2.PayRequest]:
    return [shop.pay_request("buyer", "seller", 1_00, remark=remark) for _ in range(number)]


def pay(shop: Marketplace, request: payment_pb2.PayRequest) -> asyncio.Task[Any]:
    """A payment that is asked for at once."""
    return asyncio.ensure_future(shop.payments.Pay(request, timeout=TIMEOUT_S))


async def recorded(shop: Marketplace, requests: Sequence[payment_pb2.PayRequest]) -> int:
    """How many of these requests the ledger knows."""
    async with await psycopg.AsyncConnection.connect(shop.dsn) as connection:
        names = [request.request_id for request in requests]
        found = await connection.execute("SELECT count(*) FROM operation WHERE request_id = ANY(%s)", [names])
        row = await found.fetchone()
        assert row is not None
        return int(row[0])


async def sent(shop: Marketplace, number: int = 1) -> None:
    await until(lambda: shop.calls_received("MemberTransaction") >= number, f"the bank has {number} requests")


async def test_of_ten_payments_at_once_three_get_in_and_seven_reserve_nothing(database: str) -> None:
    async with open_marketplace(database, call_concurrency=3) as shop:
        await trade(shop)
        requests = payments(shop, 10, remark="[[delay:0.5]]")
        answers = await asyncio.gather(*(pay(shop, request) for request in requests), return_exceptions=True)
        refusals = [refusal_of(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert len(refusals) == 7
        for refusal in refusals:
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
            assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
            assert refusal.retry_after_s is not None
        assert await recorded(shop, requests) == shop.calls_received("MemberTransaction") == 3
        for request in requests:
            assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.state == DONE
        assert (await shop.balance("seller")).available_fen == 10_00
        await shop.assert_agrees()


async def test_a_caller_who_is_gone_leaves_the_permit_to_his_payment(database: str) -> None:
    async with open_marketplace(database, call_concurrency=1) as shop:
        await trade(shop)
        first, second = payments(shop, 2)
        first.remark = "[[delay:0.6]]"
        call = pay(shop, first)
        await sent(shop)
        call.cancel()
        await asyncio.sleep(0.1)
        assert (await shop.refusal(pay(shop, second))).reason == "OVERLOADED"
        # No permit is left, and the request that has it still has its answer, as has a question.
        assert (await pay(shop, first)).operation.state == DONE
        assert (await pay(shop, second)).operation.state == DONE
        await shop.assert_agrees()


async def test_when_no_permit_is_left_an_earlier_answer_is_given_again_and_a_check_needs_none(database: str) -> None:
    async with open_marketplace(database, call_concurrency=1) as shop:
        await trade(shop)
        early, slow, late = payments(shop, 3)
        operation = (await pay(shop, early)).operation
        slow.remark = "[[delay:0.8]]"
        call = pay(shop, slow)
        await sent(shop, 2)
        assert (await pay(shop, early)).operation == operation
        other = payment_pb2.PayRequest()
        other.CopyFrom(early)
        other.amount_fen += 1
        assert (await shop.refusal(pay(shop, other))).reason == "REQUEST_ID_REUSED"
        late.validate_only = True
        assert not (await pay(shop, late)).operation.operation_id
        assert not call.done()
        await call


async def test_the_calls_of_one_interface_can_be_fewer_than_all(database: str) -> None:
    async with open_marketplace(database, interface_concurrency={"6034": 1}) as shop:
        await trade(shop)
        slow, refused = payments(shop, 2)
        slow.remark = "[[delay:2.0]]"
        call = pay(shop, slow)
        await sent(shop)
        refusal = await shop.refusal(pay(shop, refused))
        assert (refusal.reason, refusal.metadata["interface"]) == ("OVERLOADED", "6034")
        assert await recorded(shop, [refused]) == 0
        await shop.top_up("buyer", 5_00)
        assert not call.done()
        await call
        assert (await pay(shop, refused)).operation.state == DONE
        await shop.assert_agrees()


async def lose(shop: Marketplace, number: int) -> list[Refusal]:
    """Payments whose answers are lost, one after the other."""
    return [await shop.refusal(pay(shop, request)) for request in payments(shop, number, remark="[[lose_after]]")]


async def test_an_interface_that_does_not_answer_is_left_alone_until_one_call_on_trial_is_answered(
    database: str,
) -> None:
    async with open_marketplace(database, breaker={"failures": 2, "open_s": 2.0}) as shop:
        await trade(shop)
        lost, again = payments(shop, 2)
        lost.remark = "[[lose_after]]"
        doubtful = [(await shop.refusal(pay(shop, lost))).operation, (await lose(shop, 1))[0].operation]
        refusal = await shop.refusal(pay(shop, again))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "BANK_INTERFACE_SUSPENDED")
        assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
        assert refusal.metadata["interface"] == "6034"
        assert refusal.retry_after_s is not None
        assert 0 < refusal.retry_after_s <= 2.0
        assert await recorded(shop, [again]) == 0
        # What was begun has its answer, others' interfaces work, and the questions that end what is open are asked.
        assert (await shop.refusal(pay(shop, lost))).operation.state == UNKNOWN
        await shop.top_up("buyer", 5_00)
        for operation in doubtful:
            assert (await shop.resolve(operation.operation_id)).state == DONE
        assert (await shop.refusal(pay(shop, again))).reason == "BANK_INTERFACE_SUSPENDED"

        await asyncio.sleep(refusal.retry_after_s)
        again.remark = "[[delay:0.4]]"
        trial = pay(shop, again)
        await sent(shop, 3)
        (other,) = payments(shop, 1)
        waiting = await shop.refusal(pay(shop, other))
        assert (waiting.reason, waiting.retry_after_s) == ("BANK_INTERFACE_SUSPENDED", 1.0)
        assert (await trial).operation.state == DONE
        assert (await pay(shop, other)).operation.state == DONE
        await shop.assert_agrees()


async def test_a_trial_that_fails_and_one_that_is_refused_here_let_the_next_one_try(database: str) -> None:
    async with open_marketplace(database, breaker={"failures": 1, "open_s": 0.2}) as shop:
        await trade(shop)
        await lose(shop, 1)
        await asyncio.sleep(0.2)
        await lose(shop, 1)
        assert (await shop.refusal(pay(shop, *payments(shop, 1)))).reason == "BANK_INTERFACE_SUSPENDED"
        await asyncio.sleep(0.2)
        too_much = shop.pay_request("buyer", "seller", 1_000_00)
        assert (await shop.refusal(pay(shop, too_much))).reason == "INSUFFICIENT_FUNDS"
        assert (await pay(shop, *payments(shop, 1))).operation.state == DONE


async def test_a_bank_that_refuses_is_well_and_keeps_its_calls(database: str) -> None:
    async with open_marketplace(database, breaker={"failures": 2, "open_s": 60.0}) as shop:
        await trade(shop)
        for remark in ("[[refuse:ERR044]]", "[[err957]]", "[[refuse:ERR044]]", "[[err957]]"):
            await shop.refusal(pay(shop, *payments(shop, 1, remark)))
        assert (await pay(shop, *payments(shop, 1))).operation.state == DONE


async def test_more_rpcs_than_the_server_takes_are_refused_with_a_reason_reads_too(database: str) -> None:
    async with open_marketplace(database, grpc={"rpcs_max": 1}) as shop:
        await trade(shop)
        call = asyncio.ensure_future(pay(shop, *payments(shop, 1, "[[delay:1.0]]")))
        await sent(shop, 1)
        question = balance_pb2.GetBalanceRequest(member_id="buyer")
        refusal = await shop.refusal(shop.balances.GetBalance(question, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert refusal.retry_after_s is not None
        assert (await call).operation.state == DONE
        await shop.balances.GetBalance(question, timeout=TIMEOUT_S)


async def test_watches_keep_no_call_out_and_are_bounded_by_themselves(database: str) -> None:
    async with open_marketplace(database, grpc={"rpcs_max": 1}, watch={"watches_max": 2}) as shop:
        await trade(shop)
        watch, other = (shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest()) for _ in range(2))
        await asyncio.gather(watch.read(), other.read())
        assert (await pay(shop, *payments(shop, 1))).operation.state == DONE
        third = shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest())
        refusal = await shop.refusal(third.read())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert refusal.retry_after_s is not None
        watch.cancel()

        async def is_let_in() -> bool:
            try:
                await shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest()).read()
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(is_let_in, "the watch has left")
