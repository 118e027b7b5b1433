"""A caller writes the bank's fields into a text of his, which the bank's signature cannot tell from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import grpc
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from bankclient import REQUESTS, canonical_string
from jzb.v1 import acquiring_pb2
from tests.world import binding
from tests.world.marketplace import TIMEOUT_S, Marketplace

FOLDED = "&a=1"
"""As short as the shortest field that could hold it."""


def texts(message: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Every text of a request, those of its rows included."""
    for name, field in message.model_fields.items():
        rows = [one for one in get_args(field.annotation) if isinstance(one, type) and issubclass(one, BaseModel)]
        for row in rows:
            yield from ((f"{name}.{inside}", found) for inside, found in texts(row))
        if not rows and str in (field.annotation, *get_args(field.annotation)):
            yield name, field


@pytest.mark.parametrize("code", REQUESTS)
def test_no_text_of_a_request_to_the_bank_can_hold_a_second_field(code: str) -> None:
    def takes(field: FieldInfo) -> bool:
        text: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
        try:
            text.validate_python(FOLDED)
        except ValidationError:
            return False
        return True

    assert not [name for name, field in texts(REQUESTS[code]) if takes(field)]


def test_texts_are_found_in_rows_too() -> None:
    assert any("." in name for name, _ in texts(REQUESTS["6052"]))
    assert sum(len(list(texts(one))) for one in REQUESTS.values()) > 150


def test_two_requests_that_sign_alike_differ_in_what_they_ask() -> None:
    assert canonical_string({"A": "x&TranAmt=9.00"}) == canonical_string({"A": "x", "TranAmt": "9.00"})


async def refused_unsent(shop: Marketplace, call: Any, field: str) -> None:
    before = len(shop.sandbox.requests)
    refusal = await shop.refusal(call)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.violations) == [field]
    assert len(shop.sandbox.requests) == before


async def test_a_payment_channel_cannot_name_another_amount(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    request = shop.top_up_request("buyer", 1_00)
    request.channel.merchant_no = "1900000109&MemberFillAmt=9000.00"
    await refused_unsent(shop, shop.top_ups.TopUp(request, timeout=TIMEOUT_S), "PayChannelAssignMerNo")
    # Nothing was reserved under its request id.
    request.channel.merchant_no = "1900000109&"
    await shop.top_ups.TopUp(request, timeout=TIMEOUT_S)
    assert (await shop.balance("buyer")).available_fen == 1_00
    await shop.assert_agrees()


async def test_the_name_on_a_card_cannot_name_another_card(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    request = binding.sms_request(shop, "buyer", holder="x&MemberAcctNo=6222020000000000002")
    call = shop.cards.CheckCardBySms(request, timeout=TIMEOUT_S)
    await refused_unsent(shop, call, "MemberName")


async def test_a_question_cannot_ask_about_something_else(shop: Marketplace) -> None:
    request = acquiring_pb2.GetBankOrderRequest(channel=acquiring_pb2.ACQUIRING_CHANNEL_CLOUD, order_no="1&MrchCode=2")
    await refused_unsent(shop, shop.acquiring.GetBankOrder(request, timeout=TIMEOUT_S), "OrderNo")
