"""Dry runs (AIP-163): judged against the mirror as it is, and nothing is recorded, held or sent."""

from __future__ import annotations

from typing import Any

import pytest

from jzb.v1 import clearing_pb2, operation_pb2, topup_pb2
from tests.world.freezes import freeze, freeze_request, pay_frozen_request, release_request
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.orders import cancel_request, confirm_request, prepay, prepay_request
from tests.world.refunds import refund_request
from tests.world.withdrawals import withdraw_request


@pytest.fixture
async def market(shop: Marketplace) -> tuple[Marketplace, dict[str, Any]]:
    """A market where each kind of money call could be made, and those calls by name."""
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.merchant("seller")
    order_no = await prepay(shop, "buyer", "seller", 10_00)
    frozen_no = await freeze(shop, "buyer", 20_00)
    payment = await shop.pay("buyer", "seller", 10_00, 1_00)
    channel = topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1900000109")
    share = topup_pb2.TopUpShare(member_id="seller", amount_fen=5_00, fee_fen=1_00, order_no=shop.order_no())
    calls: dict[str, Any] = {
        "Pay": (shop.payments, shop.pay_request("buyer", "seller", 5_00, 1_00)),
        "PrepayOrder": (shop.payments, prepay_request(shop, "buyer", "seller", shop.order_no(), 5_00)),
        "ConfirmOrder": (shop.payments, confirm_request(shop, order_no, 5_00, 1_00)),
        "CancelOrder": (shop.payments, cancel_request(shop, order_no, 5_00)),
        "Freeze": (shop.freezes, freeze_request(shop, "buyer", 5_00)),
        "Release": (shop.freezes, release_request(shop, frozen_no, 5_00, 1_00)),
        "PayFrozen": (shop.freezes, pay_frozen_request(shop, frozen_no, [("seller", 5_00)], 1_00)),
        "Refund": (shop.refunds, refund_request(shop, payment.serial, 5_00, 1_00)),
        "Withdraw": (shop.withdrawals, withdraw_request(shop, "buyer", 5_00, 1_00)),
        "TopUp": (shop.top_ups, shop.top_up_request("seller", 5_00, 1_00)),
        "SplitTopUp": (
            shop.top_ups,
            topup_pb2.SplitTopUpRequest(
                request_id=shop.request_id(), order_no=shop.order_no(), channel=channel, shares=[share]
            ),
        ),
    }
    for _, request in calls.values():
        request.validate_only = True
    return shop, calls


async def seen(shop: Marketplace) -> Any:
    listed = await shop.operations.ListOperations(operation_pb2.ListOperationsRequest(), timeout=TIMEOUT_S)
    balances = [await shop.balance(member_id) for member_id in ("buyer", "seller")]
    for balance in balances:
        balance.ClearField("as_of_time")
    return [operation.operation_id for operation in listed.operations], balances


async def test_a_dry_run_of_every_money_call_leaves_no_trace(market: tuple[Marketplace, dict[str, Any]]) -> None:
    shop, calls = market
    before, sent = await seen(shop), len(shop.sandbox.requests)
    for method, (stub, request) in calls.items():
        operation = (await getattr(stub, method)(request, timeout=TIMEOUT_S)).operation
        assert (operation.operation_id, operation.state, operation.outcome) == ("", 0, 0), method
        assert operation.amount_fen > 0, method
    assert await seen(shop) == before
    assert len(shop.sandbox.requests) == sent
    await shop.assert_agrees()


async def test_what_a_dry_run_has_passed_can_be_done_with_the_same_request_id(
    market: tuple[Marketplace, dict[str, Any]],
) -> None:
    shop, calls = market
    for method, (stub, request) in calls.items():
        await getattr(stub, method)(request, timeout=TIMEOUT_S)
        request.validate_only = False
        assert (await getattr(stub, method)(request, timeout=TIMEOUT_S)).operation.operation_id, method
    operations = await shop.operations.ListOperations(operation_pb2.ListOperationsRequest(), timeout=TIMEOUT_S)
    for operation in operations.operations:
        await shop.until_final(operation.operation_id)
    await shop.assert_agrees()


async def test_a_dry_run_is_refused_as_the_call_would_be(market: tuple[Marketplace, dict[str, Any]]) -> None:
    shop, calls = market
    reasons = {
        "Pay": "INSUFFICIENT_FUNDS",
        "PrepayOrder": "INSUFFICIENT_FUNDS",
        "ConfirmOrder": "ORDER_INSUFFICIENT",
        "CancelOrder": "ORDER_INSUFFICIENT",
        "Freeze": "INSUFFICIENT_FUNDS",
        "Release": "ORDER_INSUFFICIENT",
        "Refund": "REFUND_EXCEEDS_PAYMENT",
        "Withdraw": "WITHDRAWABLE_INSUFFICIENT",
    }
    before = await seen(shop)
    for method, reason in reasons.items():
        stub, request = calls[method]
        request.amount_fen = 1_000_00
        refusal = await shop.refusal(getattr(stub, method)(request, timeout=TIMEOUT_S))
        assert refusal.reason == reason, method
        assert refusal.amounts["needed"] > refusal.amounts["left"], method
        assert not refusal.operation.operation_id, method
    assert await seen(shop) == before


async def test_a_day_is_asked_for_without_being_entered(shop: Marketplace) -> None:
    await shop.merchant("seller", 10_00)
    (day,) = (await shop.clearing.ListDays(clearing_pb2.ListDaysRequest(), timeout=TIMEOUT_S)).days
    request = clearing_pb2.ClearDayRequest(request_id=shop.request_id(), bank_day=day.bank_day, validate_only=True)
    answer = await shop.clearing.ClearDay(request, timeout=TIMEOUT_S)
    assert answer.day.state == clearing_pb2.CLEARING_STATE_CLEARED_AT_BANK
    assert not answer.HasField("operation")
    assert (await shop.balance("seller")).uncleared_fen == 10_00
