"""One request id, one content: the same is answered the same for ever, other content is refused."""

from __future__ import annotations

import grpc
import pytest

from jzb.v1 import core_pb2, payment_pb2, withdrawal_pb2
from service.runner import fingerprint
from tests.service.marketplace import TIMEOUT_S, Marketplace
from tests.service.steps import freeze_request


def pay_request(**changed: object) -> payment_pb2.PayRequest:
    fields: dict[str, object] = {
        "request_id": "r",
        "payer_member_id": "buyer",
        "payee_member_id": "seller",
        "amount_fen": 10_00,
        "fee_fen": 1_00,
        "settlement": payment_pb2.SETTLEMENT_T1,
        "order_no": "O-1",
        "remark": "note",
    }
    return payment_pb2.PayRequest(**{**fields, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"payer_member_id": "other"},
        {"payee_member_id": "other"},
        {"amount_fen": 10_01},
        {"fee_fen": 0},
        {"settlement": payment_pb2.SETTLEMENT_T0},
        {"order_no": "O-2"},
        {"remark": ""},
    ],
)
def test_every_field_that_says_what_is_asked_for_counts(changed: dict[str, object]) -> None:
    assert fingerprint(pay_request(**changed)) != fingerprint(pay_request())


def test_request_id_and_dry_run_are_not_content() -> None:
    assert fingerprint(pay_request(request_id="other", validate_only=True)) == fingerprint(pay_request())


def test_the_kind_of_request_is_content() -> None:
    confirm = payment_pb2.ConfirmOrderRequest(request_id="r", order_no="O-1", amount_fen=10_00)
    cancel = payment_pb2.CancelOrderRequest(request_id="r", order_no="O-1", amount_fen=10_00)
    assert fingerprint(confirm) != fingerprint(cancel)


def test_of_a_card_number_the_last_four_digits_count_so_that_a_digest_cannot_be_searched_for_it() -> None:
    def withdraw(card: str) -> bytes:
        return fingerprint(
            withdrawal_pb2.WithdrawRequest(member_id="m", amount_fen=1, card_number=card, card_holder_name="张三")
        )

    assert withdraw("6226090000000048") == withdraw("6226091111110048")
    assert withdraw("6226090000000048") != withdraw("6226090000000049")


async def test_the_same_request_id_with_other_content_is_refused_with_both_fingerprints(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    first = shop.pay_request("buyer", "seller", 10_00)
    operation = (await shop.payments.Pay(first, timeout=TIMEOUT_S)).operation
    second = shop.pay_request("buyer", "seller", 10_01)
    second.request_id = first.request_id
    refusal = await shop.refusal(shop.payments.Pay(second, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert refusal.metadata["fingerprint_recorded"] == fingerprint(first).hex()
    assert refusal.metadata["fingerprint_received"] == fingerprint(second).hex()
    assert refusal.metadata["operation_id"] == operation.operation_id
    assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    freeze = freeze_request(shop, "buyer", 10_00)
    freeze.request_id = first.request_id
    assert (await shop.refusal(shop.freezes.Freeze(freeze, timeout=TIMEOUT_S))).reason == "REQUEST_ID_REUSED"
    assert (await shop.balance("buyer")).available_fen == 90_00
    await shop.assert_agrees()


async def test_an_answer_is_repeated_even_when_the_request_would_be_refused_today(shop: Marketplace) -> None:
    await shop.buyer("buyer", 10_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 10_00)
    first = await shop.payments.Pay(request, timeout=TIMEOUT_S)
    assert (await shop.balance("buyer")).available_fen == 0
    shop.sandbox.faults.add("refuse:ERR044", code="6034", times=None)
    assert await shop.payments.Pay(request, timeout=TIMEOUT_S) == first
    assert shop.calls_received("MemberTransaction") == 1
    await shop.assert_agrees()
