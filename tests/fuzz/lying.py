"""A bank that signs nonsense, and the days of a marketplace on which it does."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import patch

import grpc
import structlog

from bankclient import OTHER_CODE, REQUESTS, MessageInvalid, canonical_string
from jzb.v1 import (
    acquiring_pb2,
    balance_pb2,
    batch_pb2,
    batch_pb2_grpc,
    clearing_pb2,
    member_pb2,
    payment_pb2,
    suspense_pb2,
)
from sandbox.clock import BankClock
from sandbox.faults import FaultPlan
from sandbox.server import Sandbox
from service.problems import Problem
from tests.fuzz.spoiling import as_json, spoiled
from tests.world import acquiring as acquired
from tests.world import returns as returned
from tests.world import suspense as transferred
from tests.world.acquiring import share
from tests.world.marketplace import TIMEOUT_S, Marketplace, refusal_of
from tests.world.orders import prepay, settle_request
from tests.world.refunds import refund_request
from tests.world.topups import split_request
from tests.world.verifying import named
from tests.world.withdrawals import withdraw_request, withdraw_to_the_end


class Liar:
    """Stands before the sandbox and spoils what it signs, every other time; what the bank did stays done."""

    def __init__(self, sandbox: Sandbox, seed: int, believed: frozenset[str]) -> None:
        self._dice = Random(seed)
        self._handle = sandbox.bank.handle
        self._bank = sandbox.bank
        self._believed = believed
        self.lies = 0

    @contextlib.contextmanager
    def lying(self) -> Iterator[None]:
        """For the life of the block."""
        with patch.object(self._bank, "handle", self._lie):
            yield

    def _lie(self, service_id: str, body: Any, fault_plan: FaultPlan = FaultPlan()) -> dict[str, object]:  # noqa: B008
        answer = self._handle(service_id, body, fault_plan)
        if self._dice.random() < 0.5:
            return answer
        lie = as_json(spoiled(answer, self._dice, self._believed))
        try:
            canonical_string(json.loads(lie, parse_float=Decimal))
        except MessageInvalid:
            return answer
        self.lies += 1
        told_instead: dict[str, object] = json.loads(lie)
        return told_instead


@contextlib.contextmanager
def nothing_unforeseen() -> Iterator[None]:
    """Fails when an exception was logged that is no answer to anybody."""
    seen: list[str] = []

    def watch(logger: Any, method: str, event: Any) -> Any:
        error = event.get("exc_info")
        error = error if isinstance(error, BaseException) else sys.exc_info()[1] if error else None
        if error is not None and not isinstance(error, Problem):
            seen.append(f"{event['event']}: {error!r}")
        return event

    # In place, as structlog's own capture_logs does: loggers keep the list.
    processors = structlog.get_config()["processors"]
    processors.insert(0, watch)
    try:
        yield
    finally:
        processors.remove(watch)
    assert not seen, seen


async def attempt(call: Awaitable[Any]) -> Any:
    """The answer to a call, or None when it was refused in one of the three ways that nonsense may bring about.

    A signed code that nobody knows refuses a question, which moves nothing, and never an operation.
    """
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        if refusal.reason == "BANK_REFUSED":
            assert not REQUESTS[refusal.metadata["interface"]].changes, refusal
            # Codes of no known form, all of them: what they are is not repeated.
            assert refusal.metadata["bank_code"] == OTHER_CODE, refusal
            assert not refusal.operation.operation_id, refusal
        elif refusal.reason not in ("BANK_OUTCOME_UNKNOWN", "BANK_UNAVAILABLE"):
            raise
        return None


async def nothing(shop: Marketplace) -> None:
    """What most days begin and end with."""


@dataclass(frozen=True)
class Day:
    """What is done ``rounds`` times while the bank lies; what is done before and afterwards, it answers honestly.

    ``believed`` are the fields by which the bank alone says what is so.
    """

    play: Callable[[Marketplace, Liar, int], Awaitable[object]]
    before: Callable[[Marketplace], Awaitable[object]] = nothing
    after: Callable[[Marketplace], Awaitable[object]] = nothing
    believed: frozenset[str] = frozenset()
    rounds: int = 25
    days_back: int = 0

    @property
    def clock(self) -> BankClock | None:
        """The bank's, where it must be behind ours to have days to end."""
        began = datetime.now(UTC) - timedelta(days=self.days_back)
        return BankClock(lambda: began) if self.days_back else None


