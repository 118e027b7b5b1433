"""kill -9 of the service between any two steps loses nothing: afterwards each operation is final, or known to be in
doubt and then resolved, and the mirror equals the bank's books.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psycopg
import pytest

from jzb.v1 import core_pb2, operation_pb2, payment_pb2
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from tests.world.marketplace import LENIENT, TIMEOUT_S, Marketplace
from tests.world.process import legs_held, orphans_are_due, service_process, shop_on, until, wire_to, writer_held

AMOUNT_FEN = 30_00
HAD_FEN = 100_00


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxSettings(**LENIENT)) as sandbox:
        yield sandbox


async def prepared(database: str, bank: Sandbox, remark: str = "") -> payment_pb2.PayRequest:
    """A buyer with money and a seller; returns the payment between them that is about to be asked for."""
    async with shop_on(database, bank) as shop:
        await shop.buyer("buyer", HAD_FEN)
        await shop.merchant("seller")
        return shop.pay_request("buyer", "seller", AMOUNT_FEN, 3_00, remark=remark)


async def state_of(database: str, request_id: str) -> str | None:
    """An operation's state in the database."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        found = await connection.execute("SELECT state FROM operation WHERE request_id = %s", [request_id])
        row = await found.fetchone()
        return row[0] if row else None


async def found(shop: Marketplace, request: payment_pb2.PayRequest) -> core_pb2.Operation:
    key = operation_pb2.OperationKey(request_id=request.request_id)
    answer = await shop.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S)
    operation: core_pb2.Operation = answer.operation
    return operation


async def final(shop: Marketplace, request: payment_pb2.PayRequest) -> core_pb2.Operation:
    """The operation once the resolver has ended it, without being told to. Until then it is known to be in doubt."""
    await orphans_are_due(shop.dsn)
    operation = await found(shop, request)
    if operation.state not in (core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED):
        assert operation.outcome == core_pb2.OUTCOME_UNKNOWN
        assert (await shop.balance("buyer")).held_fen == AMOUNT_FEN

    async def is_final() -> bool:
        nonlocal operation
        operation = await found(shop, request)
        return operation.state in (core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED)

    await until(is_final, "the operation becomes final", 30.0)
    return operation


async def assert_paid_once(shop: Marketplace) -> None:
    assert (await shop.balance("buyer")).available_fen == HAD_FEN - AMOUNT_FEN
    assert (await shop.balance("seller")).available_fen == AMOUNT_FEN - 3_00
    await shop.assert_agrees()


async def assert_broken_off(call: asyncio.Task[Any]) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_killed_before_the_reservation_nothing_has_happened_and_the_request_can_be_sent_again(
    database: str, bank: Sandbox
) -> None:
    request = await prepared(database, bank)
    async with service_process(database, bank) as service:
        async with writer_held(database, "9930") as lock:
            call = asyncio.ensure_future(service.payments.Pay(request))
            await until(lock.is_awaited, "the service is about to reserve")
            await service.kill()
        await assert_broken_off(call)
    async with shop_on(database, bank) as shop:
        assert await state_of(database, request.request_id) is None
        assert shop.calls_received("MemberTransaction") == 0
        assert (await shop.balance("buyer")).available_fen == HAD_FEN
        await shop.payments.Pay(request, timeout=TIMEOUT_S)
        await assert_paid_once(shop)


