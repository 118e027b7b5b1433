"""What the bank itself says, through the gRPC API: balances, statements, charges (6010, 6011,
6037, 6072, 6073, 6093, 6109, 6114). Nothing of it moves money.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from datetime import date, timedelta

import grpc
import httpx
import pytest

from jzb.v1 import balance_pb2, statement_pb2, statement_pb2_grpc
from service.bankday import bank_today, days_now
from service.rpc.dates import booked_at
from tests.world.marketplace import TIMEOUT_S, Marketplace


def today() -> str:
    return bank_today().isoformat()


def days_ago(count: int) -> str:
    return (bank_today() - timedelta(days=count)).isoformat()


async def transactions(
    shop: Marketplace,
    member_id: str,
    direction: statement_pb2.Direction.ValueType = statement_pb2.DIRECTION_UNSPECIFIED,
) -> list[statement_pb2.Transaction]:
    stub = statement_pb2_grpc.StatementServiceStub(shop.channel)
    request = statement_pb2.ListTransactionsRequest(
        member_id=member_id, first_bank_day=days_ago(1), last_bank_day=today(), direction=direction
    )
    return [answer.transaction async for answer in stub.ListTransactions(request, timeout=TIMEOUT_S)]


async def movements(shop: Marketplace, member_id: str) -> list[statement_pb2.CashMovement]:
    stub = statement_pb2_grpc.StatementServiceStub(shop.channel)
    request = statement_pb2.ListCashMovementsRequest(
        member_id=member_id, first_bank_day=days_ago(1), last_bank_day=today()
    )
    return [answer.movement async for answer in stub.ListCashMovements(request, timeout=TIMEOUT_S)]


async def test_payments_are_listed_by_the_banks_serial_once_before_and_after_the_day_has_ended(
    shop: Marketplace,
) -> None:
    buyer, seller = await shop.buyer("buyer", 100_00), await shop.merchant("seller")
    paid = await shop.pay(buyer, seller, 40_00, 4_00)
    for _ in range(2):
        (found,) = await transactions(shop, buyer)
        assert (found.bank_serial, found.amount_fen, found.kind, found.direction) == (
            paid.bank_serial,
            40_00,
            statement_pb2.TRANSACTION_KIND_PAYMENT,
            statement_pb2.DIRECTION_OUT,
        )
        assert found.bank_day == paid.bank_day
        await shop.clear()
    assert await transactions(shop, seller, statement_pb2.DIRECTION_OUT) == []
    (found,) = await transactions(shop, seller, statement_pb2.DIRECTION_IN)
    assert found.direction == statement_pb2.DIRECTION_IN
    await shop.assert_agrees()


async def test_all_pages_of_a_list_arrive_in_one_stream(shop: Marketplace) -> None:
    buyer, seller = await shop.buyer("buyer", 100_00), await shop.merchant("seller")
    for number in range(43):
        await shop.pay(buyer, seller, 100 + number)
    assert [found.amount_fen for found in await transactions(shop, buyer)] == list(range(100, 143))
    assert shop.calls_received("BankTransactionDetailsQuery") == 4


async def test_top_ups_are_listed_with_amount_and_fee(shop: Marketplace) -> None:
    seller = await shop.merchant("seller")
    operation = await shop.top_up(seller, 100_00, 5_00)
    (found,) = await movements(shop, seller)
    assert (found.bank_serial, found.amount_fen, found.fee_fen, found.kind) == (
        operation.bank_serial,
        100_00,
        5_00,
        statement_pb2.CASH_MOVEMENT_KIND_TOP_UP,
    )


async def test_the_banks_balances_of_a_member_leave_the_mirror_alone(shop: Marketplace) -> None:
    buyer, seller = await shop.buyer("buyer", 100_00, withdrawable=True), await shop.merchant("seller")
    await shop.pay(buyer, seller, 30_00)
    request = balance_pb2.GetBankBalancesRequest(member_id=buyer)
    (found,) = (await shop.balances.GetBankBalances(request, timeout=TIMEOUT_S)).balances
    assert (found.available_fen, found.withdrawable_fen, found.frozen_fen, found.escrow_and_frozen_fen) == (
        70_00,
        70_00,
        0,
        0,
    )


async def test_the_platforms_functional_accounts_are_named_by_kind(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await shop.top_up("buyer", 100_00, 5_00)
    answer = await shop.balances.GetBankBalances(balance_pb2.GetBankBalancesRequest(), timeout=TIMEOUT_S)
    found = {row.account_kind: row.available_fen for row in answer.balances}
    assert found[balance_pb2.ACCOUNT_KIND_FEE] == 5_00
    assert found[balance_pb2.ACCOUNT_KIND_IN_TRANSIT] == -100_00
    assert found[balance_pb2.ACCOUNT_KIND_SUSPENSE] == 0


async def test_the_pooled_account_holds_what_the_channels_have_paid(shop: Marketplace) -> None:
    before = await shop.balances.GetPooledBalance(balance_pb2.GetPooledBalanceRequest(), timeout=TIMEOUT_S)
    await shop.buyer("buyer", 100_00, withdrawable=True)
    after = await shop.balances.GetPooledBalance(balance_pb2.GetPooledBalanceRequest(), timeout=TIMEOUT_S)
    assert after.balance_fen - before.balance_fen == 100_00


async def test_closing_balances_say_what_waited(shop: Marketplace) -> None:
    buyer = await shop.buyer("buyer", 100_00)
    request = balance_pb2.ListDayEndBalancesRequest(member_id=buyer, first_bank_day=days_ago(3), last_bank_day=today())
    (day,) = (await shop.balances.ListDayEndBalances(request, timeout=TIMEOUT_S)).days
    assert (day.bank_day, day.available_fen, day.uncleared_fen) == (today(), 100_00, 100_00)
    assert day.state == balance_pb2.DAY_END_STATE_UNCLEARED


async def test_the_banks_charges_are_listed(shop: Marketplace) -> None:
    stub = statement_pb2_grpc.StatementServiceStub(shop.channel)
    everything = statement_pb2.ListBankChargesRequest()
    assert [one async for one in stub.ListBankCharges(everything, timeout=TIMEOUT_S)] == []
    async with httpx.AsyncClient(trust_env=False) as client:
        command = {"fee_type": "1", "amount_fen": 350}
        (await client.post(f"{shop.sandbox.url}/control/charges", json=command)).raise_for_status()
    (found,) = [one.charge async for one in stub.ListBankCharges(everything, timeout=TIMEOUT_S)]
    assert (found.amount_fen, found.kind) == (350, statement_pb2.BANK_CHARGE_KIND_WITHDRAWAL)
    assert (found.bank_day, found.state) == (today(), statement_pb2.BANK_CHARGE_STATE_TAKEN)


async def test_days_reversed_or_in_the_future_or_too_far_apart_are_refused_unasked(shop: Marketplace) -> None:
    buyer = await shop.buyer("buyer")
    asked = len(shop.sandbox.requests)
    stub = statement_pb2_grpc.StatementServiceStub(shop.channel)
    tomorrow = (days_now()[1] + timedelta(days=1)).isoformat()
    for first, last in ((today(), days_ago(1)), (today(), tomorrow), ("2026-02-30", today())):
        request = statement_pb2.ListTransactionsRequest(member_id=buyer, first_bank_day=first, last_bank_day=last)
        refusal = await shop.refusal(_first(stub.ListTransactions(request, timeout=TIMEOUT_S)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BANK_DAY_INVALID")
    far = balance_pb2.ListDayEndBalancesRequest(member_id=buyer, first_bank_day=days_ago(11), last_bank_day=today())
    refusal = await shop.refusal(shop.balances.ListDayEndBalances(far, timeout=TIMEOUT_S))
    assert refusal.reason == "BANK_DAY_INVALID"
    assert len(shop.sandbox.requests) == asked


async def test_a_question_the_bank_refuses_or_does_not_answer_says_that_nothing_moved(shop: Marketplace) -> None:
    request = balance_pb2.GetPooledBalanceRequest()
    shop.sandbox.faults.add("refuse:ERR143", code="6011")
    refusal = await shop.refusal(shop.balances.GetPooledBalance(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BANK_REFUSED")
    assert refusal.metadata["bank_code"] == "ERR143"
    shop.sandbox.faults.add("no_signature", code="6011")
    refusal = await shop.refusal(shop.balances.GetPooledBalance(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "BANK_UNAVAILABLE")
    assert "the bank gave no usable answer: 6011" in refusal.message


async def _first(stream: AsyncIterable[object]) -> object:
    return await anext(aiter(stream))


def test_a_day_of_the_bank_is_a_date() -> None:
    assert date.fromisoformat(today()) == bank_today()


@pytest.mark.parametrize(
    ("day", "clock"), [("00010101", "000000"), ("00000101", "000000"), ("20260230", "000000"), ("20260228", "246060")]
)
def test_a_moment_that_is_none_is_left_out(day: str, clock: str) -> None:
    assert booked_at(day, clock) is None