async def two_members(shop: Marketplace) -> None:
    await shop.buyer("buyer", 1_000_000, withdrawable=True)
    await shop.merchant("seller", 1_000_000, withdrawable=True)


async def two_members_of_today(shop: Marketplace) -> None:
    """A booking without a readable day stands to our present one, which is the bank's until it has cleared it."""
    await shop.buyer("buyer", 1_000_000)
    await shop.merchant("seller", 1_000_000)


async def pay_and_top_up(shop: Marketplace, liar: Liar, number: int) -> None:
    with liar.lying():
        await attempt(shop.top_ups.TopUp(shop.top_up_request("buyer", 700, 7), timeout=TIMEOUT_S))
        await attempt(shop.payments.Pay(shop.pay_request("buyer", "seller", 1000, 10), timeout=TIMEOUT_S))


async def split_top_ups(shop: Marketplace, liar: Liar, number: int) -> None:
    request = split_request(shop, ("buyer", 700 + number, 7), ("seller", 300, 3))
    with liar.lying():
        await attempt(shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S))


async def two_named_members(shop: Marketplace) -> None:
    await named(shop, "buyer", 1_000_000)
    await named(shop, "seller", collects=True)


async def end_orders(shop: Marketplace, liar: Liar, number: int) -> None:
    request = settle_request(
        shop, await prepay(shop, "buyer", "seller", 1000), payment_pb2.ORDER_END_CONFIRM, 500 + number, 5
    )
    with liar.lying():
        await attempt(shop.payments.SettleOrder(request, timeout=TIMEOUT_S))


async def withdraw(shop: Marketplace, liar: Liar, number: int) -> None:
    with liar.lying():
        request = withdraw_request(shop, "seller", 1000, 10)
        await attempt(shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S))


async def refund(shop: Marketplace, liar: Liar, number: int) -> None:
    payment = await shop.pay("buyer", "seller", 1000, 10)
    with liar.lying():
        request = refund_request(shop, payment.serial, 300 + number, 3)
        await attempt(shop.refunds.Refund(request, timeout=TIMEOUT_S))


async def open_members(shop: Marketplace, liar: Liar, number: int) -> None:
    with liar.lying():
        request = member_pb2.OpenMemberRequest(
            request_id=shop.request_id(), member_id=f"m_{number}", property=member_pb2.MEMBER_PROPERTY_MERCHANT
        )
        await attempt(shop.members.OpenMember(request, timeout=TIMEOUT_S))


async def prepay_in_batches(shop: Marketplace, liar: Liar, number: int) -> None:
    orders = [
        batch_pb2.OrderToPrepay(payee_member_id="seller", order_no=shop.order_no(), amount_fen=fen) for fen in (700, 50)
    ]
    request = batch_pb2.BatchPrepayRequest(request_id=shop.request_id(), payer_member_id="buyer", orders=orders)
    with liar.lying():
        await attempt(batch_pb2_grpc.BatchServiceStub(shop.channel).BatchPrepay(request, timeout=TIMEOUT_S))


async def collect_transfers(shop: Marketplace, liar: Liar, number: int) -> None:
    await transferred.come_in(shop, 500 + number, "buyer")
    await transferred.come_in(shop, 900 + number)
    with liar.lying():
        await attempt(transferred.collect(shop))
        question = shop.suspense.ListSuspense(suspense_pb2.ListSuspenseRequest(), timeout=TIMEOUT_S)
        for entry in (await question).entries[:1]:
            request = transferred.clearing(shop, entry.transfer_bank_serial, "seller", 100, 1)
            if entry.remaining_fen - entry.held_fen > 100:
                await attempt(shop.suspense.AllocateSuspense(request, timeout=TIMEOUT_S))


