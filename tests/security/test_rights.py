"""A caller does what the policy gives it, and nothing else; what changes in the policy holds for the next call."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import grpc
import psycopg
import pytest

from jzb.v1 import balance_pb2, core_pb2, operation_pb2
from service.process.server import running
from service.rpc import access
from tests.world import refunds, withdrawals
from tests.world.callers import EVERYTHING, OPERATOR, given, locked
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.process import until

SHOP = "spiffe://test/shop"
OTHER = "spiffe://test/other"


@pytest.fixture(autouse=True)
def policies_are_read_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "LOOK_EVERY_S", 0.02)


async def test_who_may_read_all_cannot_pay(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, given(SHOP, "read.all")) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.buyer("buyer", 100_00)
        await operator.merchant("seller")
        assert (await shop.balance("buyer")).available_fen == 100_00
        for call in (
            shop.pay("buyer", "seller", 1_00),
            shop.top_up("buyer", 1_00),
            shop.clear(),
            shop.merchant("mine"),
        ):
            refusal = await shop.refusal(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
            assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT, "its request id was looked up"
        assert (await shop.balance("buyer")).available_fen == 100_00
        await operator.assert_agrees()


async def test_who_may_pay_cannot_read_refund_or_run_the_books(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, given(SHOP, "money.pay")) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.buyer("buyer", 100_00)
        await operator.merchant("seller")
        paid = await shop.pay("buyer", "seller", 1_00)
        assert paid.state == core_pb2.OPERATION_STATE_DONE
        verify = shop.balances.VerifyBooks(balance_pb2.VerifyBooksRequest(), timeout=TIMEOUT_S)
        for what, call in {
            "read.own": shop.balance("buyer"),
            "manual": shop.resolve(paid.operation_id),
            "read.all": shop.clear(),
            "audit": verify.read(),
        }.items():
            refusal = await shop.refusal(call)
            assert (refusal.reason, refusal.metadata["scope"]) == ("SCOPE_MISSING", what)


async def test_a_change_of_the_policy_holds_for_the_next_call_and_a_wrong_one_does_not(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with locked(database, tmp_path, given(SHOP, "read.own")) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.buyer("buyer", 100_00)
        await shop.balance("buyer")

        async def is_refused() -> bool:
            try:
                await shop.balance("buyer")
            except grpc.aio.AioRpcError:
                return True
            return False

        service.rewrite(EVERYTHING, given(SHOP, "read.owm"))
        said: list[str] = []

        def is_said() -> bool:
            said.append(capsys.readouterr().out)
            return "the policy cannot be used" in said[-1]

        await until(is_said, "the wrong policy is refused")
        assert "there is no scope read.owm" in said[-1]
        assert "line 8" in said[-1]
        await shop.balance("buyer")
        service.policy.unlink()
        await until(is_said, "the policy that is gone is missed")
        await shop.balance("buyer")
        service.rewrite(EVERYTHING)
        await until(is_refused, "the policy without the caller holds")
        refusal = await shop.refusal(shop.balance("buyer"))
        assert "gives caller spiffe://test/shop nothing" in refusal.message


async def test_one_call_moves_no_more_than_the_policy_allows_whatever_it_is(database: str, tmp_path: Path) -> None:
    limited = given(SHOP, "money.pay", "money.refund", amount_per_call_fen=50_00, namespace="shop")
    async with locked(database, tmp_path, limited) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.buyer("buyer", 300_00)
        await operator.merchant("seller", 1_00)
        assert (await shop.pay("buyer", "seller", 50_00)).state == core_pb2.OPERATION_STATE_DONE
        large = await operator.pay("buyer", "seller", 60_00)
        refusal = await shop.refusal(shop.pay("buyer", "seller", 50_01))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "AMOUNT_NOT_PERMITTED")
        assert (refusal.amounts, refusal.outcome) == ({"needed": 50_01, "left": 50_00}, core_pb2.OUTCOME_NO_EFFECT)
        refusal = await shop.refusal(
            shop.refunds.Refund(refunds.refund_request(shop, large.serial, 60_00), timeout=TIMEOUT_S)
        )
        assert refusal.reason == "AMOUNT_NOT_PERMITTED", "the amount of what a request only numbers counts, too"
        assert (await operator.balance("buyer")).available_fen == 190_00
        await operator.assert_agrees()


async def test_a_days_amount_counts_over_processes_and_restarts_and_what_had_no_effect_is_given_back(
    database: str, tmp_path: Path
) -> None:
    limited = given(SHOP, "money.pay", "money.withdraw", amount_per_day_fen=100_00)
    async with locked(database, tmp_path, limited) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.buyer("buyer", 500_00)
        await operator.merchant("seller")
        await shop.pay("buyer", "seller", 60_00)
        await operator.pay("buyer", "seller", 50_00)
        refusal = await shop.refusal(shop.pay("buyer", "seller", 41_00))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ALLOWANCE_USED")
        assert refusal.amounts == {"needed": 41_00, "left": 40_00}
        dry = shop.pay_request("buyer", "seller", 41_00)
        dry.validate_only = True
        assert (await shop.refusal(shop.payments.Pay(dry, timeout=TIMEOUT_S))).reason == "ALLOWANCE_USED"
        refused = await shop.refusal(
            shop.payments.Pay(shop.pay_request("buyer", "seller", 30_00, remark="[[refuse:ERR044]]"), timeout=TIMEOUT_S)
        )
        assert refused.reason == "BANK_REFUSED"
        async with running(service.service.components.settings.model_copy(update={"listen": "127.0.0.1:0"})) as second:
            channel = grpc.aio.secure_channel(f"localhost:{second.port}", service.authority.credentials(SHOP))
            async with channel:
                other = Marketplace(database, service.sandbox, second, channel)
                other._numbers = itertools.count(9_000_000)
                assert (await other.pay("buyer", "seller", 40_00)).state == core_pb2.OPERATION_STATE_DONE
                refusal = await other.refusal(other.pay("buyer", "seller", 1))
                assert (refusal.reason, refusal.amounts["left"]) == ("ALLOWANCE_USED", 0)
        assert (await shop.refusal(shop.top_up("buyer", 1))).reason == "ALLOWANCE_USED", "what comes in counts, too"
        await operator.assert_agrees()


async def test_payments_at_once_do_not_pass_the_days_amount_together(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, given(SHOP, "money.pay", amount_per_day_fen=50_00)) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.buyer("buyer", 500_00)
        await operator.merchant("seller")
        answers = await asyncio.gather(*(shop.pay("buyer", "seller", 10_00) for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(one, core_pb2.Operation) for one in answers) == 5
        await operator.assert_agrees()


async def test_calls_under_way_are_bounded_by_caller_and_another_is_not_kept_out(database: str, tmp_path: Path) -> None:
    async with locked(
        database, tmp_path, given(SHOP, "read.own", calls_max=2), given(OTHER, "read.own", calls_max=2)
    ) as service:
        shop, other = await service.shop(SHOP), await service.shop(OTHER)
        watches = [shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest()) for _ in range(2)]
        for watch in watches:
            await watch.read()
        third = await shop.refusal(shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest()).read())
        assert (third.code, third.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        await other.operations.WatchOperations(operation_pb2.WatchOperationsRequest()).read()
        watches[0].cancel()

        async def may_watch() -> bool:
            try:
                await shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest()).read()
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(may_watch, "the place of the watch that has ended is free")


async def test_who_asked_is_kept_sealed_and_found(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, given(SHOP, "money.pay", "read.own", namespace="shop")) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.buyer("buyer", 300_00)
        await operator.merchant("seller")
        paid = await shop.pay("buyer", "seller", 5_00)
        assert (paid.caller, paid.person, paid.namespace) == (SHOP, "", "shop")
        wanted = operation_pb2.ListOperationsRequest(caller=SHOP)
        listed = await operator.operations.ListOperations(wanted, timeout=TIMEOUT_S)
        assert [one.operation_id for one in listed.operations] == [paid.operation_id]
        await operator.assert_agrees()
        await forge(database, paid.operation_id, OPERATOR)
        found = [
            answer.finding.check
            async for answer in operator.balances.VerifyBooks(balance_pb2.VerifyBooksRequest(), timeout=TIMEOUT_S)
            if answer.HasField("finding")
        ]
        assert found == ["sealed rows are as they were written"]


async def forge(dsn: str, operation_id: str, caller: str) -> None:
    """Put another name to what somebody has done."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("UPDATE operation SET caller = %s WHERE id = %s", [caller, operation_id])


async def test_what_is_paid_on_top_counts_as_part_of_one_call(database: str, tmp_path: Path) -> None:
    limited = given(SHOP, "money.withdraw", amount_per_call_fen=50_00)
    async with locked(database, tmp_path, limited) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.merchant("seller", 300_00, withdrawable=True)
        refusal = await shop.refusal(withdrawals.withdraw(shop, "seller", 1_00, fee_fen=200_00))
        assert (refusal.reason, refusal.amounts) == ("AMOUNT_NOT_PERMITTED", {"needed": 201_00, "left": 50_00})
        assert (await operator.balance("seller")).withdrawable_fen == 300_00
