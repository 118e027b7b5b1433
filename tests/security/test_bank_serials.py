"""The bank names, signed, the booking of another operation: nothing is settled by it."""

from __future__ import annotations

import pytest

from jzb.v1 import core_pb2
from tests.world import acquiring as acquired
from tests.world.acquiring import share
from tests.world.doubts import STATUS_QUERY, UNKNOWN, assert_in_doubt
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_says
from tests.world.topups import split_request

PAYMENT = "MemberTransaction"
CONTRADICTS = "the bank contradicts the mirror"


@pytest.mark.parametrize("status", ["0", "1", "5"])
async def test_a_payment_stays_in_doubt_while_6110_names_the_booking_of_another(
    shop: Marketplace, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    first = await shop.pay("buyer", "seller", 30_00)
    shop.sandbox.faults.add("lose_after", service_id=PAYMENT)
    second = assert_in_doubt(
        await shop.refusal(shop.payments.Pay(shop.pay_request("buyer", "seller", 30_00), timeout=TIMEOUT_S))
    )

    told = {"TranStatus": status, "OldTranFrontSeqNo": first.bank_serial}
    with bank_says(shop.sandbox, STATUS_QUERY, lambda answer: answer.update(told)):
        asked = await shop.resolve(second.operation_id)
    assert asked.state == UNKNOWN
    assert first.bank_serial in asked.message
    assert asked.bank_serial == ""
    assert CONTRADICTS in capsys.readouterr().out

    done = await shop.until_final(second.operation_id)
    assert done.state == core_pb2.OPERATION_STATE_DONE
    assert done.bank_serial not in ("", first.bank_serial)
    await shop.assert_agrees()


async def test_the_rows_of_a_split_top_up_stay_in_doubt_too(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    first = await shop.pay("buyer", "seller", 30_00)
    shop.sandbox.faults.add("lose_after", code="6216")
    request = split_request(shop, ("buyer", 7_00, 0), ("seller", 3_00, 0))
    split = assert_in_doubt(await shop.refusal(shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S)))
    told = {"OldTranFrontSeqNo": first.bank_serial}
    with bank_says(shop.sandbox, STATUS_QUERY, lambda answer: answer.update(told)):
        assert (await shop.resolve(split.operation_id)).state == UNKNOWN
    assert (await shop.until_final(split.operation_id)).state == core_pb2.OPERATION_STATE_DONE
    await shop.assert_agrees()


async def test_an_acquired_order_is_not_entered_by_the_booking_of_another(shop: Marketplace) -> None:
    await shop.merchant("seller")
    first = await acquired.acquire(shop, share("seller", 10_00, 0, shop.order_no()))
    entered = (await acquired.record(shop, first)).operation
    second = await acquired.acquire(shop, share("seller", 10_00, 0, shop.order_no()))
    with bank_says(shop.sandbox, "ChargeDetailQuery", lambda answer: answer.update(FrontSeqNo=entered.bank_serial)):
        refusal = await shop.refusal(acquired.record(shop, second))
    assert refusal.reason == "BANK_UNAVAILABLE" or refusal.outcome == core_pb2.OUTCOME_UNKNOWN
    assert (await shop.balance("seller")).available_fen == 10_00
    await acquired.record(shop, second)
    assert (await shop.balance("seller")).available_fen == 20_00
    await shop.assert_agrees()
