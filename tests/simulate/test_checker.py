"""The checker finds what is wrong: each fact is broken once by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from sandbox.clock import BankClock
from sandbox.records import Call
from sandbox.server import Sandbox
from simulate.callers import NEVER, Answer, Verdict
from simulate.checker import Journal, Movement, Op, Sent, wrong

ID = UUID(int=7)
NOON = datetime(2026, 11, 23, 4, tzinfo=UTC)
MEMBER = "9930000000001001"

ADOPTED = 100_000_000


def journal(**changes: Any) -> Journal:
    """One operation, 5.00 topped up in a bank that has done the same."""
    legs = [
        (UUID(int=1), 1, "pooled", "own-funds", ADOPTED),
        (ID, 1, "in-transit:20261123", f"waiting:{MEMBER}:20261123", 500),
    ]
    given = {
        "operations": {
            "adoption": Op(UUID(int=1), "adoption", "ADOPTION", "S1", "done", ADOPTED),
            "r-1": Op(ID, "r-1", "TOP_UP", "S7", "done", 500),
        },
        "legs": legs,
        "movements": [
            Movement(NOON, account, sign * fen, 0)
            for _, _, debit, credit, fen in legs
            for account, sign in ((debit, -1), (credit, 1))
        ],
        "balances": {
            "pooled": (-ADOPTED, 0),
            "own-funds": (ADOPTED, 0),
            "in-transit:20261123": (-500, 0),
            f"waiting:{MEMBER}:20261123": (500, 0),
        },
        "due": 0,
        "once_unknown": 0,
    }
    return Journal(**{**given, **changes})


@pytest.fixture
async def bank() -> AsyncIterator[Sandbox]:
    """A bank that has topped one member up by 5.00 under the serial S7."""
    async with Sandbox(clock=BankClock(lambda: NOON)) as sandbox:
        from sandbox.books import OUTSIDE, Move, in_transit, waiting
        from sandbox.records import Member

        store = sandbox.bank.store
        store.put(Member(MEMBER, "m", "00", "", "", "", "2026-11-23T12:00:00+08:00"))
        store.post([Move(in_transit("20261123"), waiting(MEMBER, "20261123"), 500)])
        store.put(Call("S7", "TopUp", "", "", "000000", "", "{}"))
        store.commit()
        del OUTSIDE
        yield sandbox


def found(sandbox: Sandbox, journal: Journal, *answers: Answer, sent: tuple[Sent, ...] = (Sent("S7", "r-1"),)) -> str:
    return "\n".join(wrong(journal, sandbox.bank, sent, answers))


def told(verdict: Verdict, **more: Any) -> Answer:
    given = {"operation_id": str(ID), "amount_fen": 500, "began_s": 0.0, "ended_s": 1.0, **more}
    return Answer("r-1", "top up", verdict, **given)


async def test_a_journal_that_equals_the_bank_and_its_answers_is_right(bank: Sandbox) -> None:
    assert found(bank, journal(), told(Verdict.DONE), told(Verdict.SILENT, operation_id="", ended_s=NEVER)) == ""


async def test_a_balance_that_is_not_the_sum_of_its_legs(bank: Sandbox) -> None:
    balances = {**journal().balances, f"waiting:{MEMBER}:20261123": (501, 0)}
    assert "its legs sum to 500" in found(bank, journal(balances=balances))


async def test_money_out_of_a_limit(bank: Sandbox) -> None:
    legs = [*journal().legs, (ID, 2, "limits", "fee", 1)]
    assert "moves 1 fen from limits to fee" in found(bank, journal(legs=legs))


async def test_an_account_below_its_floor_for_one_moment(bank: Sandbox) -> None:
    before = NOON - timedelta(seconds=1)
    account = f"withdrawable:{MEMBER}"
    moved = [Movement(before, account, -1, 0), Movement(NOON, account, 1, 0), *journal().movements]
    assert f"{account} stood at -1 fen" in found(bank, journal(movements=sorted(moved)))


async def test_a_hold_that_was_more_than_there_was(bank: Sandbox) -> None:
    later = NOON + timedelta(seconds=1)
    account = f"waiting:{MEMBER}:20261123"
    moved = [*journal().movements, Movement(later, account, 0, 501), Movement(later + timedelta(1), account, 0, -501)]
    assert "stood at -1 fen after holds" in found(bank, journal(movements=moved))


async def test_what_is_not_final_or_still_held(bank: Sandbox) -> None:
    operations = {**journal().operations, "r-2": Op(UUID(int=8), "r-2", "PAY_T1", "S8", "unknown", 5)}
    assert "rests in state unknown" in found(bank, journal(operations=operations))
    assert "still wait for a question" in found(bank, journal(due=2))
    held = {**journal().balances, "own-funds": (ADOPTED, 9)}
    assert "0 fen held by the journal, 9 by its balance" in found(bank, journal(balances=held))


async def test_money_that_nobody_brought_in(bank: Sandbox) -> None:
    operations = {**journal().operations, "r-1": replace(journal().operations["r-1"], amount_fen=400)}
    assert f"own {ADOPTED + 500} fen, and {ADOPTED + 400} were brought in" in found(
        bank, journal(operations=operations)
    )


async def test_a_request_that_the_bank_carried_out_twice_or_against_the_ledger(bank: Sandbox) -> None:
    bank.bank.store.put(Call("S9", "TopUp", "", "", "000000", "", "{}"))
    both = (Sent("S7", "r-1"), Sent("S9", "r-1"))
    assert "carried r-1 out 2 times" in found(bank, journal(), sent=both)
    assert "and the ledger says S7" in found(bank, journal(), sent=(Sent("S9", "r-1"),))
    refused = {**journal().operations, "r-1": replace(journal().operations["r-1"], state="refused")}
    assert "and it is refused" in found(bank, journal(operations=refused))
    never = (Sent("S0", "r-1"),)
    assert "is done, and the bank never carried it out" in found(bank, journal(), sent=never)
    assert "unknown to the ledger" in found(bank, journal(), sent=(Sent("S7", "r-1"), Sent("S9", "r-9")))


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (told(Verdict.DONE), "refused"),
        (told(Verdict.DONE, operation_id=str(UUID(int=9))), "done"),
        (told(Verdict.DONE, amount_fen=499), "done"),
        (told(Verdict.ACCEPTED), "released"),
        (told(Verdict.NO_EFFECT), "done"),
        (told(Verdict.NO_EFFECT, reason="BANK_REFUSED"), "done"),
        (told(Verdict.UNKNOWN, operation_id=str(UUID(int=9))), "done"),
    ],
)
async def test_an_answer_that_the_end_does_not_explain(bank: Sandbox, answer: Answer, state: str) -> None:
    operations = {**journal().operations, "r-1": replace(journal().operations["r-1"], state=state)}
    assert "is not explained by" in found(bank, journal(operations=operations), answer)


async def test_an_answer_without_effect_is_explained_by_a_repetition(bank: Sandbox) -> None:
    refused = told(Verdict.NO_EFFECT, operation_id="", ended_s=1.0)
    assert found(bank, journal(), refused, told(Verdict.DONE, ended_s=2.0)) == ""


async def test_a_broken_status(bank: Sandbox) -> None:
    assert "was told INTERNAL" in found(bank, journal(), told(Verdict.SILENT, code="INTERNAL"))


async def test_a_pocket_that_differs_from_the_banks(bank: Sandbox) -> None:
    from sandbox.books import Move, waiting, withdrawable

    bank.bank.store.post([Move(waiting(MEMBER, "20261123"), withdrawable(MEMBER), 1)])
    bank.bank.store.commit()
    seen = found(bank, journal())
    assert f"waiting:{MEMBER}:20261123 holds 500 fen here and 499 at the bank" in seen
    assert f"withdrawable:{MEMBER} holds 0 fen here and 1 at the bank" in seen