async def test_killed_between_reservation_and_bank_the_hold_is_let_go_when_the_bank_has_never_heard_of_it(
    database: str, bank: Sandbox
) -> None:
    request = await prepared(database, bank)
    async with (
        wire_to(bank) as wire,
        service_process(database, bank, bank={"base_url": wire.url}) as service,
    ):
        await service.payments.Pay(
            # The access token must be there, or nothing is reserved.
            payment_pb2.PayRequest(
                request_id="before",
                payer_member_id="buyer",
                payee_member_id="seller",
                amount_fen=1,
                settlement=payment_pb2.SETTLEMENT_T1,
            ),
            timeout=TIMEOUT_S,
        )
        wire.is_cut = True
        call = asyncio.ensure_future(service.payments.Pay(request))

        async def is_on_its_way() -> bool:
            # The service asks the bank about other things, too, when it has just started.
            return wire.swallowed > 0 and await state_of(database, request.request_id) == "reserved"

        await until(is_on_its_way, "the request is on its way")
        await service.kill()
        await assert_broken_off(call)
    async with shop_on(database, bank) as shop:
        operation = await final(shop, request)
        assert operation.state == core_pb2.OPERATION_STATE_REFUSED
        assert shop.calls_received("MemberTransaction") == 1
        balance = await shop.balance("buyer")
        assert (balance.available_fen, balance.held_fen) == (HAD_FEN - 1, 0)
        await shop.assert_agrees()


async def test_killed_while_the_bank_works_the_payment_is_found_done(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank, remark="[[delay:2]]")
    async with service_process(database, bank) as service:
        call = asyncio.ensure_future(service.payments.Pay(request))
        await until(lambda: acted(bank, request), "the bank has acted")
        await service.kill()
        await assert_broken_off(call)
    async with shop_on(database, bank) as shop:
        assert (await final(shop, request)).state == core_pb2.OPERATION_STATE_DONE
        assert shop.calls_received("MemberTransaction") == 1
        await assert_paid_once(shop)


async def test_killed_before_the_bank_acts_a_late_success_is_still_found(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank, remark="[[act_late:3]]")
    async with service_process(database, bank) as service:
        call = asyncio.ensure_future(service.payments.Pay(request))
        await until(lambda: received(bank), "the request has reached the bank")
        await service.kill()
        await assert_broken_off(call)
    async with shop_on(database, bank, resolver={"not_found_interval_s": 1.5, "not_found_times": 4}) as shop:
        operation = await final(shop, request)
        assert operation.state == core_pb2.OPERATION_STATE_DONE
        assert operation.query_attempts >= 2
        await assert_paid_once(shop)


async def test_killed_with_the_answer_in_hand_before_it_is_written(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank, remark="[[delay:0.3]]")
    async with service_process(database, bank) as service:
        call = asyncio.ensure_future(service.payments.Pay(request))
        await until(lambda: acted(bank, request), "the bank has acted")
        async with writer_held(database, "9930") as lock:
            await until(lock.is_awaited, "the service is about to settle")
            await service.kill()
        await assert_broken_off(call)
    assert await state_of(database, request.request_id) == "reserved"
    async with shop_on(database, bank) as shop:
        assert (await final(shop, request)).state == core_pb2.OPERATION_STATE_DONE
        await assert_paid_once(shop)


async def test_killed_in_the_middle_of_settling_the_commit_counts_whole_or_not_at_all(
    database: str, bank: Sandbox
) -> None:
    request = await prepared(database, bank, remark="[[delay:0.3]]")
    async with service_process(database, bank) as service:
        call = asyncio.ensure_future(service.payments.Pay(request))
        await until(lambda: acted(bank, request), "the bank has acted")
        async with legs_held(database) as lock:
            await until(lock.is_awaited, "the service is in the middle of settling")
            await service.kill()
        await assert_broken_off(call)
    async with shop_on(database, bank) as shop:
        assert (await final(shop, request)).state == core_pb2.OPERATION_STATE_DONE
        await assert_paid_once(shop)


async def test_killed_while_an_unknown_outcome_is_being_resolved(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank, remark="[[lose_after]]")
    async with service_process(database, bank, resolver={"ask_after_s": 0.5}) as service:
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await service.payments.Pay(request, timeout=TIMEOUT_S)
        assert lost.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        async with writer_held(database, "9930") as lock:
            await until(lock.is_awaited, "the resolver has asked and is about to settle")
            await service.kill()
    assert await state_of(database, request.request_id) == "unknown"
    async with shop_on(database, bank) as shop:
        # By hand: the lease of the process that died would hold the background back for a while.
        operation = await shop.until_final((await found(shop, request)).operation_id)
        assert operation.state == core_pb2.OPERATION_STATE_DONE
        await assert_paid_once(shop)


