"""The validation rules of protos/jzb/v1, as protovalidate enforces them on the generated classes.

Needs the generated stubs on sys.path. Each kind of rule that the contract uses has a value that
passes and a value that must not.
"""

from collections.abc import Iterator
from typing import Any

import protovalidate
import pytest
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message
from protovalidate._gen.buf.validate import validate_pb as upstream

from bankclient import PERSONAL_FIELDS
from buf.validate import validate_pb2
from jzb.v1 import (
    acquiring_pb2,
    adjustment_pb2,
    balance_pb2,
    batch_pb2,
    card_pb2,
    clearing_pb2,
    core_pb2,
    error_reason_pb2,
    file_pb2,
    freeze_pb2,
    member_pb2,
    operation_pb2,
    payment_pb2,
    reconciliation_pb2,
    refund_pb2,
    statement_pb2,
    suspense_pb2,
    topup_pb2,
    verification_pb2,
    withdrawal_pb2,
)
from service.catalogue.interfaces import facts
from service.contract import methods
from tests.catalogue.carried import snake_case

CALLED_AGAIN = "called again"
AMOUNT_MAX_FEN = 99_999_999_999_999
FILES: tuple[FileDescriptor, ...] = (
    acquiring_pb2.DESCRIPTOR,
    adjustment_pb2.DESCRIPTOR,
    balance_pb2.DESCRIPTOR,
    batch_pb2.DESCRIPTOR,
    card_pb2.DESCRIPTOR,
    clearing_pb2.DESCRIPTOR,
    core_pb2.DESCRIPTOR,
    error_reason_pb2.DESCRIPTOR,
    file_pb2.DESCRIPTOR,
    freeze_pb2.DESCRIPTOR,
    member_pb2.DESCRIPTOR,
    operation_pb2.DESCRIPTOR,
    payment_pb2.DESCRIPTOR,
    reconciliation_pb2.DESCRIPTOR,
    refund_pb2.DESCRIPTOR,
    statement_pb2.DESCRIPTOR,
    suspense_pb2.DESCRIPTOR,
    topup_pb2.DESCRIPTOR,
    verification_pb2.DESCRIPTOR,
    withdrawal_pb2.DESCRIPTOR,
)


def broken(message: Message) -> list[tuple[str, str]]:
    """The violations of a message as (field path, rule id)."""
    found = []
    for violation in protovalidate.collect_violations(message):
        path = violation.proto.field
        elements = path.elements if path is not None else []
        found.append((".".join(element.field_name for element in elements), violation.proto.rule_id))
    return found


def pay(**changes: Any) -> payment_pb2.PayRequest:
    fields: dict[str, Any] = {
        "request_id": "order-17:pay.1_a",
        "payer_member_id": "buyer_7",
        "payee_member_id": "shop_9",
        "amount_fen": 10_000,
        "fee_fen": 1_000,
        "settlement": payment_pb2.SETTLEMENT_T1,
    }
    return payment_pb2.PayRequest(**(fields | changes))


def top_up(**changes: Any) -> topup_pb2.TopUpRequest:
    fields: dict[str, Any] = {
        "request_id": "t-1",
        "member_id": "shop_9",
        "amount_fen": 10_000,
        "channel": topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="m-1", transaction_no="t-1"),
        "order_no": "O-1",
    }
    return topup_pb2.TopUpRequest(**(fields | changes))


def share(number: int, **changes: Any) -> topup_pb2.TopUpShare:
    fields: dict[str, Any] = {
        "member_id": f"shop_{number}",
        "amount_fen": 100,
        "order_no": f"O-1-{number}",
    }
    return topup_pb2.TopUpShare(**(fields | changes))


def split(shares: list[topup_pb2.TopUpShare]) -> topup_pb2.SplitTopUpRequest:
    return topup_pb2.SplitTopUpRequest(
        request_id="s-1",
        order_no="O-1",
        channel=topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="m-1"),
        shares=shares,
    )


def withdraw(**changes: Any) -> withdrawal_pb2.WithdrawRequest:
    fields: dict[str, Any] = {
        "request_id": "w-1",
        "member_id": "shop_9",
        "amount_fen": 1,
        "card_number": "6222000000000000000",
        "card_holder_name": "张三",
    }
    return withdrawal_pb2.WithdrawRequest(**(fields | changes))


def open_member(**changes: Any) -> member_pb2.OpenMemberRequest:
    fields: dict[str, Any] = {
        "request_id": "m-1",
        "member_id": "shop_9",
        "property": member_pb2.MEMBER_PROPERTY_MERCHANT,
    }
    return member_pb2.OpenMemberRequest(**(fields | changes))


def by_key(**key: Any) -> operation_pb2.GetOperationRequest:
    return operation_pb2.GetOperationRequest(key=operation_pb2.OperationKey(**key))


