"""Refusals of a caller that goes on and on with nonsense come later and later, and nobody else's do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jzb.v1 import balance_pb2, payment_pb2
from service.rpc import slowing
from service.rpc.slowing import WAIT_MAX_S, Slowing
from tests.world.callers import given, locked

ONE, OTHER = "spiffe://test/one", "spiffe://test/other"

AT_ONCE, A_SECOND = 10, 0.5


def test_a_few_refusals_come_at_once_and_the_next_ones_later() -> None:
    slow = Slowing(AT_ONCE, A_SECOND)
    waits = [slow.wait_s("a", 100.0) for _ in range(AT_ONCE + 2)]
    assert waits[:AT_ONCE] == pytest.approx([0.0] * AT_ONCE)
    assert waits[AT_ONCE:] == pytest.approx([1 / A_SECOND, 2 / A_SECOND])


def test_no_refusal_waits_longer_than_the_longest_and_a_mended_caller_waits_no_more() -> None:
    slow = Slowing(AT_ONCE, A_SECOND)
    waits = [slow.wait_s("a", 100.0) for _ in range(1000)]
    assert max(waits) == pytest.approx(WAIT_MAX_S)
    assert slow.wait_s("a", 101.0 + WAIT_MAX_S + AT_ONCE / A_SECOND) == 0.0


def test_a_caller_that_errs_seldom_never_waits() -> None:
    slow = Slowing(AT_ONCE, A_SECOND)
    assert [slow.wait_s("a", 100.0 + number / A_SECOND) for number in range(1000)] == [0.0] * 1000


def test_nobody_waits_for_another() -> None:
    slow = Slowing(AT_ONCE, A_SECOND)
    for _ in range(1000):
        slow.wait_s("abusive", 100.0)
    assert slow.wait_s("honest", 100.0) == 0.0


def test_those_that_wait_for_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slowing, "KEPT_MAX", 100)
    slow = Slowing(AT_ONCE, A_SECOND)
    for number in range(1000):
        slow.wait_s(f"caller {number}", 100.0 + number)
    assert len(slow._paid_until_s) <= 101


async def test_a_caller_that_goes_on_is_refused_later_and_others_at_once(database: str, tmp_path: Path) -> None:
    limits = {"refusals_at_once": 3, "refusals_per_s": 2.0}
    readers = (given(ONE, "read.all"), given(OTHER, "read.all"))
    async with locked(database, tmp_path, *readers, grpc=limits) as service:
        one, other = await service.shop(ONE), await service.shop(OTHER)
        began_s = time.monotonic()
        for _ in range(5):
            assert (await one.refusal(one.payments.Pay(payment_pb2.PayRequest()))).reason == "SCOPE_MISSING"
        assert time.monotonic() - began_s >= 0.9
        # It waits within its own deadline: it is refused, and not cut off.
        assert (await one.refusal(one.payments.Pay(payment_pb2.PayRequest(), timeout=0.5))).reason == "SCOPE_MISSING"
        began_s = time.monotonic()
        await one.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest())
        assert (await other.refusal(other.payments.Pay(payment_pb2.PayRequest()))).reason == "SCOPE_MISSING"
        assert time.monotonic() - began_s < 0.5
