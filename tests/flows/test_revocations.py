"""Top-ups taken back (6130, 6217), seen from outside."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc

from jzb.v1 import core_pb2, topup_pb2
from sandbox.clock import BankClock
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.revocations import revocation, revoke, split_revocation
from tests.world.topups import split_top_up


async def refused(shop: Marketplace, top_up_serial: str, fen: int, fee_fen: int = 0) -> tuple[str, dict[str, int]]:
    call = shop.top_ups.RevokeTopUp(revocation(shop, top_up_serial, fen, fee_fen), timeout=TIMEOUT_S)
    told = await shop.refusal(call)
    assert told.outcome == core_pb2.OUTCOME_NO_EFFECT
    return told.reason, told.amounts


async def revocable(shop: Marketplace, top_up_serial: str) -> list[tuple[str, int, int]]:
    """Member, and what is left of its share, and of the fee inside."""
    request = topup_pb2.GetRevocableRequest(top_up_serial=top_up_serial)
    shares = (await shop.top_ups.GetRevocable(request, timeout=TIMEOUT_S)).shares
    return [(share.member_id, share.remaining_fen, share.remaining_fee_fen) for share in shares]


async def test_a_top_up_is_revoked_in_parts_until_nothing_is_left(shop: Marketplace) -> None:
    await shop.merchant("seller")
    top_up = await shop.top_up("seller", 100_00, 10_00)
    first = await revoke(shop, top_up.serial, 33_00, 3_00)
    assert (first.state, first.original_serial) == (core_pb2.OPERATION_STATE_DONE, top_up.serial)
    assert (await shop.balance("seller")).available_fen == 60_00
    assert await revocable(shop, top_up.serial) == [("seller", 67_00, 7_00)]
    await revoke(shop, top_up.serial, 7_00, 7_00)
    await revoke(shop, top_up.serial, 60_00)
    assert await revocable(shop, top_up.serial) == [("seller", 0, 0)]
    assert shop.sandbox.books.owed_fen == 0
    await shop.assert_agrees()


async def test_members_part_and_fee_are_limited_apart_and_never_above_what_was_put_in(shop: Marketplace) -> None:
    await shop.merchant("seller", 50_00)
    top_up = await shop.top_up("seller", 100_00, 10_00)
    await revoke(shop, top_up.serial, 20_00, 4_00)
    # 90 went to the member: 95 without a fee is more, although 100 were paid.
    assert await refused(shop, top_up.serial, 95_00) == (
        "REVOCATION_EXCEEDS_TOP_UP",
        {"needed": 95_00, "left": 74_00},
    )
    assert await refused(shop, top_up.serial, 30_00, 6_01) == (
        "FEE_REVOCATION_EXCEEDS_FEE",
        {"needed": 6_01, "left": 6_00},
    )
    assert shop.calls_received("RevokeMemberRechargeThirdPay") == 1
    await shop.assert_agrees()


async def test_a_revocation_whose_answer_is_lost_holds_until_it_is_resolved(shop: Marketplace) -> None:
    await shop.merchant("seller")
    top_up = await shop.top_up("seller", 100_00, 10_00)
    call = shop.top_ups.RevokeTopUp(
        revocation(shop, top_up.serial, 50_00, 5_00, remark="[[lose_after]]"), timeout=TIMEOUT_S
    )
    lost = await shop.refusal(call)
    assert (lost.reason, lost.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert (await shop.balance("seller")).held_fen == 45_00
    assert await revocable(shop, top_up.serial) == [("seller", 50_00, 5_00)]
    assert await refused(shop, top_up.serial, 46_00) == (
        "REVOCATION_EXCEEDS_TOP_UP",
        {"needed": 46_00, "left": 45_00},
    )
    found = await shop.resolve(lost.operation.operation_id)
    assert found.state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("seller")).available_fen == 45_00
    await shop.assert_agrees()


async def test_a_top_up_whose_answer_was_lost_can_be_revoked_once_it_is_known(shop: Marketplace) -> None:
    await shop.merchant("seller")
    lost = await shop.refusal(
        shop.top_ups.TopUp(shop.top_up_request("seller", 100_00, remark="[[lose_after]]"), timeout=TIMEOUT_S)
    )
    assert (await refused(shop, lost.operation.serial, 1_00))[0] == "TOP_UP_IN_DOUBT"
    await shop.resolve(lost.operation.operation_id)
    await revoke(shop, lost.operation.serial, 100_00)
    assert (await shop.balance("seller")).available_fen == 0
    await shop.assert_agrees()


async def test_what_is_no_top_up_cannot_be_revoked(shop: Marketplace) -> None:
    await shop.buyer("buyer", 10_00)
    await shop.merchant("seller")
    paid = await shop.pay("buyer", "seller", 1_00)
    for serial in (paid.serial, "X285502611230000009999"):
        assert (await refused(shop, serial, 1_00))[0] == "TOP_UP_NOT_FOUND"
    split = await split_top_up(shop, seller=(5_00, 0))
    assert (await refused(shop, split.serial, 1_00))[0] == "TOP_UP_NOT_FOUND"
    bad = await shop.refusal(shop.top_ups.RevokeTopUp(revocation(shop, paid.serial, 1_00, 1_01), timeout=TIMEOUT_S))
    assert bad.reason == "FEE_EXCEEDS_AMOUNT"


async def test_money_the_member_has_spent_cannot_be_revoked(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await shop.merchant("seller")
    top_up = await shop.top_up("buyer", 100_00)
    await shop.pay("buyer", "seller", 60_00)
    assert await refused(shop, top_up.serial, 40_01) == ("INSUFFICIENT_FUNDS", {"needed": 40_01, "left": 40_00})
    await revoke(shop, top_up.serial, 40_00)
    await shop.assert_agrees()


async def test_partial_revocations_at_once_stay_within_the_top_up(shop: Marketplace) -> None:
    await shop.merchant("seller", 500_00)
    top_up = await shop.top_up("seller", 100_00, 10_00)
    results = await asyncio.gather(
        *(revoke(shop, top_up.serial, 22_00, 2_00) for _ in range(8)), return_exceptions=True
    )
    done = [one for one in results if isinstance(one, core_pb2.Operation)]
    refusals = [one for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert (len(done), len(refusals)) == (4, 4)
    assert shop.calls_received("RevokeMemberRechargeThirdPay") == 4
    assert await revocable(shop, top_up.serial) == [("seller", 12_00, 2_00)]
    await shop.assert_agrees()


async def test_spending_and_revoking_the_same_money_at_once_moves_it_once(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await shop.merchant("seller")
    top_up = await shop.top_up("buyer", 100_00)
    results = await asyncio.gather(
        revoke(shop, top_up.serial, 100_00),
        *(shop.pay("buyer", "seller", 100_00) for _ in range(3)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, core_pb2.Operation) for one in results) == 1
    assert (await shop.balance("buyer")).available_fen == 0
    await shop.assert_agrees()


async def test_cleared_money_can_be_revoked_and_counts_against_the_channels_day(database: str) -> None:
    began = datetime.now(UTC) - timedelta(days=3)
    async with open_marketplace(database, clock=BankClock(lambda: began)) as shop:
        await shop.buyer("buyer")
        await shop.merchant("seller")
        top_up = await shop.top_up("buyer", 100_00, 10_00)
        await shop.clear()
        assert (await shop.balance("buyer")).withdrawable_fen == 90_00
        await revoke(shop, top_up.serial, 44_00, 4_00)
        balance = await shop.balance("buyer")
        assert (balance.available_fen, balance.withdrawable_fen) == (50_00, 50_00)
        # Nothing was topped up on the new day: the channels have 44.00 to come, until that day is cleared too.
        assert shop.sandbox.books.owed_fen == -44_00
        await shop.assert_agrees()
        await shop.top_up("buyer", 4_00)
        await shop.clear()
        assert shop.sandbox.books.owed_fen == 0
        await shop.assert_agrees()


async def test_a_revocation_takes_waiting_money_of_the_day_before_cleared_money(database: str) -> None:
    began = datetime.now(UTC) - timedelta(days=3)
    async with open_marketplace(database, clock=BankClock(lambda: began)) as shop:
        await shop.buyer("buyer")
        old = await shop.top_up("buyer", 100_00)
        await shop.clear()
        await shop.top_up("buyer", 30_00)
        await revoke(shop, old.serial, 50_00)
        balance = await shop.balance("buyer")
        assert (balance.uncleared_fen, balance.withdrawable_fen) == (0, 80_00)
        await shop.assert_agrees()


async def test_shares_of_a_split_are_revoked_in_parts_each_within_its_own(shop: Marketplace) -> None:
    for name in ("a", "b", "c"):
        await shop.merchant(name)
    top_up = await split_top_up(shop, a=(500_00, 50_00), b=(300_00, 30_00), c=(200_00, 20_00))
    answer = await shop.top_ups.RevokeSplitTopUp(
        split_revocation(shop, top_up.serial, a=(500_00, 50_00), c=(100_00, 0)), timeout=TIMEOUT_S
    )
    assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
    assert answer.operation.amount_fen == 600_00
    assert [part.payer_member_id for part in answer.operation.parts] == ["a", "c"]
    assert await revocable(shop, top_up.serial) == [("a", 0, 0), ("b", 300_00, 30_00), ("c", 100_00, 20_00)]
    over = await shop.refusal(
        shop.top_ups.RevokeSplitTopUp(
            split_revocation(shop, top_up.serial, b=(10_00, 0), c=(80_01, 0)), timeout=TIMEOUT_S
        )
    )
    assert (over.reason, over.amounts) == ("REVOCATION_EXCEEDS_TOP_UP", {"needed": 80_01, "left": 80_00})
    assert (await shop.balance("b")).available_fen == 270_00
    await shop.assert_agrees()


async def test_a_split_revocation_whose_answer_is_lost_is_asked_for_row_by_row(shop: Marketplace) -> None:
    for name in ("a", "b"):
        await shop.merchant(name)
    top_up = await split_top_up(shop, a=(500_00, 50_00), b=(300_00, 30_00))
    shop.sandbox.faults.add("lose_after", code="6217")
    lost = await shop.refusal(
        shop.top_ups.RevokeSplitTopUp(
            split_revocation(shop, top_up.serial, a=(110_00, 10_00), b=(30_00, 30_00)), timeout=TIMEOUT_S
        )
    )
    assert lost.outcome == core_pb2.OUTCOME_UNKNOWN
    assert (await shop.balance("a")).held_fen == 100_00
    asked = shop.calls_received("SingleTransactionStatusQuery")
    found = await shop.resolve(lost.operation.operation_id)
    assert found.state == core_pb2.OPERATION_STATE_DONE
    assert shop.calls_received("SingleTransactionStatusQuery") == asked + 2
    assert (await shop.balance("a")).available_fen == 350_00
    assert (await shop.balance("b")).available_fen == 270_00
    await shop.assert_agrees()


async def test_a_split_revocation_that_never_arrived_gives_its_shares_back(shop: Marketplace) -> None:
    await shop.merchant("a")
    top_up = await split_top_up(shop, a=(500_00, 50_00))
    shop.sandbox.faults.add("lose_before", code="6217")
    lost = await shop.refusal(
        shop.top_ups.RevokeSplitTopUp(split_revocation(shop, top_up.serial, a=(110_00, 10_00)), timeout=TIMEOUT_S)
    )
    assert lost.outcome == core_pb2.OUTCOME_UNKNOWN
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    assert await revocable(shop, top_up.serial) == [("a", 500_00, 50_00)]
    await shop.assert_agrees()


async def test_a_member_without_a_share_cannot_be_revoked(shop: Marketplace) -> None:
    await shop.merchant("a")
    await shop.merchant("b", 10_00)
    top_up = await split_top_up(shop, a=(500_00, 50_00))
    told = await shop.refusal(
        shop.top_ups.RevokeSplitTopUp(split_revocation(shop, top_up.serial, b=(1_00, 0)), timeout=TIMEOUT_S)
    )
    assert told.reason == "MEMBER_NOT_FOUND"


async def test_a_revocation_may_bring_a_new_order_number_instead_of_the_shares_own(database: str) -> None:
    async with open_marketplace(database, rules={"revoked_order": "new"}) as shop:
        await shop.merchant("a")
        top_up = await split_top_up(shop, a=(500_00, 50_00))
        for _ in range(2):
            request = split_revocation(shop, top_up.serial, a=(10_00, 0))
            await shop.top_ups.RevokeSplitTopUp(request, timeout=TIMEOUT_S)
        assert await revocable(shop, top_up.serial) == [("a", 480_00, 50_00)]
        await shop.assert_agrees()


async def test_validate_only_tells_what_would_be_refused_and_sends_nothing(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await shop.merchant("seller")
    top_up = await shop.top_up("buyer", 100_00)
    request = revocation(shop, top_up.serial, 100_00)
    request.validate_only = True
    await shop.top_ups.RevokeTopUp(request, timeout=TIMEOUT_S)
    await shop.pay("buyer", "seller", 1)
    told = await shop.refusal(shop.top_ups.RevokeTopUp(request, timeout=TIMEOUT_S))
    assert told.reason == "INSUFFICIENT_FUNDS"
    assert shop.calls_received("RevokeMemberRechargeThirdPay") == 0
    assert await revocable(shop, top_up.serial) == [("buyer", 100_00, 0)]
