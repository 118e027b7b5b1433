"""Refusals of a caller that goes on and on with nonsense come later and later, and nobody else's do."""

from __future__ import annotations

import pytest

from service.rpc import slowing
from service.rpc.slowing import A_SECOND, AT_ONCE, WAIT_MAX_S, Slowing


def test_a_few_refusals_come_at_once_and_the_next_ones_later() -> None:
    slow = Slowing()
    waits = [slow.wait_s("a", 100.0) for _ in range(AT_ONCE + 2)]
    assert waits[:AT_ONCE] == pytest.approx([0.0] * AT_ONCE)
    assert waits[AT_ONCE:] == pytest.approx([1 / A_SECOND, 2 / A_SECOND])


def test_no_refusal_waits_longer_than_the_longest_and_a_mended_caller_waits_no_more() -> None:
    slow = Slowing()
    waits = [slow.wait_s("a", 100.0) for _ in range(1000)]
    assert max(waits) == pytest.approx(WAIT_MAX_S)
    assert slow.wait_s("a", 101.0 + WAIT_MAX_S + AT_ONCE / A_SECOND) == 0.0


def test_a_caller_that_errs_seldom_never_waits() -> None:
    slow = Slowing()
    assert [slow.wait_s("a", 100.0 + number / A_SECOND) for number in range(1000)] == [0.0] * 1000


def test_nobody_waits_for_another() -> None:
    slow = Slowing()
    for _ in range(1000):
        slow.wait_s("abusive", 100.0)
    assert slow.wait_s("honest", 100.0) == 0.0


def test_those_that_wait_for_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slowing, "KEPT_MAX", 100)
    slow = Slowing()
    for number in range(1000):
        slow.wait_s(f"caller {number}", 100.0 + number)
    assert len(slow._paid_until_s) <= 101
