"""Withdrawals to a card (6033), seen from outside: accepted first, final later."""

from __future__ import annotations

import grpc

from jzb.v1 import balance_pb2, core_pb2
from tests.sandbox.choices import BankChoices
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.withdrawals import CARD, withdraw, withdraw_request

ON_ITS_WAY: BankChoices = {"withdrawal_delay_s": 3600.0}


async def on_its_way_fen(shop: Marketplace) -> int:
    answer = await shop.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S)
    kind = balance_pb2.ACCOUNT_KIND_WITHDRAWAL_IN_TRANSIT
    return sum(row.balance_fen for row in answer.rows if row.account_kind == kind)


async def test_an_accepted_withdrawal_has_left_the_member_and_is_on_its_way(database: str) -> None:
    async with open_marketplace(database, ON_ITS_WAY) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        operation = await withdraw(shop, "seller", 60_00, 2_00)
        assert (operation.state, operation.outcome) == (core_pb2.OPERATION_STATE_ACCEPTED, core_pb2.OUTCOME_DONE)
        seller = await shop.balance("seller")
        assert (seller.available_fen, seller.withdrawable_fen, seller.held_fen) == (38_00, 38_00, 0)
        assert await on_its_way_fen(shop) == 60_00
        asked = await shop.resolve(operation.operation_id)
        assert asked.state == core_pb2.OPERATION_STATE_ACCEPTED
        await shop.assert_agrees()


async def test_a_withdrawal_that_reaches_the_card_is_done(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    operation = await withdraw(shop, "seller", 60_00, 2_00)
    done = await shop.until_final(operation.operation_id)
    assert done.state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("seller")).available_fen == 38_00
    assert shop.sandbox.books.functional_fen("3") == 2_00
    assert await on_its_way_fen(shop) == 0
    await shop.assert_agrees()


async def test_a_withdrawal_that_fails_later_gives_amount_and_fee_back(database: str) -> None:
    async with open_marketplace(database, ON_ITS_WAY) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        operation = await withdraw(shop, "seller", 60_00, 2_00)
        shop.sandbox.bank.decide_withdrawal(operation.serial, "fail")
        refused = await shop.until_final(operation.operation_id)
        assert (refused.state, refused.outcome) == (core_pb2.OPERATION_STATE_REFUSED, core_pb2.OUTCOME_NO_EFFECT)
        assert refused.bank_message == "收款账户异常"
        assert sorted(part.corrects for part in refused.parts)[-1] == 1
        seller = await shop.balance("seller")
        assert (seller.available_fen, seller.withdrawable_fen) == (100_00, 100_00)
        assert await on_its_way_fen(shop) == 0
        await shop.assert_agrees()


async def test_a_withdrawal_whose_answer_is_lost_is_held_then_done(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    request = withdraw_request(shop, "seller", 60_00, 2_00, remark="[[lose_after]]")
    lost = await shop.refusal(shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S))
    assert (lost.reason, lost.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    seller = await shop.balance("seller")
    assert (seller.withdrawable_fen, seller.held_fen) == (38_00, 62_00)
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("seller")).available_fen == 38_00
    await shop.assert_agrees()


async def test_a_lost_withdrawal_that_is_still_on_its_way_becomes_accepted_then_done(database: str) -> None:
    async with open_marketplace(database, ON_ITS_WAY) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        request = withdraw_request(shop, "seller", 60_00, remark="[[lose_after]]")
        lost = await shop.refusal(shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S))
        accepted = await shop.resolve(lost.operation.operation_id)
        assert accepted.state == core_pb2.OPERATION_STATE_ACCEPTED
        await shop.assert_agrees()
        shop.sandbox.bank.decide_withdrawal(accepted.serial, "success")
        assert (await shop.until_final(accepted.operation_id)).state == core_pb2.OPERATION_STATE_DONE
        await shop.assert_agrees()


async def test_money_that_waits_for_clearing_cannot_be_withdrawn(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00)
    refusal = await shop.refusal(withdraw(shop, "seller", 60_00))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WITHDRAWABLE_INSUFFICIENT")
    assert refusal.amounts == {"needed": 60_00, "left": 0}
    # No other kind of withdrawal takes uncleared money.
    assert "T+1" not in refusal.next_step
    assert shop.calls_received("MembershipWithdrawCash") == 0
    await shop.clear()
    assert (await withdraw(shop, "seller", 60_00)).state == core_pb2.OPERATION_STATE_ACCEPTED


async def test_the_fee_comes_on_top_and_counts_against_what_is_withdrawable(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    refusal = await shop.refusal(withdraw(shop, "seller", 100_00, 1))
    assert (refusal.reason, refusal.amounts) == ("WITHDRAWABLE_INSUFFICIENT", {"needed": 100_01, "left": 100_00})
    operation = await withdraw(shop, "seller", 99_99, 1)
    await shop.until_final(operation.operation_id)
    assert (await shop.balance("seller")).available_fen == 0
    await shop.assert_agrees()


async def test_an_ordinary_member_may_withdraw_too(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00, withdrawable=True)
    operation = await withdraw(shop, "buyer", 100_00)
    assert (await shop.until_final(operation.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    await shop.assert_agrees()


async def test_card_and_holder_come_back_in_no_answer(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    operation = await withdraw(shop, "seller", 1_00)
    wrong = withdraw_request(shop, "seller", 1_00)
    wrong.card_number = f"{CARD}x"
    refusal = await shop.refusal(shop.withdrawals.Withdraw(wrong, timeout=TIMEOUT_S))
    assert "card_number" in refusal.violations
    for said in (str(operation), str(refusal)):
        assert CARD not in said
        assert "张三" not in said
