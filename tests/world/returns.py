"""Withdrawals that the receiving bank sends back, and the service's asking for them."""

from __future__ import annotations

from datetime import date
from typing import Any

from jzb.v1 import core_pb2, withdrawal_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_day

LIST = "BankWithdrawCashBackQuery"


def send_back(shop: Marketplace, withdrawal: core_pb2.Operation) -> None:
    """Let the receiving bank return a withdrawal that had succeeded."""
    shop.sandbox.bank.decide_withdrawal(withdrawal.serial, "return")


async def collect(
    shop: Marketplace, first: date | None = None, last: date | None = None, **more: Any
) -> withdrawal_pb2.CollectReturnsResponse:
    """Ask for the returns of some days, of the bank's present day when none is given."""
    today = bank_day(shop)
    request = withdrawal_pb2.CollectReturnsRequest(
        first_bank_day=str(first or today), last_bank_day=str(last or first or today), **more
    )
    answer: withdrawal_pb2.CollectReturnsResponse = await shop.withdrawals.CollectReturns(request, timeout=TIMEOUT_S)
    return answer
