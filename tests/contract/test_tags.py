"""What a caller wants to find its operations by, and what is kept of a request beside what moves money."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import pytest

from jzb.v1 import core_pb2, operation_pb2, payment_pb2
from service.contract import methods
from tests.world.binding import bound, unbind
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.requests import altered
from tests.world.topups import split_request
from tests.world.withdrawals import withdraw_request

List = operation_pb2.ListOperationsRequest


def tags(reference: str = "", labels: Mapping[str, str] | None = None) -> core_pb2.Tags:
    return core_pb2.Tags(
        reference=reference, labels=[core_pb2.Label(key=key, value=value) for key, value in (labels or {}).items()]
    )


async def paid(shop: Marketplace, fen: int, of: core_pb2.Tags | None) -> core_pb2.Operation:
    request = altered(shop.pay_request("buyer", "seller", fen), tags=of)
    operation: core_pb2.Operation = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
    return operation


async def listed(shop: Marketplace, request: operation_pb2.ListOperationsRequest) -> list[int]:
    page = await shop.operations.ListOperations(request, timeout=TIMEOUT_S)
    assert not page.next_page_token
    return [one.amount_fen for one in page.operations]


@pytest.fixture
async def market(shop: Marketplace) -> Marketplace:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    return shop


def test_every_request_that_moves_money_takes_them_in_the_same_field() -> None:
    for name, method in methods().items():
        fields = method.input_type.fields_by_name
        field = fields.get("tags")
        # In a list they are a filter.
        if "page_size" not in fields:
            assert (field is not None) == ("approval" in fields), name
            assert field is None or (field.number, field.message_type) == (16, core_pb2.Tags.DESCRIPTOR), name


async def test_operations_are_found_by_their_callers_own_reference_and_by_all_of_their_labels(
    market: Marketplace,
) -> None:
    first = await paid(market, 1, tags("发票 26-7", {"shop": "north", "campaign": "11.11"}))
    assert first.tags == tags("发票 26-7", {"campaign": "11.11", "shop": "north"})
    await paid(market, 2, tags("发票 26-7", {"shop": "south", "empty": ""}))
    await paid(market, 3, tags(labels={"shop": "north"}))
    await paid(market, 4, None)
    for wanted, amounts in (
        (tags("发票 26-7"), [2, 1]),
        (tags(labels={"shop": "north"}), [3, 1]),
        (tags("发票 26-7", {"shop": "north"}), [1]),
        (tags(labels={"shop": "north", "campaign": "11.11"}), [1]),
        (tags(labels={"shop": "north", "campaign": "12.12"}), []),
        (tags(labels={"empty": ""}), [2]),
        (tags("发票"), []),
        (tags(), [4, 3, 2, 1]),
    ):
        request = List(tags=wanted, kind=core_pb2.OPERATION_KIND_PAY_T1)
        assert await listed(market, request) == amounts, wanted
        assert await listed(market, altered(request, member_id="seller")) == amounts, wanted


async def test_a_repeat_has_them_in_whatever_order_and_with_others_it_is_another_request(market: Marketplace) -> None:
    request = altered(market.pay_request("buyer", "seller", 5), tags=tags("I-7", {"a": "1", "b": "2"}))
    operation = (await market.payments.Pay(request, timeout=TIMEOUT_S)).operation
    again = altered(request, tags=tags("I-7", {"b": "2", "a": "1"}))
    assert (await market.payments.Pay(again, timeout=TIMEOUT_S)).operation == operation
    for other in (tags("I-8", {"a": "1", "b": "2"}), tags("I-7", {"a": "1"}), tags("I-7", {"a": "1", "b": "3"}), None):
        refusal = await market.refusal(market.payments.Pay(altered(request, tags=other), timeout=TIMEOUT_S))
        assert refusal.reason == "REQUEST_ID_REUSED"


async def test_a_payment_that_is_refused_for_want_of_money_is_found_too(market: Marketplace) -> None:
    refusal = await market.refusal(paid(market, 900_00, tags("I-7", {"a": "1"})))
    assert refusal.reason == "INSUFFICIENT_FUNDS"
    assert refusal.operation.tags == tags("I-7", {"a": "1"})
    assert await listed(market, List(tags=tags("I-7"))) == await listed(market, List(tags=tags(labels={"a": "1"})))
    assert await listed(market, List(tags=tags("I-7"))) == [900_00]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (tags("x" * 65), "tags.reference"),
        (tags("two\nlines"), "tags.reference"),
        (tags(labels={"": "x"}), "tags.labels[0].key"),
        (tags(labels={"Shop": "x"}), "tags.labels[0].key"),
        (tags(labels={"k" * 64: "x"}), "tags.labels[0].key"),
        (tags(labels={"k": "x" * 129}), "tags.labels[0].value"),
        (tags(labels={f"k{number}": "" for number in range(17)}), "tags.labels"),
        (core_pb2.Tags(labels=[core_pb2.Label(key="k", value=value) for value in "ab"]), "tags.labels"),
    ],
)
async def test_they_are_short_and_each_key_stands_once(market: Marketplace, wrong: core_pb2.Tags, field: str) -> None:
    refusal = await market.refusal(paid(market, 5, wrong))
    assert (refusal.reason, list(refusal.violations)) == ("REQUEST_INVALID", [field])


async def test_an_operation_shows_remark_channel_settlement_and_the_end_of_the_card(market: Marketplace) -> None:
    top_up = market.top_up_request("seller", 50_00, remark="货款 for 138 0013 8000")
    done = (await market.top_ups.TopUp(top_up, timeout=TIMEOUT_S)).operation
    # What looks like a mobile is not kept.
    assert done.remark == "货款 for (hidden)"
    assert (done.channel_type, done.channel_transaction_no) == (top_up.channel.type, top_up.channel.transaction_no)
    assert (done.settlement, done.masked_card_number) == (0, "")
    split = split_request(market, ("seller", 5_00, 0))
    split.channel.transaction_no = "4200001234"
    done = (await market.top_ups.SplitTopUp(split, timeout=TIMEOUT_S)).operation
    assert (done.channel_type, done.channel_transaction_no) == (split.channel.type, "4200001234")
    await market.clear()
    for settlement in (payment_pb2.SETTLEMENT_T1, payment_pb2.SETTLEMENT_T0):
        request = market.pay_request("buyer", "seller", 1_00, settlement=settlement, remark="谢谢")
        done = (await market.payments.Pay(request, timeout=TIMEOUT_S)).operation
        assert (done.settlement, done.remark, done.channel_type) == (settlement, "谢谢", 0)
    card = await bound(market, "seller")
    by_number = withdraw_request(market, "seller", 1_00, remark="工资")
    by_card = altered(by_number, request_id="by-card", card_id=card.card_id, card_number=None, card_holder_name=None)
    for withdrawal, masked in ((by_number, "****" + by_number.card_number[-4:]), (by_card, card.masked_number)):
        done = (await market.withdrawals.Withdraw(withdrawal, timeout=TIMEOUT_S)).operation
        assert (done.masked_card_number, done.remark) == (masked, "工资")
        await market.until_final(done.operation_id)
    unbound = (await unbind(market, card)).operation
    assert unbound.masked_card_number == card.masked_number
    # A list shows the same as the answer did.
    newest = (await market.operations.ListOperations(List(page_size=1), timeout=TIMEOUT_S)).operations
    assert [one.masked_card_number for one in newest] == [card.masked_number]
    await market.assert_agrees()


async def test_a_request_without_any_keeps_nothing_of_them(market: Marketplace) -> None:
    bare, tagged = await paid(market, 5, None), await paid(market, 5, core_pb2.Tags())
    assert not bare.HasField("tags")
    assert not tagged.HasField("tags")
    with psycopg.connect(market.dsn) as connection:
        plans = connection.execute(
            "SELECT array_agg(key ORDER BY key) FROM operation, json_object_keys(plan) AS key"
            " WHERE kind = 'PAY_T1' GROUP BY id"
        ).fetchall()
        (references,) = connection.execute("SELECT count(*) FROM reference WHERE kind <> 'channel'").fetchone() or (0,)
    assert plans == [(["ask", "drafts", "trace"],)] * 2
    assert references == 0
