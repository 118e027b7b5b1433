"""One request id, one content: the same is answered the same for ever, other content is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import AsyncMock

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from jzb.v1 import (
    batch_pb2,
    card_pb2,
    card_pb2_grpc,
    core_pb2,
    payment_pb2,
    payment_pb2_grpc,
    suspense_pb2,
    topup_pb2,
    withdrawal_pb2,
    withdrawal_pb2_grpc,
)
from service.catalogue.interfaces import SERVICES
from service.path.fingerprint import NOT_CONTENT, Fingerprint
from service.path.repeats import Repeats
from service.problems import Problem
from service.process.server import running
from service.vault import Vault, VaultKeyMissing, new_key
from tests.world.freezes import freeze_request
from tests.world.line import shop_on_a_line
from tests.world.marketplace import TIMEOUT_S, VAULT_KEY, Marketplace, service_settings
from tests.world.requests import altered

VAULT = Vault([VAULT_KEY], "9930")
KEYLESS = Vault([], "9930")


def fingerprint(request: Message, vault: Vault = VAULT) -> bytes:
    """What is recorded of a request."""
    return Fingerprint(request, vault).digest


def is_repeat(request: Message, recorded: bytes, vault: Vault = VAULT) -> bool:
    return Fingerprint(request, vault).is_of(recorded)


def pay_request(**changed: object) -> payment_pb2.PayRequest:
    request = payment_pb2.PayRequest(
        request_id="r",
        payer_member_id="buyer",
        payee_member_id="seller",
        amount_fen=10_00,
        fee_fen=1_00,
        settlement=payment_pb2.SETTLEMENT_T1,
        order_no="O-1",
        remark="note",
    )
    return altered(request, **changed)


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


def withdrawal(**changed: object) -> withdrawal_pb2.WithdrawRequest:
    request = withdrawal_pb2.WithdrawRequest(
        member_id="m", amount_fen=1, card_number="6226090000000048", card_holder_name="张三"
    )
    return altered(request, **changed)


def test_a_card_number_counts_whole_and_not_by_its_last_four_digits() -> None:
    recorded = fingerprint(withdrawal())
    assert is_repeat(withdrawal(), recorded)
    assert not is_repeat(withdrawal(card_number="6226091111110048"), recorded)
    assert not is_repeat(withdrawal(card_holder_name="李张三"), recorded)
    assert not is_repeat(withdrawal(card_number=""), recorded)
    assert fingerprint(withdrawal(card_number="6226091111110048")) != recorded


def test_a_repeat_is_recognised_whichever_of_its_keys_a_platform_seals_with() -> None:
    recorded = fingerprint(withdrawal())
    rotated = Vault([new_key(), VAULT_KEY], "9930")
    assert fingerprint(withdrawal(), rotated) != recorded
    assert is_repeat(withdrawal(), recorded, rotated)
    assert not is_repeat(withdrawal(card_number="6226091111110048"), recorded, rotated)


def test_a_retired_key_recognises_repeats_and_opens_nothing() -> None:
    recorded = fingerprint(withdrawal())
    retired = Vault([new_key()], "9930", [VAULT_KEY])
    assert is_repeat(withdrawal(), recorded, retired)
    assert not is_repeat(withdrawal(card_number="6226091111110048"), recorded, retired)
    assert not retired.knows(VAULT.key_id)


@pytest.mark.parametrize("vault", [KEYLESS, Vault([new_key()], "9930")], ids=["no key", "another key"])
def test_when_the_key_is_gone_nobody_says_whether_it_is_a_repeat(vault: Vault) -> None:
    for recorded in (fingerprint(withdrawal()), fingerprint(pay_request())):
        with pytest.raises(VaultKeyMissing, match=f"{VAULT.key_id} is in neither JZB_VAULT__KEYS nor"):
            is_repeat(withdrawal(), recorded, vault)


def as_recorded_by_0_2_0(request: Message) -> bytes:
    """A digest without a key of all but the personal values, then the whole under the key."""
    return fingerprint(altered(request, card_number="", card_holder_name=""), KEYLESS) + fingerprint(request)


def test_what_0_2_0_recorded_with_personal_values_is_recognised_under_its_key() -> None:
    recorded = as_recorded_by_0_2_0(withdrawal())
    assert len(recorded) == 70
    for vault in (VAULT, Vault([new_key(), VAULT_KEY], "9930"), Vault([new_key()], "9930", [VAULT_KEY])):
        assert is_repeat(withdrawal(), recorded, vault)
        assert not is_repeat(withdrawal(card_number="6226091111110048"), recorded, vault)


def test_when_its_key_is_gone_what_is_not_personal_decides_about_what_0_2_0_recorded() -> None:
    recorded = as_recorded_by_0_2_0(withdrawal())
    for vault in (KEYLESS, Vault([new_key()], "9930")):
        assert is_repeat(withdrawal(), recorded, vault)
        assert not is_repeat(withdrawal(amount_fen=2), recorded, vault)
        assert not is_repeat(withdrawal(card_number="", card_holder_name=""), recorded, vault)


def test_without_a_key_only_requests_without_personal_values_have_a_fingerprint() -> None:
    assert is_repeat(pay_request(), fingerprint(pay_request(), KEYLESS))
    with pytest.raises(Problem, match="no key"):
        fingerprint(withdrawal(), KEYLESS)


# By `sha256sum` over the name of the message and its bytes, as they were recorded before personal values counted whole.
BEFORE = {
    "pay": "88a06166c3e1a79f7cab84fc93ea2ea6ff4b8d4ee36c184f09c6733af8518f1d",
    "withdraw": "bb33ea8b55dee7e835f43e77da742e59c95b824e356f357034e5aa6556285046",
}
# As 0.1.0 recorded them, when they were AllocateSuspenseRequest and ReverseSuspenseAllocationRequest.
BEFORE_RENAMED = [
    (
        suspense_pb2.AllocateSuspenseRequest(
            transfer_bank_serial="T1", member_id="buyer", amount_fen=60_00, order_no="A1"
        ),
        "1a467d57e7569ae7e78b0002ea14d70531c32acc33b8092d8a7df73590fa3c62",
    ),
    (
        suspense_pb2.ReverseSuspenseAllocationRequest(allocation_serial="S1", amount_fen=60_00),
        "407efacaa4071ca6d77704f94a4ce8d89a0c39bb1d7c0b742e66f7411bc972cd",
    ),
]


def test_what_was_recorded_before_whole_fields_counted_is_still_recognised() -> None:
    assert fingerprint(pay_request(), KEYLESS) == bytes.fromhex(BEFORE["pay"])
    assert is_repeat(pay_request(), bytes.fromhex(BEFORE["pay"]))
    assert not is_repeat(pay_request(amount_fen=1), bytes.fromhex(BEFORE["pay"]))
    recorded = bytes.fromhex(BEFORE["withdraw"])
    for vault in (VAULT, KEYLESS):
        assert is_repeat(withdrawal(), recorded, vault)
        assert not is_repeat(withdrawal(card_number="6226090000000049"), recorded, vault)
        assert not is_repeat(withdrawal(amount_fen=2), recorded, vault)


@pytest.mark.parametrize(("request_message", "recorded"), BEFORE_RENAMED)
def test_what_was_recorded_under_the_request_s_older_name_is_still_recognised(
    request_message: Message, recorded: str
) -> None:
    assert fingerprint(request_message, KEYLESS) == bytes.fromhex(recorded)
    assert is_repeat(request_message, bytes.fromhex(recorded))


def channel_of(**fields: Any) -> topup_pb2.Channel:
    return topup_pb2.Channel(**{"merchant_no": "1900000109", **fields})


def top_up(**channel: Any) -> topup_pb2.TopUpRequest:
    return topup_pb2.TopUpRequest(
        request_id="r",
        member_id="buyer",
        amount_fen=10_00,
        fee_fen=10,
        channel=channel_of(**{"type": 1, "transaction_no": "4200001", **channel}),
        order_no="T1",
        remark="note",
    )


def split_top_up(**channel: Any) -> topup_pb2.SplitTopUpRequest:
    return topup_pb2.SplitTopUpRequest(
        request_id="r",
        order_no="S1",
        channel=channel_of(**{"type": 28, **channel}),
        shares=[
            topup_pb2.TopUpShare(member_id="a", amount_fen=10_00, fee_fen=1_00, order_no="S1a"),
            topup_pb2.TopUpShare(member_id="b", amount_fen=5_00, order_no="S1b"),
        ],
    )


@pytest.mark.parametrize(
    ("request_of", "recorded"),
    [
        (top_up, "25f790223c4b2c97d179b6c710a429d322bc92e3631895dda90ec8fd142dba55"),
        (split_top_up, "ded4c13bd06c9cf742ed867184bbac0800cbd397e139d16d1df2bce52c657184"),
    ],
)
def test_a_top_up_that_0_1_0_recorded_is_recognised_with_its_channel_alone(
    request_of: Callable[..., Message], recorded: str
) -> None:
    # 0.1.0 had the types of these channels as the texts "0001" and "0028".
    assert is_repeat(request_of(), bytes.fromhex(recorded))
    others: list[dict[str, Any]] = [{"type": 2}, {"type": 0}, {"type": 10_001}]
    for other in [*others, {"merchant_no": "1" * 300}, {"transaction_no": "4200002"}]:
        assert not is_repeat(request_of(**other), bytes.fromhex(recorded)), other


# Field by field, at any depth, of every request that the contract has.


def requests() -> list[type[Message]]:
    """Every request message with a request id."""
    services = (descriptor_pool.Default().FindServiceByName(name) for name in SERVICES)
    found = {method.input_type.full_name: method.input_type for service in services for method in service.methods}
    return [
        message_factory.GetMessageClass(message) for message in found.values() if "request_id" in message.fields_by_name
    ]


def descriptor_of(message: Message) -> Descriptor:
    """The descriptor of a message. Its C class is registered as one of Python's; the stubs name both."""
    descriptor = message.DESCRIPTOR
    assert isinstance(descriptor, Descriptor)
    return descriptor


