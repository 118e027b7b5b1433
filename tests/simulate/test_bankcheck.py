"""The journal held against the bank: each way in which they can differ is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from sandbox.accounts import AccountRef
from sandbox.books import FEE, Move, functional, in_transit, waiting, withdrawable
from sandbox.clock import BankClock
from sandbox.records import Call, Credit, FrontSerial, Member, Trade
from sandbox.server import Sandbox
from simulate.bankcheck import BankLog, Sent, differences
from simulate.checker import Held, Journal, Op
from tests.simulate.journals import ADOPTED, ID, NOON, SUB, WAITING, journal, posted

DAY = "20261123"
CREDITED = {
    AccountRef("in_transit", "7", DAY): -500,
    AccountRef("waiting", SUB, DAY): 450,
    AccountRef("functional", FEE, ""): 50,
}
LEFT = {"revocable:S7": (450, 0), "revocable-fee:S7": (50, 0), "limits": (-500, 0)}


@pytest.fixture
async def log() -> AsyncIterator[BankLog]:
    """A bank that has topped one member up by 5.00, with a fee of 0.50, under the serial S7."""
    async with Sandbox(clock=BankClock(lambda: NOON)) as sandbox:
        store = sandbox.bank.store
        store.put(Member(SUB, "m", "00", "", DAY))
        store.post([Move(in_transit(DAY), waiting(SUB, DAY), 450), Move(in_transit(DAY), functional(FEE), 50)])
        store.put(Call("S7", "TopUp", "", "", "000000", "", "{}"))
        store.put(Trade("S7", "S7", "6129", "", "4", "", "0", "", DAY, "F7", amount_fen=500, fee_fen=50))
        store.put(FrontSerial("F7", "S7"))
        store.put(Credit("F7", SUB, "0001", "", "O7", 450, 50))
        store.commit()
        written = BankLog(sandbox.bank, lambda *_: None)
        written.sent.append(Sent("S7", "r-1"))
        written.moved["S7"] = Counter(CREDITED)
        yield written


def mirror(**changes: Any) -> Journal:
    """The journal of the same top-up, with what may be revoked of it."""
    return journal(balances={**journal().balances, **LEFT}, **changes)


def found(log: BankLog, of: Journal) -> str:
    return "\n".join(differences(of, log))


async def test_a_journal_that_is_the_banks(log: BankLog) -> None:
    assert found(log, mirror()) == ""


async def test_a_request_that_the_bank_carried_out_twice_or_against_the_ledger(log: BankLog) -> None:
    log.bank.store.put(Call("S9", "TopUp", "", "", "000000", "", "{}"))
    log.sent = [Sent("S7", "r-1"), Sent("S9", "r-1")]
    assert "carried r-1 out 2 times" in found(log, mirror())
    log.sent = [Sent("S9", "r-1")]
    assert "and the ledger says S7" in found(log, mirror())
    log.sent = [Sent("S7", "r-1"), Sent("S9", "r-9")]
    assert "unknown to the ledger" in found(log, mirror())


async def test_what_is_refused_here_and_done_there_or_done_and_never_sent(log: BankLog) -> None:
    refused = {**mirror().operations, "r-1": replace(mirror().operations["r-1"], state="refused")}
    assert "carried r-1 out under {'S7'}, and it is refused" in found(log, mirror(operations=refused))
    log.sent = []
    assert "TOP_UP r-1 is done, and the bank never carried it out" in found(log, mirror())


async def test_what_is_said_to_have_never_been_sent_and_was(log: BankLog) -> None:
    released = {**mirror().operations, "r-1": replace(mirror().operations["r-1"], state="released")}
    assert "TOP_UP r-1 is released, and S7 had reached the bank" in found(log, mirror(operations=released))


@pytest.mark.parametrize(
    ("credit", "fen"), [(f"waiting:{SUB}:20261124", 450), (f"withdrawable:{SUB}", 450), ("own-funds", 450)]
)
async def test_money_that_went_to_another_pocket_or_day(log: BankLog, credit: str, fen: int) -> None:
    legs = [
        posted(UUID(int=1), 1, "pooled", "own-funds", ADOPTED),
        posted(ID, 1, f"in-transit:{DAY}", credit, fen),
        posted(ID, 1, f"in-transit:{DAY}", "fee", 50),
    ]
    assert "TOP_UP r-1 moved" in found(log, mirror(legs=legs))


@pytest.mark.parametrize(("day", "is_wrong"), [("20261122", True), (DAY, False), ("20261124", False)])
async def test_a_rebooking_may_wait_for_a_later_day_than_at_the_bank_and_for_no_earlier_one(
    log: BankLog, day: str, is_wrong: bool
) -> None:
    legs = [
        posted(UUID(int=1), 1, "pooled", "own-funds", ADOPTED),
        posted(ID, 1, f"in-transit:{DAY}", f"waiting:{SUB}:{day}", 450),
        posted(ID, 1, f"in-transit:{DAY}", "fee", 50),
    ]
    operations = {"r-1": replace(mirror().operations["r-1"], kind="REBOOK_ORDER")}
    assert ("REBOOK_ORDER r-1 moved" in found(log, mirror(legs=legs, operations=operations))) is is_wrong


async def test_waiting_money_that_was_posted_after_its_clearing_is_withdrawable(log: BankLog) -> None:
    legs = [
        posted(UUID(int=1), 1, "pooled", "own-funds", ADOPTED),
        posted(UUID(int=9), 1, f"order:clearing {DAY}", "limits", 1),
        posted(ID, 1, f"in-transit:{DAY}", f"withdrawable:{SUB}", 450),
        posted(ID, 1, f"in-transit:{DAY}", "fee", 50),
    ]
    cleared = Op(UUID(int=9), "night", "CLEARING", "S9", "done", 0, "done")
    log.bank.store.post([Move(waiting(SUB, DAY), withdrawable(SUB), 450)])
    balances = {**mirror().balances, WAITING: (0, 0), f"withdrawable:{SUB}": (450, 0)}
    operations = {**mirror().operations, "night": cleared}
    assert found(log, journal(legs=legs, balances=balances, operations=operations)) == ""


async def test_what_the_bank_had_to_refuse_by_itself(log: BankLog) -> None:
    log.refused["S7"] = "ERR044"
    assert "the bank had to refuse TOP_UP r-1 with ERR044" in found(log, mirror())


@pytest.mark.parametrize(
    ("spends", "withdrawable_fen", "code", "is_wrong"),
    [
        ("withdrawable_first", 100, "ERR044", False),
        ("withdrawable_first", 99, "ERR044", True),
        ("withdrawable_first", 100, "ERR020", True),
        ("waiting_first", 100, "ERR044", True),
    ],
)
async def test_a_withdrawal_lacks_at_the_bank_no_more_than_a_payment_beside_a_hold_explains(
    log: BankLog, spends: str, withdrawable_fen: int, code: str, is_wrong: bool
) -> None:
    # 2.00 of withdrawable money were held for what came to nothing, when a payment took 3.00 of uncleared money.
    let_go, paid, taken = UUID(int=11), UUID(int=12), UUID(int=13)
    later = NOON + timedelta(seconds=2)
    holds = [
        Held(let_go, f"withdrawable:{SUB}", 200, NOON, "voided", later.date(), later),
        Held(paid, WAITING, 300, NOON + timedelta(seconds=1), "posted", later.date(), later),
        Held(taken, f"withdrawable:{SUB}", 300, later, "voided", later.date(), later),
    ]
    ended = {
        "let go": Op(let_go, "let go", "PREPAY_ORDER", "S11", "refused", 200, "refused"),
        "paid": Op(paid, "paid", "PREPAY_ORDER", "S12", "refused", 300, "refused"),
        "taken": Op(taken, "taken", "WITHDRAW", "S13", "refused", 300, "refused"),
    }
    log.refused["S13"], log.had["S13"] = code, {SUB: (450, withdrawable_fen)}
    of = mirror(operations={**mirror().operations, **ended}, holds=holds)
    assert any("had to refuse WITHDRAW taken" in one for one in differences(of, log, spends)) == is_wrong


async def test_a_limit_that_differs(log: BankLog) -> None:
    balances = {**mirror().balances, "revocable:S7": (449, 0)}
    assert "revocable:S7 has 449 fen left here and 450 at the bank" in found(log, journal(balances=balances))


async def test_a_transfer_that_was_not_entered(log: BankLog) -> None:
    log.bank.transfer_in("", 7, ("6200000000000000000", "虚构付款人", "虚构银行"), "")
    assert "0 TRANSFER_IN are here and 1 at the bank" in found(log, mirror())


async def test_a_pocket_that_differs_from_the_banks(log: BankLog) -> None:
    log.bank.store.post([Move(waiting(SUB, DAY), withdrawable(SUB), 1)])
    seen = found(log, mirror())
    assert f"{WAITING} holds 450 fen here and 449 at the bank" in seen
    assert f"withdrawable:{SUB} holds 0 fen here and 1 at the bank" in seen
