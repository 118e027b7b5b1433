"""A page token is good for the list and the filters that it was made for."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from jzb.v1 import clearing_pb2, member_pb2, suspense_pb2, withdrawal_pb2
from service.rpc.pages import page_token
from tests.world.marketplace import TIMEOUT_S, Marketplace


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