async def test_killed_while_asking_the_lease_runs_out_and_the_next_process_asks(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank, remark="[[lose_after]]")
    bank.faults.add("delay:1", code="6110")
    quick_bank = {"timeout_s": 0.8, "connect_timeout_s": 0.2}
    async with service_process(database, bank, bank=quick_bank, resolver={"ask_after_s": 0.2}) as service:
        with pytest.raises(grpc.aio.AioRpcError):
            await service.payments.Pay(request, timeout=TIMEOUT_S)
        await until(lambda: received(bank, "SingleTransactionStatusQuery"), "the bank is asked")
        await service.kill()
    async with shop_on(database, bank) as shop:
        assert (await final(shop, request)).state == core_pb2.OPERATION_STATE_DONE
        await assert_paid_once(shop)


async def test_killed_in_the_middle_of_a_burst_every_payment_ends_once(database: str, bank: Sandbox) -> None:
    async with shop_on(database, bank) as shop:
        await shop.buyer("buyer", HAD_FEN)
        await shop.merchant("seller")
        requests = [shop.pay_request("buyer", "seller", 1_00) for _ in range(60)]
    async with service_process(database, bank) as service:
        calls = [asyncio.ensure_future(service.payments.Pay(request)) for request in requests]
        await until(lambda: received(bank) >= 20, "the burst is under way")
        await service.kill()
        await asyncio.gather(*calls, return_exceptions=True)
    async with shop_on(database, bank) as shop:
        await orphans_are_due(database)

        async def none_is_open() -> bool:
            async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
                rows = await connection.execute("SELECT count(*) FROM due")
                row = await rows.fetchone()
                return row is not None and row[0] == 0

        await until(none_is_open, "all are final", 30.0)
        await shop.assert_agrees()
        answers = await asyncio.gather(
            *(shop.payments.Pay(request, timeout=TIMEOUT_S) for request in requests), return_exceptions=True
        )
        paid = sum(not isinstance(answer, BaseException) for answer in answers)
        assert paid >= 20
        assert (await shop.balance("buyer")).available_fen == HAD_FEN - paid * 1_00
        await shop.assert_agrees()


async def test_a_process_that_only_slept_cannot_settle_again_what_another_has_resolved(
    database: str, bank: Sandbox
) -> None:
    request = await prepared(database, bank, remark="[[delay:0.5]]")
    async with service_process(database, bank) as service:
        call = asyncio.ensure_future(service.payments.Pay(request))
        await until(lambda: acted(bank, request), "the bank has acted")
        service.signal(signal.SIGSTOP)
        async with shop_on(database, bank) as shop:
            assert (await final(shop, request)).state == core_pb2.OPERATION_STATE_DONE
            service.signal(signal.SIGCONT)
            assert (await call).operation.state == core_pb2.OPERATION_STATE_DONE
            await assert_paid_once(shop)


async def test_sigterm_lets_a_call_under_way_finish(database: str, bank: Sandbox) -> None:
    request = await prepared(database, bank, remark="[[delay:0.7]]")
    async with service_process(database, bank) as service:
        call = asyncio.ensure_future(service.payments.Pay(request))
        await until(lambda: acted(bank, request), "the bank has acted")
        service.signal(signal.SIGTERM)
        assert (await call).operation.state == core_pb2.OPERATION_STATE_DONE
        assert await service.ended() == 0
    async with shop_on(database, bank) as shop:
        await assert_paid_once(shop)


def received(bank: Sandbox, service_id: str = "MemberTransaction") -> int:
    return sum(one.service_id == service_id for one in bank.requests)


def acted(bank: Sandbox, request: payment_pb2.PayRequest) -> bool:
    """Whether the payment is in the bank's books: the fee account has its fee."""
    return bank.books.functional_fen("3") == request.fee_fen