def list_operations(**filters: Any) -> operation_pb2.ListOperationsRequest:
    return operation_pb2.ListOperationsRequest(**filters)


UUID = "0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11"
GOOD: list[Message] = [
    pay(),
    pay(amount_fen=AMOUNT_MAX_FEN, fee_fen=AMOUNT_MAX_FEN, order_no="!" * 15 + "~" * 15),
    pay(fee_fen=0, remark="备" * 120, request_id="a" * 64, payer_member_id="A" * 32),
    top_up(),
    split([share(number) for number in range(25)]),
    freeze_pb2.PayFrozenRequest(
        request_id="f-1",
        order_no="O-1",
        payees=[freeze_pb2.FrozenPayee(member_id="shop_9", amount_fen=1)] * 100,
    ),
    refund_pb2.RefundRequest(request_id="r-1", payment_serial="X285502611230000000017", amount_fen=1),
    withdraw(),
    withdraw(card_number="0262100-12345"),
    withdraw(card_id=UUID, card_number="", card_holder_name=""),
    clearing_pb2.ClearDayRequest(request_id="c-1", bank_day="2026-11-23"),
    open_member(),
    open_member(nickname="小店🏮", mobile="13800000000", email="a.b@example.com"),
    by_key(operation_id=UUID),
    by_key(request_id="r-1"),
    by_key(serial="X285502611230000000017"),
    operation_pb2.ListOperationsRequest(page_size=100_000),
    balance_pb2.BatchGetBalancesRequest(member_ids=["m"] * 200),
    balance_pb2.CompareWithBankRequest(),
]
BAD: list[tuple[Message, str, str]] = [
    (pay(request_id=""), "request_id", "string.pattern"),
    (pay(request_id="a" * 65), "request_id", "string.pattern"),
    (pay(request_id="a\n"), "request_id", "string.pattern"),
    (pay(payer_member_id="buyer-7"), "payer_member_id", "string.pattern"),
    (pay(payer_member_id="会员"), "payer_member_id", "string.pattern"),
    (pay(payee_member_id="a" * 33), "payee_member_id", "string.pattern"),
    (pay(amount_fen=0), "amount_fen", "int64.gt_lte"),
    (pay(amount_fen=-1), "amount_fen", "int64.gt_lte"),
    (pay(amount_fen=AMOUNT_MAX_FEN + 1), "amount_fen", "int64.gt_lte"),
    (pay(fee_fen=-1), "fee_fen", "int64.gte_lte"),
    (pay(fee_fen=AMOUNT_MAX_FEN + 1), "fee_fen", "int64.gte_lte"),
    (pay(settlement=0), "settlement", "enum.not_in"),
    (pay(settlement=99), "settlement", "enum.defined_only"),
    (pay(order_no="a b"), "order_no", "string.pattern"),
    (pay(order_no="a" * 31), "order_no", "string.pattern"),
    (pay(remark="备" * 121), "remark", "string.max_len"),
    (pay(remark="a\x00b"), "remark", "string.pattern"),
    (top_up(channel=None), "channel", "required"),
    (
        top_up(channel=topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="m-1")),
        "channel",
        "top_up.transaction_no",
    ),
    (
        top_up(
            channel=topup_pb2.Channel(
                type=topup_pb2.ChannelType.ValueType(10_000), merchant_no="m-1", transaction_no="t"
            )
        ),
        "channel.type",
        "channel.type",
    ),
    (top_up(order_no=""), "order_no", "string.pattern"),
    (split([]), "shares", "repeated.min_items"),
    (split([share(number) for number in range(26)]), "shares", "repeated.max_items"),
    (split([share(1), share(1, order_no="O-2")]), "", "split_top_up.members"),
    (split([share(1), share(2, order_no="O-1-1")]), "", "split_top_up.order_nos"),
    (split([share(1, amount_fen=0)]), "shares.amount_fen", "int64.gt_lte"),
    (withdraw(card_number="6222 0000"), "card_number", "string.pattern"),
    (withdraw(card_id=UUID), "", "withdraw.card"),
    (withdraw(card_holder_name=""), "", "withdraw.card"),
    (
        refund_pb2.RefundRequest(request_id="r", payment_serial="a-b", amount_fen=1),
        "payment_serial",
        "string.pattern",
    ),
    (
        clearing_pb2.ClearDayRequest(request_id="c", bank_day="2026-13-01"),
        "bank_day",
        "string.pattern",
    ),
    (open_member(property=0), "property", "enum.not_in"),
    (open_member(mobile="1380000"), "mobile", "string.pattern"),
    (open_member(email="nobody"), "email", "string.pattern"),
    (open_member(email="a" * 120 + "@b"), "email", "string.max_len"),
    (by_key(), "key.key", "required"),
    (operation_pb2.GetOperationRequest(), "key", "required"),
    (by_key(operation_id="not-a-uuid"), "key.operation_id", "string.uuid"),
    (by_key(operation_id=""), "key.operation_id", "string.uuid_empty"),
    (operation_pb2.ListOperationsRequest(page_size=-1), "page_size", "int32.gte"),
    (operation_pb2.ListOperationsRequest(page_token="t" * 513), "page_token", "string.max_len"),
    (list_operations(state=99), "state", "enum.defined_only"),
    (balance_pb2.BatchGetBalancesRequest(), "member_ids", "repeated.min_items"),
    (
        balance_pb2.BatchGetBalancesRequest(member_ids=["m"] * 201),
        "member_ids",
        "repeated.max_items",
    ),
    (
        balance_pb2.BatchGetBalancesRequest(member_ids=["m", "m m"]),
        "member_ids",
        "string.pattern",
    ),
]