async def send_back_withdrawals(shop: Marketplace) -> None:
    await two_members(shop)
    for number in range(6):
        returned.send_back(shop, await withdraw_to_the_end(shop, "seller", 1000 + number))


async def collect_returns(shop: Marketplace, liar: Liar, number: int) -> None:
    with liar.lying():
        await attempt(returned.collect(shop))


async def collect_returns_and_end_the_day(shop: Marketplace) -> None:
    await returned.collect(shop)
    # Only then does the bank say which withdrawals they were.
    shop.sandbox.bank.move_clock(1)


async def clear_days(shop: Marketplace, liar: Liar, number: int) -> None:
    day = (await shop.top_up("seller", 1000 + number, 10)).bank_day
    shop.sandbox.bank.move_clock(1)
    request = clearing_pb2.ClearDayRequest(request_id=shop.request_id(), bank_day=day)
    with liar.lying():
        for _ in range(3):
            await attempt(shop.clearing.ClearDay(request, timeout=TIMEOUT_S))
    await shop.clear()


async def compare(shop: Marketplace, liar: Liar, number: int) -> None:
    async def compared() -> None:
        async for _ in shop.balances.CompareWithBank(balance_pb2.CompareWithBankRequest(), timeout=TIMEOUT_S):
            pass

    with liar.lying():
        await attempt(compared())
        request = balance_pb2.GetBankBalancesRequest(member_id="seller")
        await attempt(shop.balances.GetBankBalances(request, timeout=TIMEOUT_S))


class RecordOrders:
    """A day needs to remember what it asked: a question that failed left nothing behind, and is asked again."""

    def __init__(self) -> None:
        self._requests: list[acquiring_pb2.RecordOrderRequest] = []

    async def play(self, shop: Marketplace, liar: Liar, number: int) -> None:
        order = share("seller", 1000 + number, 10, shop.order_no())
        request = await acquired.acquire(shop, order, missed=number % 2 == 0)
        self._requests.append(request)
        with liar.lying():
            await attempt(acquired.record(shop, request))

    async def again(self, shop: Marketplace) -> None:
        for request in self._requests:
            await attempt(acquired.record(shop, request))


def record_orders() -> Day:
    day = RecordOrders()
    believed = {"CommissionAmt", "OrderActInSubAcctNo", "OrderInSubAcctNo", "PayMode", "TranAmt"}
    return Day(day.play, two_members, day.again, frozenset(believed))


OF_A_LIST = frozenset({"BookingType", "Remark", "TranAmt", "TranItemArray"})
"""By which a row of 6072 is known again."""

OF_A_NAME = frozenset({"AcctArray", "SubAcctName", "SubAcctNo"})
"""What is asked of the bank (6010) to be sent to it again (6031)."""

DAYS: dict[str, Callable[[], Day]] = {
    "payments and top-ups": lambda: Day(pay_and_top_up, two_members_of_today),
    "split top-ups": lambda: Day(split_top_ups, two_members_of_today),
    "orders that the platform ends": lambda: Day(end_orders, two_named_members, believed=OF_A_LIST | OF_A_NAME),
    "withdrawals": lambda: Day(withdraw, two_members),
    "refunds": lambda: Day(refund, two_members),
    "members": lambda: Day(open_members, believed=frozenset({"SubAcctNo"})),
    "batches": lambda: Day(
        prepay_in_batches,
        two_members,
        believed=OF_A_LIST,
        rounds=40,
    ),
    "transfers and suspense": lambda: Day(
        collect_transfers,
        two_members,
        transferred.collect,
        frozenset({"Remark", "TranAmt", "TranItemArray"}),
    ),
    "returns": lambda: Day(
        collect_returns,
        send_back_withdrawals,
        collect_returns_and_end_the_day,
        frozenset({"OldMarketSeqNo", "RejectInAcctTranAmt", "TranItemArray"}),
    ),
    "clearings": lambda: Day(
        clear_days,
        two_members,
        believed=frozenset({"ClearingState", "TotalAmt", "TranItemArray"}),
        rounds=15,
        days_back=20,
    ),
    "comparisons": lambda: Day(compare, two_members),
    "acquired orders": record_orders,
}
"""By what is done on it."""