def filled(message_class: type[Message], salt: int = 0) -> Message:
    """A message with something in every field, two rows in every list, and no two values alike."""
    message = message_class()
    for field in descriptor_of(message).fields:
        salted = 100 * salt + field.number
        if field.message_type is not None:
            of = message_factory.GetMessageClass(field.message_type)
            if field.is_repeated:
                getattr(message, field.name).extend([filled(of, salted + 1), filled(of, salted + 2)])
            elif field.containing_oneof is None or message.WhichOneof(field.containing_oneof.name) is None:
                getattr(message, field.name).CopyFrom(filled(of, salted))
        elif field.is_repeated:
            getattr(message, field.name).extend([_value(field, salted + 1), _value(field, salted + 2)])
        else:
            setattr(message, field.name, _value(field, salted))
    return message


def _value(field: FieldDescriptor, salt: int) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return f"text {salt}" if field.type == FieldDescriptor.TYPE_STRING else b"%d" % salt
        case FieldDescriptor.CPPTYPE_BOOL:
            return True
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            return field.enum_type.values[-1].number
        case _:
            return salt


Change = Callable[[Message], object]
Reach = Callable[[Message], Message]


def changes(message: Descriptor, reach: Reach = lambda whole: whole, path: str = "") -> Iterator[tuple[str, Change]]:
    """Every way to change one thing of a filled message, in place, named by what it changes."""
    for field in message.fields:
        if path or field.name not in NOT_CONTENT:
            yield from _changes_of(field, reach, f"{path}{field.name}")


