"""What members spend between the bank's clearing of a day and our hearing of it (6108): both books, to the fen.

The bank's side of every comparison is its books themselves, pocket by pocket, and not what the service makes of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import grpc
import pytest

from jzb.v1 import batch_pb2, batch_pb2_grpc, clearing_pb2, core_pb2, operation_pb2
from sandbox.records import Member
from tests.world.freezes import freeze, release_request
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.orders import cancel, prepay
from tests.world.process import until
from tests.world.refunds import refund_request
from tests.world.revocations import revoke, split_revocation
from tests.world.topups import split_top_up
from tests.world.withdrawals import withdraw, withdraw_request

SpendOrder = Literal["waiting_first", "withdrawable_first"]
ORDERS: tuple[SpendOrder, ...] = ("waiting_first", "withdrawable_first")


@dataclass
class Pair:
    """A seller and a buyer who have got money on the day before the bank's night, and more on the day after it."""

    shop: Marketplace
    seller: str
    buyer: str
    paid: core_pb2.Operation
    topped_up: core_pb2.Operation
    split: core_pb2.Operation

    async def refund(self, fen: int = 100_00, remark: str = "") -> core_pb2.Operation:
        """Give a part of the first day's payment back."""
        request = refund_request(self.shop, self.paid.serial, fen, remark=remark)
        operation: core_pb2.Operation = (await self.shop.refunds.Refund(request, timeout=TIMEOUT_S)).operation
        return operation


@dataclass
class Night:
    """The morning after; nobody has told the mirror that the bank has cleared the first day."""

    shop: Marketplace
    first_day: str
    pairs: list[Pair]

    async def hear(self) -> core_pb2.Operation:
        """Have the mirror enter what the bank has cleared."""
        request = clearing_pb2.ClearDayRequest(request_id=self.shop.request_id(), bank_day=self.first_day)
        operation: core_pb2.Operation = (await self.shop.clearing.ClearDay(request, timeout=TIMEOUT_S)).operation
        return operation

    def pockets(self, member_id: str) -> tuple[int, int]:
        """What a member can spend at the bank, and what of it may leave."""
        bank = self.shop.sandbox.bank
        sub_account = next(one.sub_acct_no for one in bank.store.all(Member) if one.code == member_id)
        there = self.shop.sandbox.books.sub_account(sub_account)
        return there.available_fen, there.withdrawable

    async def assert_equal(self) -> None:
        """What every member has, and what of it may leave, is the same here and in the bank's own books."""
        names = [one for pair in self.pairs for one in (pair.seller, pair.buyer)]
        here = {name: await self.shop.balance(name) for name in names}
        assert {name: (one.available_fen, one.withdrawable_fen) for name, one in here.items()} == {
            name: self.pockets(name) for name in names
        }
        await self.shop.assert_agrees()


@asynccontextmanager
async def night(database: str, spends: SpendOrder, *, is_held: bool = False, pairs: int = 1) -> AsyncIterator[Night]:
    """The bank has cleared the first day, unless its channels hold the money back."""
    async with open_marketplace(
        database, {"clear_same_day": False, "spend_order": spends}, rules={"spend_order": spends}
    ) as shop:
        found = [await pair_of(shop, f"seller{number}", f"buyer{number}") for number in range(pairs)]
        shop.sandbox.bank.hold_clearing(is_held)
        shop.sandbox.bank.move_clock(1)
        for pair in found:
            await shop.pay(pair.buyer, pair.seller, 100_00)
            await shop.top_up(pair.buyer, 100_00)
        yield Night(shop, found[0].paid.bank_day, found)


async def pair_of(shop: Marketplace, seller: str, buyer: str) -> Pair:
    await shop.buyer(buyer, 400_00)
    await shop.merchant(seller)
    topped_up = await shop.top_up(seller, 10_00)
    split = await split_top_up(shop, **{seller: (10_00, 0), buyer: (10_00, 0)})
    return Pair(shop, seller, buyer, await shop.pay(buyer, seller, 100_00), topped_up, split)


async def refund_all(pair: Pair) -> None:
    await pair.refund()


async def refund_in_parts(pair: Pair) -> None:
    for fen in (30_00, 30_00, 40_00):
        await pair.refund(fen)


async def pay(pair: Pair) -> None:
    await pair.shop.pay(pair.buyer, pair.seller, 150_00)


