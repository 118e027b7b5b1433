"""Withdrawals that the receiving bank sent back (6048), seen from outside."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from jzb.v1 import core_pb2, withdrawal_pb2
from sandbox.clock import BankClock
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_day, bank_says, open_marketplace
from tests.world.returns import LIST, collect, send_back
from tests.world.withdrawals import withdraw_to_the_end


async def withdrawal_of(shop: Marketplace, serial: str) -> withdrawal_pb2.GetWithdrawalResponse:
    request = withdrawal_pb2.GetWithdrawalRequest(withdrawal_serial=serial)
    answer: withdrawal_pb2.GetWithdrawalResponse = await shop.withdrawals.GetWithdrawal(request, timeout=TIMEOUT_S)
    return answer


async def test_a_returned_withdrawal_puts_the_money_back_and_names_the_original_the_day_after(
    shop: Marketplace,
) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    withdrawal = await withdraw_to_the_end(shop, "seller", 40_00, 1_00)
    send_back(shop, withdrawal)
    returned_on = bank_day(shop)

    page = await collect(shop)
    (entered,) = page.returns
    assert page.entered == 1
    assert (entered.kind, entered.state) == (
        core_pb2.OPERATION_KIND_WITHDRAWAL_RETURN,
        core_pb2.OPERATION_STATE_ACCEPTED,
    )
    assert (entered.outcome, entered.original_serial, entered.request_id) == (core_pb2.OUTCOME_DONE, "", "")
    assert (entered.bank_day, entered.payee_member_id, entered.amount_fen) == (str(returned_on), "seller", 40_00)
    balance = await shop.balance("seller")
    assert (balance.uncleared_fen, balance.withdrawable_fen) == (40_00, 59_00)
    assert list((await withdrawal_of(shop, withdrawal.serial)).returns) == []
    await shop.assert_agrees()

    shop.sandbox.bank.move_clock(1)
    named = await shop.resolve(entered.operation_id)
    assert (named.state, named.original_serial) == (core_pb2.OPERATION_STATE_DONE, withdrawal.serial)
    found = await withdrawal_of(shop, withdrawal.serial)
    assert found.operation.state == core_pb2.OPERATION_STATE_DONE
    assert ([one.operation_id for one in found.returns], found.returned_fen) == ([entered.operation_id], 40_00)


async def test_a_return_is_entered_once_however_often_and_by_how_many_it_is_asked_for(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    withdrawal = await withdraw_to_the_end(shop, "seller", 40_00)
    send_back(shop, withdrawal)
    pages = await asyncio.gather(*(collect(shop) for _ in range(5)))
    assert sum(page.entered for page in pages) == 1
    assert len({page.returns[0].operation_id for page in pages}) == 1
    assert (await shop.balance("seller")).available_fen == 100_00
    await shop.assert_agrees()


async def test_a_return_asked_for_a_day_later_names_its_withdrawal_at_once(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    withdrawal = await withdraw_to_the_end(shop, "seller", 40_00)
    send_back(shop, withdrawal)
    day = bank_day(shop)
    shop.sandbox.bank.move_clock(1)
    (entered,) = (await collect(shop, day)).returns
    assert (entered.state, entered.original_serial) == (core_pb2.OPERATION_STATE_DONE, withdrawal.serial)
    assert entered.bank_day == str(day)


async def test_asking_again_names_what_was_entered_without_a_name(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    withdrawal = await withdraw_to_the_end(shop, "seller", 40_00)
    send_back(shop, withdrawal)
    day = bank_day(shop)
    (entered,) = (await collect(shop)).returns
    still = await shop.resolve(entered.operation_id)
    assert (still.state, still.query_attempts) == (core_pb2.OPERATION_STATE_ACCEPTED, 1)
    shop.sandbox.bank.move_clock(1)
    page = await collect(shop, day)
    assert (page.entered, page.returns[0].original_serial) == (0, withdrawal.serial)
    assert (await shop.balance("seller")).available_fen == 100_00


async def test_many_returns_come_in_pages_over_the_days(database: str) -> None:
    began = datetime.now(UTC) - timedelta(days=5)
    async with open_marketplace(database, clock=BankClock(lambda: began)) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        first = bank_day(shop)
        withdrawals = []
        for number in range(5):
            withdrawals.append(await withdraw_to_the_end(shop, "seller", 10_00))
            send_back(shop, withdrawals[-1])
            if number == 2:
                shop.sandbox.bank.move_clock(1)
        last = bank_day(shop)
        shop.sandbox.bank.move_clock(1)
        seen, token, pages = [], "", 0
        while True:
            page = await collect(shop, first, last, page_size=2, page_token=token)
            seen += [one.original_serial for one in page.returns]
            assert page.entered == len(page.returns) <= 2
            pages, token = pages + 1, page.next_page_token
            if not token:
                break
        assert pages == 3
        assert seen == [withdrawal.serial for withdrawal in withdrawals]
        assert (await shop.balance("seller")).available_fen == 100_00


async def test_the_background_asks_for_the_last_days_by_itself(database: str) -> None:
    began = datetime.now(UTC) - timedelta(days=2)
    async with open_marketplace(
        database, clock=BankClock(lambda: began), returns={"poll_s": 0.05, "days": 2, "name_after_s": 0.05}
    ) as shop:
        await shop.merchant("seller", 100_00, withdrawable=True)
        withdrawal = await withdraw_to_the_end(shop, "seller", 40_00)
        send_back(shop, withdrawal)
        shop.sandbox.bank.move_clock(1)
        async with asyncio.timeout(10):
            while (await shop.balance("seller")).available_fen < 100_00:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await withdrawal_of(shop, withdrawal.serial)).returned_fen == 40_00


async def test_days_that_cannot_be_asked_for_are_refused_by_name(shop: Marketplace) -> None:
    today = bank_day(shop)
    reversed_days = await shop.refusal(collect(shop, today, today - timedelta(days=1)))
    assert (reversed_days.reason, list(reversed_days.violations)) == ("BANK_DAY_INVALID", ["last_bank_day"])
    long = await shop.refusal(collect(shop, today - timedelta(days=31), today))
    assert long.reason == "BANK_DAY_INVALID"
    for edge in (date.max, date.min):
        refusal = await shop.refusal(collect(shop, edge))
        assert (refusal.reason, list(refusal.violations)) == ("BANK_DAY_INVALID", ["first_bank_day"])
    coming = await shop.refusal(collect(shop, today + timedelta(days=2)))
    assert (coming.reason, coming.metadata["interface"]) == ("BANK_REFUSED", "6048")
    damaged = await shop.refusal(collect(shop, page_token="damaged"))
    assert damaged.reason == "PAGE_TOKEN_INVALID"
    unknown = await shop.refusal(withdrawal_of(shop, "X285502611230000009999"))
    assert unknown.reason == "WITHDRAWAL_NOT_FOUND"


async def test_a_bank_that_does_not_answer_enters_nothing_and_says_so(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    send_back(shop, await withdraw_to_the_end(shop, "seller", 40_00))
    shop.sandbox.faults.add("http500", code="6048")
    told = await shop.refusal(collect(shop))
    assert told.reason == "BANK_UNAVAILABLE"
    assert (await shop.balance("seller")).available_fen == 60_00
    assert (await collect(shop)).entered == 1
    await shop.assert_agrees()


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"RejectInAcctTranAmt": "0.00"}, withdrawal_pb2.RETURN_PROBLEM_REASON_AMOUNT_INVALID),
        ({"RejectInAcctTranAmt": "10000000000000.00"}, withdrawal_pb2.RETURN_PROBLEM_REASON_AMOUNT_INVALID),
        ({"PayeeWitnessSubAcctNo": ""}, withdrawal_pb2.RETURN_PROBLEM_REASON_MEMBER_UNKNOWN),
        ({"PayeeWitnessSubAcctNo": "9930000000009999"}, withdrawal_pb2.RETURN_PROBLEM_REASON_MEMBER_UNKNOWN),
        ({"PayeeFrontSeqNo": ""}, withdrawal_pb2.RETURN_PROBLEM_REASON_SERIAL_MISSING),
    ],
)
async def test_a_return_that_cannot_be_entered_is_told_and_the_others_are_entered(
    shop: Marketplace, wrong: dict[str, str], fault: withdrawal_pb2.ReturnProblemReason.ValueType
) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    for _ in range(2):
        send_back(shop, await withdraw_to_the_end(shop, "seller", 20_00))
    with bank_says(shop.sandbox, LIST, lambda answer: answer["TranItemArray"][0].update(wrong)):
        page = await collect(shop)
    assert (page.entered, [one.reason for one in page.problems]) == (1, [fault])
    assert (await shop.balance("seller")).available_fen == 80_00
    page = await collect(shop)
    assert (page.entered, len(page.returns), list(page.problems)) == (1, 2, [])
    await shop.assert_agrees()


async def test_a_return_that_the_bank_tells_otherwise_later_is_not_entered_again(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    send_back(shop, await withdraw_to_the_end(shop, "seller", 40_00))
    assert (await collect(shop)).entered == 1
    with bank_says(shop.sandbox, LIST, lambda answer: answer["TranItemArray"][0].update(RejectInAcctTranAmt="40.01")):
        page = await collect(shop)
    assert (page.entered, [one.reason for one in page.problems]) == (0, [withdrawal_pb2.RETURN_PROBLEM_REASON_CHANGED])
    await shop.assert_agrees()


async def test_what_was_paid_before_a_return_was_found_took_of_it_as_at_the_bank(shop: Marketplace) -> None:
    await shop.buyer("buyer", 200_00, withdrawable=True)
    await shop.merchant("seller")
    for paid_fen, (uncleared_fen, withdrawable_fen) in ((30_00, (20_00, 150_00)), (120_00, (0, 50_00))):
        send_back(shop, await withdraw_to_the_end(shop, "buyer", 50_00))
        await shop.pay("buyer", "seller", paid_fen)
        assert (await collect(shop)).entered == 1
        buyer = await shop.balance("buyer")
        assert (buyer.uncleared_fen, buyer.withdrawable_fen) == (uncleared_fen, withdrawable_fen)
        await shop.assert_agrees()


async def test_a_return_waits_where_the_bank_does_not_say_what_of_it_may_leave(shop: Marketplace) -> None:
    await shop.buyer("buyer", 200_00, withdrawable=True)
    await shop.merchant("seller")
    send_back(shop, await withdraw_to_the_end(shop, "buyer", 50_00))
    await shop.pay("buyer", "seller", 30_00)
    shop.sandbox.faults.add("http500", code="6010")
    assert (await collect(shop)).entered == 1
    buyer = await shop.balance("buyer")
    assert (buyer.uncleared_fen, buyer.withdrawable_fen) == (50_00, 120_00)
    await shop.clear()
    await shop.assert_agrees()