def _changes_of(field: FieldDescriptor, reach: Reach, name: str) -> Iterator[tuple[str, Change]]:
    def at(whole: Message) -> Any:
        return getattr(reach(whole), field.name)

    yield f"{name} left out", lambda whole: reach(whole).ClearField(field.name)
    if field.is_repeated:
        yield f"{name} in another order", lambda whole: at(whole).append(at(whole).pop(0))
        yield f"{name} a row less", lambda whole: at(whole).pop()
        yield f"{name} a row twice", lambda whole: at(whole).append(at(whole)[-1])
        if field.message_type is not None:
            yield from changes(field.message_type, lambda whole: at(whole)[0], f"{name}[0].")
            yield from changes(field.message_type, lambda whole: at(whole)[1], f"{name}[1].")
    elif field.message_type is not None:
        yield from changes(field.message_type, at, f"{name}.")
    elif field.cpp_type != FieldDescriptor.CPPTYPE_BOOL:
        yield (
            f"{name} another value",
            lambda whole: setattr(reach(whole), field.name, _other(field, reach(whole))),
        )


def _other(field: FieldDescriptor, message: Message) -> Any:
    value = getattr(message, field.name)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return field.enum_type.values[1].number if len(field.enum_type.values) > 2 else 0
    # The end stays the same: what looks at the end alone sees nothing.
    return b"x" + value if isinstance(value, bytes) else f"x{value}" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("request_class", requests(), ids=lambda value: value.DESCRIPTOR.name)
