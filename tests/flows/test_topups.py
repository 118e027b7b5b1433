"""Top-ups by a payment channel (6129, 6216), seen from outside."""

from __future__ import annotations

import grpc

from jzb.v1 import balance_pb2, core_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.topups import split_request


async def totals(shop: Marketplace) -> dict[int, int]:
    """Balances by kind of account; those of the platform's own accounts are not members'."""
    answer = await shop.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S)
    return {row.account_kind: row.balance_fen for row in answer.rows}


async def test_a_split_of_many_rows_is_settled_by_a_bank_that_takes_its_time(database: str) -> None:
    # Its rows one after the other would take longer than an operation may be asked about at a stretch.
    async with open_marketplace(database, bank={"timeout_s": 2.0, "connect_timeout_s": 0.3}) as shop:
        members = [f"member{number}" for number in range(12)]
        for member in members:
            await shop.merchant(member)
        request = split_request(shop, *((member, 10_00, 0) for member in members), remark="[[lose_after]]")
        refusal = await shop.refusal(shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S))
        shop.sandbox.faults.add("delay:0.8", code="6110", times=None)
        settled = await shop.resolve(refusal.operation.operation_id)
        assert settled.state == core_pb2.OPERATION_STATE_DONE
        await shop.assert_agrees()


async def test_of_100_paid_10_are_fee_and_90_reach_the_merchant(shop: Marketplace) -> None:
    # Quick start, 6129: its own example.
    await shop.merchant("seller")
    operation = await shop.top_up("seller", 100_00, 10_00)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert (operation.amount_fen, operation.fee_fen) == (100_00, 10_00)
    balance = await shop.balance("seller")
    assert (balance.available_fen, balance.uncleared_fen, balance.withdrawable_fen) == (90_00, 90_00, 0)
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 10_00
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_IN_TRANSIT] == -100_00
    await shop.assert_agrees()


async def test_both_kinds_of_member_may_be_topped_up(shop: Marketplace) -> None:
    await shop.buyer("buyer", 1)
    await shop.merchant("seller", 2)
    assert (await shop.balance("buyer")).available_fen == 1
    assert (await shop.balance("seller")).available_fen == 2
    await shop.assert_agrees()


async def test_a_top_up_that_is_all_fee_credits_the_platform_alone(shop: Marketplace) -> None:
    await shop.merchant("seller")
    await shop.top_up("seller", 3_00, 3_00)
    assert (await shop.balance("seller")).available_fen == 0
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 3_00
    await shop.assert_agrees()


async def test_1000_are_split_over_three_merchants_each_less_its_fee(shop: Marketplace) -> None:
    # Quick start, 6216: A 500 with fee 50, B 300 with fee 30, C 200 with fee 20.
    for member_id in "ABC":
        await shop.merchant(member_id)
    request = split_request(shop, ("A", 500_00, 50_00), ("B", 300_00, 30_00), ("C", 200_00, 20_00))
    operation = (await shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S)).operation
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert (operation.amount_fen, operation.fee_fen) == (1000_00, 100_00)
    assert [part.payee_member_id for part in operation.parts] == ["A", "B", "C"]
    assert len({part.serial for part in operation.parts} | {operation.serial}) == 4
    assert [(await shop.balance(member_id)).available_fen for member_id in "ABC"] == [450_00, 270_00, 180_00]
    assert (await totals(shop))[balance_pb2.ACCOUNT_KIND_FEE] == 100_00
    await shop.assert_agrees()


async def test_a_top_up_whose_answer_is_lost_is_unknown_then_done_and_credited_once(shop: Marketplace) -> None:
    await shop.merchant("seller")
    request = shop.top_up_request("seller", 100_00, 10_00, remark="[[lose_after]]")
    lost = await shop.refusal(shop.top_ups.TopUp(request, timeout=TIMEOUT_S))
    assert (lost.code, lost.outcome) == (grpc.StatusCode.DEADLINE_EXCEEDED, core_pb2.OUTCOME_UNKNOWN)
    assert (await shop.balance("seller")).available_fen == 0
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("seller")).available_fen == 90_00
    assert (await shop.top_ups.TopUp(request, timeout=TIMEOUT_S)).operation.state == core_pb2.OPERATION_STATE_DONE
    await shop.assert_agrees()


async def test_a_split_whose_answer_is_lost_is_asked_for_share_by_share(shop: Marketplace) -> None:
    for member_id in "AB":
        await shop.merchant(member_id)
    request = split_request(shop, ("A", 50_00, 5_00), ("B", 30_00, 0), remark="[[lose_after]]")
    lost = await shop.refusal(shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S))
    assert lost.reason == "BANK_OUTCOME_UNKNOWN"
    asked = shop.calls_received("SingleTransactionStatusQuery")
    operation = await shop.until_final(lost.operation.operation_id)
    assert operation.state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received("SingleTransactionStatusQuery") - asked == 2
    assert [(await shop.balance(member_id)).available_fen for member_id in "AB"] == [45_00, 30_00]
    await shop.assert_agrees()


async def test_a_fee_above_the_amount_is_refused_with_both_amounts(shop: Marketplace) -> None:
    await shop.merchant("seller")
    refusal = await shop.refusal(shop.top_up("seller", 10_00, 10_01))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEE_EXCEEDS_AMOUNT")
    assert refusal.amounts == {"amount": 10_00, "fee": 10_01}
    assert "fee_fen" in refusal.violations
    assert shop.calls_received("MemberRechargeThirdPay") == 0
    await shop.assert_agrees()


async def test_a_share_whose_fee_is_above_it_refuses_the_whole_split(shop: Marketplace) -> None:
    for member_id in "AB":
        await shop.merchant(member_id)
    request = split_request(shop, ("A", 50_00, 0), ("B", 1_00, 1_01))
    refusal = await shop.refusal(shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S))
    assert refusal.reason == "FEE_EXCEEDS_AMOUNT"
    assert (await shop.balance("A")).available_fen == 0
    await shop.assert_agrees()


async def test_a_channel_order_number_that_was_credited_before_is_refused(shop: Marketplace) -> None:
    await shop.merchant("seller")
    first = shop.top_up_request("seller", 5_00)
    await shop.top_ups.TopUp(first, timeout=TIMEOUT_S)
    second = shop.top_up_request("seller", 5_00)
    second.order_no = first.order_no
    refusal = await shop.refusal(shop.top_ups.TopUp(second, timeout=TIMEOUT_S))
    assert refusal.code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ALREADY_EXISTS)
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    assert (await shop.balance("seller")).available_fen == 5_00
    await shop.assert_agrees()


async def test_a_member_twice_in_a_split_is_refused_before_the_bank_sees_it(shop: Marketplace) -> None:
    await shop.merchant("A")
    refusal = await shop.refusal(
        shop.top_ups.SplitTopUp(split_request(shop, ("A", 1_00, 0), ("A", 2_00, 0)), timeout=TIMEOUT_S)
    )
    assert refusal.reason == "REQUEST_INVALID"
    assert "a member may appear once" in refusal.message


async def test_a_split_with_an_unknown_member_credits_nobody(shop: Marketplace) -> None:
    await shop.merchant("A")
    request = split_request(shop, ("A", 1_00, 0), ("nobody", 2_00, 0))
    refusal = await shop.refusal(shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")
    assert (await shop.balance("A")).available_fen == 0