@pytest.mark.parametrize("request_message", GOOD, ids=lambda m: m.DESCRIPTOR.name)
def test_a_request_within_the_rules_passes(request_message: Message) -> None:
    assert broken(request_message) == []


@pytest.mark.parametrize(
    ("request_message", "field", "rule"),
    BAD,
    ids=[f"{message.DESCRIPTOR.name}-{field}-{rule}" for message, field, rule in BAD],
)
def test_a_request_that_breaks_a_rule_is_named_with_field_and_rule(
    request_message: Message, field: str, rule: str
) -> None:
    assert broken(request_message) == [(field, rule)]


def messages_of(descriptors: list[Descriptor]) -> Iterator[Descriptor]:
    for descriptor in descriptors:
        yield descriptor
        yield from messages_of(list(descriptor.nested_types))


def requests() -> Iterator[Descriptor]:
    for file in FILES:
        for service in file.services_by_name.values():
            for method in service.methods:
                yield method.input_type


READS = ("Get", "Find", "List", "BatchGet", "Watch", "Wait", "Compare", "Resolve", "Fetch", "VerifyBooks")


def within_requests() -> list[Descriptor]:
    """The messages of requests that change something, at any depth, each once."""
    found: dict[str, Descriptor] = {}
    left = [message for message in requests() if not message.name.startswith(READS)]
    while left:
        message = left.pop()
        if found.setdefault(message.full_name, message) is message and message.file.package == "jzb.v1":
            left += [field.message_type for field in message.fields if field.message_type not in (None, message)]
    return [message for message in found.values() if message.file.package == "jzb.v1"]


def rule_of(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]


def test_every_string_of_a_request_is_bounded_and_every_enum_checked() -> None:
    unbounded = []
    seen: list[Descriptor] = []
    todo = list(requests())
    while todo:
        message = todo.pop()
        if message in seen or message.file.package == "google.protobuf":
            continue
        seen.append(message)
        for field in message.fields:
            rules = rule_of(field)
            if field.message_type is not None:
                todo.append(field.message_type)
                # Without a verification or an approval there is none; whether that will do is a setting, or the policy.
                # Nobody needs tags. What an adjustment of a break rests on is known.
                fine = rules.required or rules.repeated.HasField("max_items")
                fine = fine or field.name in ("verification", "approval", "tags", "evidence")
                fine = fine or field.containing_oneof is not None
                # A time has a size, and the service says from when to when.
                fine = fine or field.message_type.full_name == "google.protobuf.Timestamp"
            elif field.is_repeated:
                fine = rules.repeated.HasField("max_items") and rules.repeated.HasField("items")
            elif field.type == FieldDescriptor.TYPE_STRING:
                text = rules.string
                fine = text.HasField("max_len") or text.HasField("pattern") or text.uuid
            elif field.type == FieldDescriptor.TYPE_ENUM:
                # An open list is bounded by an expression.
                fine = rules.enum.defined_only or len(rules.cel) > 0
            else:
                fine = field.type == FieldDescriptor.TYPE_BOOL or rules.WhichOneof("type") is not None
            if not fine:
                unbounded.append(field.full_name)
    assert len(seen) > 20
    assert unbounded == []


