"""How members agreed to the bank's terms, and whether a merchant's record is complete (6244), seen from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from jzb.v1 import member_pb2
from tests.world.binding import bound
from tests.world.marketplace import TIMEOUT_S, Marketplace

SERVICE_ID = "RegisterBehaviorRecordInfo"


def agree(shop: Marketplace, member_id: str, moment: datetime, **changes: Any) -> Any:
    """Hand in a click of a member."""
    click_time = Timestamp()
    click_time.FromDatetime(moment)
    fields: dict[str, Any] = {
        "member_id": member_id,
        "channel": member_pb2.AGREEMENT_CHANNEL_APP,
        "click_time": click_time,
        "ip_address": "192.0.2.7",
        "mac_address": "02:00:00:00:00:01",
    }
    return shop.members.RecordAgreement(member_pb2.RecordAgreementRequest(**(fields | changes)), timeout=TIMEOUT_S)


async def complete(shop: Marketplace, member_id: str) -> bool:
    request = member_pb2.GetRecordStateRequest(member_id=member_id)
    return bool((await shop.members.GetRecordState(request, timeout=TIMEOUT_S)).is_complete)


async def test_a_click_is_handed_in_as_often_as_it_takes_and_moves_no_money(shop: Marketplace) -> None:
    await shop.member("seller", member_pb2.MEMBER_PROPERTY_MERCHANT)
    now = datetime.now(UTC) - timedelta(seconds=5)
    await agree(shop, "seller", now)
    await agree(shop, "seller", now)
    assert shop.calls_received(SERVICE_ID) == 2
    await shop.assert_agrees()


async def test_the_bank_is_told_the_time_of_the_click_by_its_own_clock(shop: Marketplace) -> None:
    await shop.member("seller", member_pb2.MEMBER_PROPERTY_MERCHANT)
    refusal = await shop.refusal(agree(shop, "seller", datetime.now(UTC) + timedelta(hours=1)))
    assert refusal.reason == "BANK_REFUSED"
    assert refusal.metadata["interface"] == "6244"


async def test_a_lost_answer_is_told_and_the_same_click_is_taken_again(shop: Marketplace) -> None:
    await shop.member("seller", member_pb2.MEMBER_PROPERTY_MERCHANT)
    now = datetime.now(UTC) - timedelta(seconds=5)
    shop.sandbox.faults.add("lose_after", service_id=SERVICE_ID)
    assert (await shop.refusal(agree(shop, "seller", now))).reason == "BANK_UNAVAILABLE"
    await agree(shop, "seller", now)


@pytest.mark.parametrize("seconds", [-(10**10), 10**10, 253402300799])
async def test_a_click_outside_this_century_is_refused_before_the_bank_hears_of_it(
    shop: Marketplace, seconds: int
) -> None:
    await shop.member("seller", member_pb2.MEMBER_PROPERTY_MERCHANT)
    call = agree(shop, "seller", datetime.now(UTC), click_time=Timestamp(seconds=seconds))
    refusal = await shop.refusal(call)
    assert (refusal.code, refusal.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "click_time")
    assert shop.calls_received(SERVICE_ID) == 0


async def test_a_merchants_record_is_complete_once_the_bank_says_so(shop: Marketplace) -> None:
    await shop.member("seller", member_pb2.MEMBER_PROPERTY_MERCHANT)
    assert not await complete(shop, "seller")
    await bound(shop, "seller")
    assert await complete(shop, "seller")


async def test_only_merchants_have_a_record_to_complete(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    request = member_pb2.GetRecordStateRequest(member_id="buyer")
    refusal = await shop.refusal(shop.members.GetRecordState(request, timeout=TIMEOUT_S))
    assert refusal.reason == "BANK_REFUSED"
