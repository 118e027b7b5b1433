"""What moves money without a request, or by several answers, carries the digest of every signed answer it rests on."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from tests.ledger.bookkeeping import ask
from tests.world.binding import bound, refresh
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.returns import collect as collect_returns
from tests.world.returns import send_back
from tests.world.suspense import collect as collect_transfers
from tests.world.suspense import come_in
from tests.world.topups import split_request
from tests.world.withdrawals import withdraw_to_the_end as withdraw


@pytest.fixture
def signed(shop: Marketplace, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[bytes]]:
    """The evidence of the bank's answers from now on, by interface, in the order in which they were asked for."""
    bank, found = shop.service.components.bank, dict[str, list[bytes]]()
    call = bank.call

    async def watched(message: Any, *more: Any) -> Any:
        answers = found.setdefault(message.code, [])
        place = len(answers)
        answers.append(b"")
        answer = await call(message, *more)
        answers[place] = answer.evidence
        return answer

    monkeypatch.setattr(bank, "call", watched)
    return found


async def evidence(shop: Marketplace, kind: str, state: str) -> list[bytes]:
    query = "SELECT e.evidence FROM event e JOIN operation o ON o.id = e.operation_id WHERE kind = %s AND e.state = %s"
    return [bytes(found) for (found,) in ask(shop.dsn, f"{query} ORDER BY seq", kind, state)]


async def test_what_the_bank_does_on_its_own_rests_on_its_answer(
    shop: Marketplace, signed: dict[str, list[bytes]]
) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    # Behind the digest of the plan.
    clearing = (await evidence(shop, "CLEARING", "accepted"))[0]
    assert clearing[32:] in signed["6108"]
    await come_in(shop, 5_00)
    await collect_transfers(shop)
    (transfer,) = await evidence(shop, "TRANSFER_IN", "done")
    assert transfer[32:] in signed["6050"]
    send_back(shop, await withdraw(shop, "seller", 40_00))
    await collect_returns(shop)
    (returned,) = await evidence(shop, "WITHDRAWAL_RETURN", "accepted")
    assert returned[32:] in signed["6048"]
    shop.sandbox.bank.move_clock(1)
    await shop.resolve(str(ask(shop.dsn, "SELECT id FROM operation WHERE kind = 'WITHDRAWAL_RETURN'")[0][0]))
    (named,) = await evidence(shop, "WITHDRAWAL_RETURN", "done")
    assert named in signed["6048"]
    (adopted,) = await evidence(shop, "ADOPTION", "done")
    assert len(adopted) == 2 * 32


async def test_cards_taken_over_from_the_bank_rest_on_its_list(
    shop: Marketplace, signed: dict[str, list[bytes]]
) -> None:
    await shop.merchant("seller")
    await bound(shop, "seller")
    await refresh(shop, "seller")
    (refreshed,) = await evidence(shop, "REFRESH_CARDS", "done")
    assert refreshed[32:] in signed["6098"]


async def test_what_several_answers_decided_rests_on_all_of_them(
    shop: Marketplace, signed: dict[str, list[bytes]]
) -> None:
    for member_id in "AB":
        await shop.merchant(member_id)
    request = split_request(shop, ("A", 50_00, 5_00), ("B", 30_00, 0), remark="[[lose_after]]")
    lost = await shop.refusal(shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S))
    await shop.until_final(lost.operation.operation_id)
    (settled,) = await evidence(shop, "SPLIT_TOP_UP", "done")
    assert settled == sha256(b"".join(signed["6110"])).digest()