def test_calls_that_change_something_carry_a_request_id_and_money_calls_validate_only() -> None:
    for method in methods().values():
        message = method.input_type
        names = {field.name: field.number for field in message.fields}
        if message.name.startswith(READS):
            assert "request_id" not in names
            continue
        if message.name in ("CollectReturnsRequest", "CollectTransfersRequest"):
            # They enter what the bank has done already, known by the bank's serial.
            continue
        if facts(method).settled_by == CALLED_AGAIN:
            # They move no money, and every request is meant to be a new one, such as for a code.
            assert not facts(method).moves
            continue
        if message.name in ("ApproveRequest", "RejectRequest"):
            # What they decide is known by its proposal, which is decided once.
            continue
        if message.name in ("AssignWorkRequest", "NoteWorkRequest"):
            # They move nothing, and the same again adds nothing.
            continue
        if method.containing_service.name == "ReconciliationService":
            # What is decided is known by its break or day, and said twice it adds nothing; files are known by content.
            assert not facts(method).moves
            continue
        if message.name in ("BuildOrderRemarkRequest", "CheckOrderRemarkRequest"):
            # They compute: nothing is recorded and the bank is not asked.
            continue
        assert names["request_id"] == 1, message.name
        assert names.get("verification", 3) == 3, message.name
        assert 3 not in [number for name, number in names.items() if name != "verification"], message.name
        if any(name in names for name in ("amount_fen", "shares", "payees", "bank_day")):
            assert names["validate_only"] == 2, message.name


MAY_HOLD_THE_SEPARATOR = {
    # Names are what they are at the bank; a row with one is read from both ends.
    "card_holder_name",
    # Never in a file: secrets, what is sealed, the bank's own numbers, and texts of an acquiring remark.
    *("branch_name", "card_number", "code", "email", "identity_number", "message_order_no", "mobile", "signature"),
    *("merchant_no", "transaction_no", "transfer_bank_serial", "remark", "text"),
    # Numbers of what is there already, from before or from a channel.
    *("order_no", "sub_order_no", "refund_no", "number"),
    # This service's own.
    "page_token",
    # Words of people to people, and to whom.
    *("reason", "note", "owner"),
    # The caller's own, which the bank does not get: a reference, and the value of a label.
    *("reference", "value"),
    # Of a row of the bank's, which is read already.
    "list_key",
}
ENTERS_A_FILE = {
    "jzb.v1.AllocateSuspenseRequest.order_no",
    "jzb.v1.FreezeRequest.order_no",
    "jzb.v1.OrderShare.sub_order_no",
    "jzb.v1.OrderToPrepay.order_no",
    "jzb.v1.PayRequest.order_no",
    "jzb.v1.PaymentOfBatch.order_no",
    "jzb.v1.PrepayOrderRequest.order_no",
    "jzb.v1.RecordOrderRequest.order_no",
    "jzb.v1.RefundShare.refund_no",
    "jzb.v1.SplitTopUpRequest.order_no",
    "jzb.v1.TopUpRequest.order_no",
    "jzb.v1.TopUpShare.order_no",
}


@pytest.mark.parametrize("separator", ["a&b", "a\rb", "a\nb"])
def test_what_ends_a_column_or_a_row_of_the_banks_files_does_not_get_into_them(separator: str) -> None:
    taken = set()
    for message in within_requests():
        for field in message.fields:
            if field.type != FieldDescriptor.TYPE_STRING or field.is_repeated:
                continue
            request = message_factory.GetMessageClass(message)(**{field.name: separator})
            if not any(path == field.name for path, _ in broken(request)):
                taken.add(field.full_name)
    entering = ENTERS_A_FILE | {name for name in taken if name.endswith("nickname")}
    # The remark of an order of an acquiring product is JSON for that product.
    entering |= {name for name in taken if name.endswith(".remark") and name != "jzb.v1.CheckOrderRemarkRequest.remark"}
    assert not taken & entering
    assert {name.rsplit(".", 1)[1] for name in taken} <= MAY_HOLD_THE_SEPARATOR


def test_personal_fields_are_marked_for_redaction() -> None:
    personal = {"card_number", "card_holder_name", "identity_number", "mobile", "email", "code", "signature"}
    personal |= {"payer_name", "payer_account", "payer_note"}
    personal |= {"nickname", "ordinary_nickname", "merchant_nickname"}
    personal |= {snake_case(name) for name in PERSONAL_FIELDS}
    for file in FILES:
        for message in messages_of(list(file.message_types_by_name.values())):
            for field in message.fields:
                assert field.GetOptions().debug_redact == (field.name in personal), field.full_name


def test_the_rule_subset_has_the_numbers_of_protovalidate() -> None:
    own = descriptor_pb2.FileDescriptorProto()
    validate_pb2.DESCRIPTOR.CopyToProto(own)
    theirs = upstream.desc().proto

    def shape(name: str, field: Any) -> tuple[str, str, int, int, int, str]:
        return (name, field.name, field.number, int(field.type), int(field.label), field.type_name)

    wanted = {shape(m.name, f) for m in theirs.message_type for f in m.field}
    wanted |= {shape(x.extendee, x) for x in theirs.extension}
    ours = {shape(m.name, f) for m in own.message_type for f in m.field}
    ours |= {shape(x.extendee, x) for x in own.extension}
    assert own.package == theirs.package
    assert len(ours) > 25
    assert ours <= wanted