async def freeze_some(pair: Pair) -> None:
    await freeze(pair.shop, pair.buyer, 150_00)


async def freeze_and_release(pair: Pair) -> None:
    order_no = await freeze(pair.shop, pair.buyer, 150_00)
    await pair.shop.freezes.Release(release_request(pair.shop, order_no, 50_00), timeout=TIMEOUT_S)


async def prepay_some(pair: Pair) -> None:
    await prepay(pair.shop, pair.buyer, pair.seller, 150_00)


async def prepay_and_cancel(pair: Pair) -> None:
    await cancel(pair.shop, await prepay(pair.shop, pair.buyer, pair.seller, 150_00), 70_00)


async def prepay_several(pair: Pair) -> None:
    orders = [
        batch_pb2.OrderToPrepay(payee_member_id=pair.seller, order_no=pair.shop.order_no(), amount_fen=fen)
        for fen in (70_00, 80_00)
    ]
    request = batch_pb2.BatchPrepayRequest(request_id=pair.shop.request_id(), payer_member_id=pair.buyer, orders=orders)
    await batch_pb2_grpc.BatchServiceStub(pair.shop.channel).BatchPrepay(request, timeout=TIMEOUT_S)


async def revoke_a_top_up(pair: Pair) -> None:
    await revoke(pair.shop, pair.topped_up.serial, 10_00)


async def revoke_shares(pair: Pair) -> None:
    request = split_revocation(pair.shop, pair.split.serial, **{pair.seller: (10_00, 0), pair.buyer: (10_00, 0)})
    await pair.shop.top_ups.RevokeSplitTopUp(request, timeout=TIMEOUT_S)


SPENDS: tuple[Callable[[Pair], Awaitable[None]], ...] = (
    refund_all,
    refund_in_parts,
    pay,
    freeze_some,
    freeze_and_release,
    prepay_some,
    prepay_and_cancel,
    prepay_several,
    revoke_a_top_up,
    revoke_shares,
)


@pytest.mark.parametrize("spends", ORDERS)
async def test_what_is_spent_before_we_hear_of_the_clearing_leaves_both_books_equal(
    database: str, spends: SpendOrder
) -> None:
    async with night(database, spends, pairs=len(SPENDS)) as morning:
        for spend, pair in zip(SPENDS, morning.pairs, strict=True):
            await spend(pair)
        assert (await morning.hear()).state == core_pb2.OPERATION_STATE_DONE
        await morning.assert_equal()


@pytest.mark.parametrize("spends", ORDERS)
async def test_the_bank_may_clear_between_two_payments_of_one_morning(database: str, spends: SpendOrder) -> None:
    async with night(database, spends, is_held=True) as morning:
        await morning.pairs[0].refund(40_00)
        morning.shop.sandbox.bank.hold_clearing(False)
        await morning.pairs[0].refund(30_00)
        assert (await morning.hear()).state == core_pb2.OPERATION_STATE_DONE
        await morning.assert_equal()
        # What the bank had not cleared yet gave the first 40.00, and the new day the other 30.00.
        assert morning.pockets("seller0") == ((150_00, 80_00) if spends == "waiting_first" else (150_00, 50_00))


@pytest.mark.parametrize("fault", ["lose_after", "lose_before"])
@pytest.mark.parametrize("spends", ORDERS)
async def test_a_lost_answer_of_that_morning_is_followed_when_it_is_known(
    database: str, fault: str, spends: SpendOrder
) -> None:
    async with night(database, spends) as morning:
        lost = await morning.shop.refusal(morning.pairs[0].refund(remark=f"[[{fault}]]"))
        entered = await morning.hear()
        assert entered.state in (core_pb2.OPERATION_STATE_ACCEPTED, core_pb2.OPERATION_STATE_DONE)
        await morning.shop.until_final(lost.operation.operation_id)
        assert (await morning.shop.until_final(entered.operation_id)).state == core_pb2.OPERATION_STATE_DONE
        await morning.assert_equal()