def test_whatever_is_changed_of_a_request_it_is_another_one(request_class: type[Message]) -> None:
    whole = filled(request_class)
    recorded = fingerprint(whole)
    ways = list(changes(descriptor_of(whole)))
    assert ways
    for name, change in ways:
        changed = request_class()
        changed.CopyFrom(whole)
        change(changed)
        assert changed != whole, f"the test changes nothing: {name}"
        if name == "tags.labels in another order":
            # They are a map, which some languages give in an order of chance.
            assert is_repeat(changed, recorded)
            continue
        assert fingerprint(changed) != recorded, name
        assert not is_repeat(changed, recorded), name
    assert is_repeat(whole, recorded)


def test_rows_and_what_is_nested_are_among_what_is_changed() -> None:
    assert len(requests()) >= 33
    names = {name for name, _ in changes(topup_pb2.SplitTopUpRequest.DESCRIPTOR)}
    assert {"shares[1].amount_fen another value", "shares in another order", "channel.type another value"} <= names
    assert "payments[0].amount_fen another value" in {name for name, _ in changes(batch_pb2.BatchPayRequest.DESCRIPTOR)}


amounts = st.lists(st.integers(1, 7), min_size=1, max_size=4)


@given(first=amounts, second=amounts)
def test_two_splits_have_one_fingerprint_only_when_their_rows_are_the_same(first: list[int], second: list[int]) -> None:
    def split(fen: list[int]) -> topup_pb2.SplitTopUpRequest:
        return topup_pb2.SplitTopUpRequest(
            request_id="r", shares=[topup_pb2.TopUpShare(member_id="m", amount_fen=one) for one in fen]
        )

    assert is_repeat(split(second), fingerprint(split(first))) == (first == second)


texts = st.text(alphabet="01张", max_size=3)


