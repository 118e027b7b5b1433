"""Which operations are found with what support has in hand: a member, a serial of the bank, a channel's number."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from bankclient import SplitTopUp
from jzb.v1 import batch_pb2, core_pb2, operation_pb2, topup_pb2
from tests.world.batches import batches, confirm_request, prepaid
from tests.world.freezes import freeze, pay_frozen
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_says, open_marketplace
from tests.world.verifying import SERVICE_IDS, named

List = operation_pb2.ListOperationsRequest
Key = operation_pb2.OperationKey
SPLIT = SplitTopUp.service_id


@pytest.fixture
async def market(database: str) -> AsyncIterator[Marketplace]:
    """A marketplace with batches, a buyer with 500.00 and two sellers."""
    async with open_marketplace(
        database, {"service_ids": SERVICE_IDS}, bank={"service_ids": SERVICE_IDS}, rules={"batch_direct_pay": True}
    ) as shop:
        await named(shop, "buyer", 500_00)
        await named(shop, "shoes", collects=True)
        await named(shop, "hats", collects=True)
        yield shop


async def listed(shop: Marketplace, request: operation_pb2.ListOperationsRequest) -> list[core_pb2.Operation]:
    page = await shop.operations.ListOperations(request, timeout=TIMEOUT_S)
    assert not page.next_page_token
    return list(page.operations)


async def split_top_up(shop: Marketplace, channel_no: str = "") -> core_pb2.Operation:
    """10.00 for each seller."""
    request = topup_pb2.SplitTopUpRequest(
        request_id=shop.request_id(),
        order_no=shop.order_no(),
        channel=topup_pb2.Channel(
            type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1900000109", transaction_no=channel_no
        ),
        shares=[
            topup_pb2.TopUpShare(member_id=member, amount_fen=10_00, order_no=shop.order_no())
            for member in ("shoes", "hats")
        ],
    )
    operation: core_pb2.Operation = (await shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S)).operation
    return operation


async def test_a_members_list_has_every_operation_with_a_part_of_its(market: Marketplace) -> None:
    split = await split_top_up(market)
    revoke = topup_pb2.RevokeSplitTopUpRequest(
        request_id=market.request_id(),
        top_up_serial=split.serial,
        shares=[topup_pb2.RevokedShare(member_id=member, amount_fen=1_00) for member in ("shoes", "hats")],
    )
    await market.top_ups.RevokeSplitTopUp(revoke, timeout=TIMEOUT_S)
    await batches(market).BatchConfirm(confirm_request(market, *await prepaid(market)), timeout=TIMEOUT_S)
    await pay_frozen(market, await freeze(market, "buyer", 50_00), [("shoes", 10_00), ("hats", 5_00)])
    everything = await listed(market, List(page_size=200))
    assert {core_pb2.OperationKind.Name(one.kind).removeprefix("OPERATION_KIND_") for one in everything[:6]} == {
        *("SPLIT_TOP_UP", "REVOKE_SPLIT_TOP_UP", "BATCH_PREPAY", "BATCH_CONFIRM", "FREEZE", "PAY_FROZEN")
    }
    for member in ("buyer", "shoes", "hats"):
        theirs = [
            one
            for one in everything
            if member in (one.payer_member_id, one.payee_member_id)
            or any(member in (part.payer_member_id, part.payee_member_id) for part in one.parts)
        ]
        assert len(theirs) > 4
        assert await listed(market, List(page_size=200, member_id=member)) == theirs
        sub_account = (await market.balance(member)).sub_account
        assert await listed(market, List(page_size=200, sub_account=sub_account)) == theirs
        assert await listed(market, List(page_size=200, sub_account=sub_account, member_id=member)) == theirs
        assert await listed(market, List(sub_account=sub_account, member_id="nobody")) == []
    assert await listed(market, List(sub_account="9930000000009999")) == []


async def test_a_batch_that_was_refused_for_want_of_money_is_in_the_lists_of_its_sellers(market: Marketplace) -> None:
    await market.pay("buyer", "shoes", 400_00)
    request = batch_pb2.BatchPrepayRequest(
        request_id=market.request_id(),
        payer_member_id="buyer",
        orders=[
            batch_pb2.OrderToPrepay(payee_member_id=member, order_no=market.order_no(), amount_fen=60_00)
            for member in ("shoes", "hats")
        ],
    )
    refusal = await market.refusal(batches(market).BatchPrepay(request, timeout=TIMEOUT_S))
    assert refusal.reason == "INSUFFICIENT_FUNDS"
    refused = List(member_id="hats", state=core_pb2.OPERATION_STATE_REFUSED)
    for wanted in (refused, List(order_no=request.orders[1].order_no)):
        (found,) = await listed(market, wanted)
        assert found.request_id == request.request_id


async def test_an_operation_is_found_by_the_banks_serial_of_itself_or_of_a_part(market: Marketplace) -> None:
    payment = await market.pay("buyer", "shoes", 1_00)
    rows: list[str] = []
    with bank_says(
        market.sandbox, SPLIT, lambda answer: rows.extend(each["FrontSeqNo"] for each in answer["TranItemArray"])
    ):
        split = await split_top_up(market)
    assert len(set(rows)) == 2
    for operation, serials in ((payment, [payment.bank_serial]), (split, rows)):
        for serial in serials:
            assert await listed(market, List(bank_serial=serial)) == [operation]
            request = operation_pb2.GetOperationRequest(key=Key(bank_serial=serial))
            assert (await market.operations.GetOperation(request, timeout=TIMEOUT_S)).operation == operation
    unknown = operation_pb2.GetOperationRequest(key=Key(bank_serial="26113000000000"))
    refusal = await market.refusal(market.operations.GetOperation(unknown, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")


async def test_a_top_up_and_what_was_revoked_of_it_are_found_by_the_channels_number(market: Marketplace) -> None:
    request = market.top_up_request("shoes", 5_00)
    top_up = (await market.top_ups.TopUp(request, timeout=TIMEOUT_S)).operation
    revoke = topup_pb2.RevokeTopUpRequest(request_id=market.request_id(), top_up_serial=top_up.serial, amount_fen=1_00)
    revoked = (await market.top_ups.RevokeTopUp(revoke, timeout=TIMEOUT_S)).operation
    split = await split_top_up(market, "4200001234")
    number = request.channel.transaction_no
    assert await listed(market, List(channel_transaction_no=number)) == [revoked, top_up]
    assert await listed(market, List(channel_transaction_no="4200001234")) == [split]
    assert await listed(market, List(channel_transaction_no="4200009999")) == []