@pytest.mark.parametrize("spends", ORDERS)
async def test_a_payment_under_way_at_midnight_is_followed_too(database: str, spends: SpendOrder) -> None:
    async with open_marketplace(
        database, {"clear_same_day": False, "spend_order": spends}, rules={"spend_order": spends}
    ) as shop:
        pair = await pair_of(shop, "seller0", "buyer0")
        morning = Night(shop, pair.paid.bank_day, [pair])
        lost = await shop.refusal(morning.pairs[0].refund(remark="[[lose_before]]"))
        shop.sandbox.bank.move_clock(1)
        await shop.pay("buyer0", "seller0", 100_00)
        entered = await morning.hear()
        # Sent again under the same serial, it is booked on the new day.
        found = await shop.until_final(lost.operation.operation_id)
        assert found.state == core_pb2.OPERATION_STATE_REFUSED
        await shop.until_final(entered.operation_id)
        await morning.assert_equal()


async def test_many_payments_while_a_clearing_is_entered_leave_both_books_equal(database: str) -> None:
    async with night(database, "waiting_first") as morning:
        entered, *_ = await asyncio.gather(
            morning.hear(),
            *(morning.pairs[0].refund(5_00) for _ in range(15)),
            *(morning.shop.pay("buyer0", "seller0", 3_00) for _ in range(15)),
        )
        await morning.shop.until_final(entered.operation_id)
        await morning.assert_equal()


@pytest.mark.parametrize("spends", ORDERS)
async def test_a_withdrawal_that_lacks_money_has_the_bank_asked_for_the_night_first(
    database: str, spends: SpendOrder
) -> None:
    async with night(database, spends) as morning:
        await morning.pairs[0].refund(20_00)
        assert morning.pockets("seller0")[1] >= 90_00
        withdrawal = await withdraw(morning.shop, "seller0", 90_00)
        await morning.shop.until_final(withdrawal.operation_id)
        await morning.assert_equal()
        refusal = await morning.shop.refusal(withdraw(morning.shop, "seller0", 90_00))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WITHDRAWABLE_INSUFFICIENT")


async def test_a_withdrawal_is_refused_once_for_all_while_the_bank_has_not_cleared(database: str) -> None:
    async with night(database, "waiting_first", is_held=True) as morning:
        request = withdraw_request(morning.shop, "seller0", 90_00)
        refusals = [
            await morning.shop.refusal(morning.shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)) for _ in range(2)
        ]
        assert [one.reason for one in refusals] == ["WITHDRAWABLE_INSUFFICIENT"] * 2
        assert len({one.operation.operation_id for one in refusals}) == 1
        assert morning.shop.calls_received("BankClearQuery") <= 2
        await morning.assert_equal()


async def test_only_what_was_spent_late_is_taken_from_the_bank_s_word(database: str) -> None:
    # The bank has cleared both days; we are told of the first alone.
    async with night(database, "waiting_first") as morning:
        await morning.pairs[0].refund(30_00)
        morning.shop.sandbox.bank.move_clock(1)
        await morning.hear()
        seller = await morning.shop.balance("seller0")
        assert morning.pockets("seller0") == (190_00, 190_00)
        assert (seller.available_fen, seller.withdrawable_fen) == (190_00, 120_00)


async def test_members_who_spent_nothing_late_are_not_asked_for(database: str) -> None:
    async with night(database, "waiting_first", pairs=3) as morning:
        asked = morning.shop.calls_received("CustAcctIdBalanceQuery")
        await morning.hear()
        # The three buyers paid in the morning out of the first day's money, the sellers only collected.
        assert morning.shop.calls_received("CustAcctIdBalanceQuery") - asked == 3
        await morning.assert_equal()


async def test_whoever_enters_a_clearing_and_whoever_resolves_it_may_follow_the_bank_at_once(database: str) -> None:
    async with night(database, "waiting_first") as morning:
        await morning.pairs[0].refund(30_00)
        asked = morning.shop.calls_received("CustAcctIdBalanceQuery")
        for _ in range(2):
            morning.shop.sandbox.faults.add("delay:1.5", code="6010")
        entering = asyncio.ensure_future(morning.hear())
        await until(lambda: morning.shop.calls_received("CustAcctIdBalanceQuery") >= asked + 1, "the bank is asked")
        request = operation_pb2.ListOperationsRequest(kind=core_pb2.OPERATION_KIND_CLEARING)
        (clearing,) = (await morning.shop.operations.ListOperations(request, timeout=TIMEOUT_S)).operations
        assert (await morning.shop.resolve(clearing.operation_id)).state == core_pb2.OPERATION_STATE_DONE
        assert (await entering).state == core_pb2.OPERATION_STATE_DONE
        await morning.assert_equal()
