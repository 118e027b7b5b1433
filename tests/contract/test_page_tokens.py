"""A page token is good for the list and the filters that it was made for."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from jzb.v1 import balance_pb2, clearing_pb2, member_pb2, operation_pb2, suspense_pb2, withdrawal_pb2
from service.rpc.pages import page_token
from tests.world.marketplace import TIMEOUT_S, Marketplace, read_one


async def test_the_token_of_one_list_or_of_other_days_is_no_token_of_another(shop: Marketplace) -> None:
    await shop.buyer("buyer", 1_00)
    await shop.merchant("seller")
    listed = await shop.members.ListMembers(member_pb2.ListMembersRequest(page_size=1), timeout=TIMEOUT_S)
    assert listed.next_page_token
    others: list[Awaitable[Any]] = [
        shop.suspense.ListSuspense(
            suspense_pb2.ListSuspenseRequest(page_token=listed.next_page_token), timeout=TIMEOUT_S
        ),
        shop.clearing.ListDays(clearing_pb2.ListDaysRequest(page_token=listed.next_page_token), timeout=TIMEOUT_S),
        shop.withdrawals.CollectReturns(
            withdrawal_pb2.CollectReturnsRequest(
                first_bank_day="2026-01-01",
                last_bank_day="2026-01-02",
                page_token=page_token(
                    "2026-02-01 ",
                    withdrawal_pb2.CollectReturnsRequest(first_bank_day="2026-02-01", last_bank_day="2026-02-02"),
                ),
            ),
            timeout=TIMEOUT_S,
        ),
    ]
    for call in others:
        assert (await shop.refusal(call)).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("start", ["²", "1" * 100, "-1", "one"])
async def test_a_token_that_somebody_has_made_up_is_refused(shop: Marketplace, start: str) -> None:
    await shop.buyer("buyer", 1_00)
    holds = balance_pb2.ListHoldsRequest(member_id="buyer")
    holds.page_token = page_token(start, holds)
    timeline = operation_pb2.GetTimelineRequest(order_no="1")
    timeline.page_token = page_token(start, timeline)
    entries = balance_pb2.ListMemberEntriesRequest(member_id="buyer")
    entries.cursor = page_token(f"1 0199d9d7-0000-7000-8000-000000000000 {start} 9930000000001000")
    for call in (
        shop.balances.ListHolds(holds, timeout=TIMEOUT_S),
        shop.operations.GetTimeline(timeline, timeout=TIMEOUT_S),
        read_one(shop.balances.ListMemberEntries(entries, timeout=TIMEOUT_S)),
    ):
        assert (await shop.refusal(call)).reason == "PAGE_TOKEN_INVALID"