@given(first=st.tuples(texts, texts), second=st.tuples(texts, texts))
def test_two_requests_with_personal_values_are_one_only_when_all_of_them_are_the_same(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    def to(values: tuple[str, str]) -> withdrawal_pb2.WithdrawRequest:
        return withdrawal(card_number=values[0], card_holder_name=values[1])

    assert is_repeat(to(second), fingerprint(to(first))) == (first == second)


def test_an_unset_scalar_is_its_default_and_an_unset_message_is_not_an_empty_one() -> None:
    assert fingerprint(pay_request(fee_fen=0)) == fingerprint(payment_pb2.PayRequest(**_without_fee()))
    bare, empty = topup_pb2.TopUpRequest(member_id="m"), topup_pb2.TopUpRequest(member_id="m")
    empty.channel.SetInParent()
    assert fingerprint(bare) != fingerprint(empty)


def _without_fee() -> dict[str, Any]:
    return {field.name: value for field, value in pay_request().ListFields() if field.name != "fee_fen"}


# With the service.


async def withdrawing(shop: Marketplace, request_id: str, card: str) -> withdrawal_pb2.WithdrawRequest:
    return withdrawal_pb2.WithdrawRequest(
        request_id=request_id, member_id="seller", amount_fen=1_00, card_number=card, card_holder_name="张三"
    )


async def test_the_same_request_id_with_another_card_is_refused_before_and_after_the_keys_change(
    shop: Marketplace, database: str
) -> None:
    await shop.merchant("seller", 10_00, withdrawable=True)
    request = await withdrawing(shop, "r", "6226090000000048")
    other = await withdrawing(shop, "r", "6226091111110048")
    operation = (await shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S)).operation
    assert (await shop.refusal(shop.withdrawals.Withdraw(other, timeout=TIMEOUT_S))).reason == "REQUEST_ID_REUSED"
    rotated = service_settings(database, shop.sandbox, vault={"keys": [new_key(), VAULT_KEY]})
    async with (
        running(rotated) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        stub = withdrawal_pb2_grpc.WithdrawalServiceStub(channel)
        again = (await stub.Withdraw(request, timeout=TIMEOUT_S)).operation
        assert again.operation_id == operation.operation_id
        assert (await shop.refusal(stub.Withdraw(other, timeout=TIMEOUT_S))).reason == "REQUEST_ID_REUSED"
    assert shop.calls_received("MembershipWithdrawCash") == 1
    assert (await shop.balance("seller")).available_fen == 9_00


async def test_of_two_refreshes_at_once_under_two_keys_the_second_gets_the_operation_of_the_first(
    shop: Marketplace, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.merchant("seller")
    request = card_pb2.RefreshCardsRequest(request_id="refresh", member_id="seller")
    first = (await shop.cards.RefreshCards(request, timeout=TIMEOUT_S)).operation
    rotated = service_settings(database, shop.sandbox, vault={"keys": [new_key(), VAULT_KEY]})
    async with (
        running(rotated) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        stub = card_pb2_grpc.CardServiceStub(channel)
        # As if the first had been recorded after the second looked for it.
        monkeypatch.setattr(Repeats, "earlier", AsyncMock(return_value=None))
        assert (await stub.RefreshCards(request, timeout=TIMEOUT_S)).operation == first
        await shop.merchant("other")
        request.member_id = "other"
        assert (await shop.refusal(stub.RefreshCards(request, timeout=TIMEOUT_S))).reason == "REQUEST_ID_REUSED"


async def test_a_repeat_under_a_key_that_is_gone_is_refused_and_answered_once_the_key_is_back(
    shop: Marketplace, database: str
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 10_00)
    operation = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
    for retired in ((), (VAULT_KEY,)):
        settings = service_settings(database, shop.sandbox, vault={"keys": [new_key()], "retired_keys": retired})
        async with (
            running(settings) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            pay = payment_pb2_grpc.PaymentServiceStub(channel).Pay
            if retired:
                assert (await pay(request, timeout=TIMEOUT_S)).operation.operation_id == operation.operation_id
                continue
            refusal = await shop.refusal(pay(request, timeout=TIMEOUT_S))
            assert refusal.reason == "INTERFACE_NOT_ENABLED"
            assert refusal.metadata["setting"] == "JZB_VAULT__RETIRED_KEYS"
            assert refusal.metadata["operation_id"] == operation.operation_id
            assert refusal.outcome == core_pb2.OUTCOME_UNKNOWN
    assert shop.calls_received("MemberTransaction") == 1
    assert (await shop.balance("buyer")).available_fen == 90_00


async def test_a_released_withdrawal_is_sent_again_under_its_request_id_after_the_keys_have_changed(
    database: str,
) -> None:
    async with shop_on_a_line(database) as (shop, line):
        await shop.merchant("seller", 10_00, withdrawable=True)
        request = await withdrawing(shop, "r", "6226090000000048")
        other = await withdrawing(shop, "r", "6226091111110048")
        await line.down()
        released = await shop.refusal(shop.withdrawals.Withdraw(request, timeout=TIMEOUT_S))
        assert released.operation.state == core_pb2.OPERATION_STATE_RELEASED
        rotated = service_settings(database, shop.sandbox, vault={"keys": [new_key(), VAULT_KEY]})
        async with (
            running(rotated) as service,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            stub = withdrawal_pb2_grpc.WithdrawalServiceStub(channel)
            assert (await shop.refusal(stub.Withdraw(other, timeout=TIMEOUT_S))).reason == "REQUEST_ID_REUSED"
            again = (await stub.Withdraw(request, timeout=TIMEOUT_S)).operation
            assert again.operation_id == released.operation.operation_id
            assert shop.calls_received("MembershipWithdrawCash") == 1
        await line.up()


async def test_without_a_key_a_request_with_a_card_number_is_refused_naming_the_setting(
    shop: Marketplace, database: str
) -> None:
    await shop.merchant("seller", 10_00, withdrawable=True)
    keyless = service_settings(database, shop.sandbox, vault={"keys": []})
    async with (
        running(keyless) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        stub = withdrawal_pb2_grpc.WithdrawalServiceStub(channel)
        request = await withdrawing(shop, "r", "6226090000000048")
        refusal = await shop.refusal(stub.Withdraw(request, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.metadata["setting"]) == ("INTERFACE_NOT_ENABLED", "JZB_VAULT__KEYS")
        assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
    assert shop.calls_received("MembershipWithdrawCash") == 0


async def test_the_same_request_id_with_other_content_is_refused_naming_the_operation(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    first = shop.pay_request("buyer", "seller", 10_00)
    operation = (await shop.payments.Pay(first, timeout=TIMEOUT_S)).operation
    second = shop.pay_request("buyer", "seller", 10_01)
    second.request_id = first.request_id
    refusal = await shop.refusal(shop.payments.Pay(second, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
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
