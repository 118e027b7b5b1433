"""Makes requests from the descriptors of jzb.v1: some whole, most spoiled in a field or two, some no message at all.

Nothing is listed by hand but what a plausible value looks like, by the field's name; a new RPC or field is fuzzed as
soon as it is in the contract. What the service answers is remembered, so that later requests name what is there, and
so is what `tests.fuzz.people` has prepared: requests that fit what has happened at the bank.
"""

from __future__ import annotations

import importlib
import string
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from jzb.v1 import core_pb2
from service.bankday import bank_today
from service.rpc.pages import page_token
from tests.fuzz.limits import blamed, items_of, range_of
from tests.fuzz.texts import AMOUNTS, DAYS, HUGE, SMALL, TEXTS, bad_text, order_remark

PROTOS: Final = Path(__file__).parents[2] / "protos" / "jzb" / "v1"

MEMBERS: Final = ("fuzz_buyer", "fuzz_payer", "fuzz_shop", "fuzz_store")
"""The first two pay, the others collect."""

SERIALS: Final = {
    "OPERATION_KIND_ALLOCATE_SUSPENSE": "allocation_serial",
    "OPERATION_KIND_WITHDRAW": "withdrawal_serial",
    "OPERATION_KIND_TOP_UP": "top_up_serial",
    "OPERATION_KIND_SPLIT_TOP_UP": "top_up_serial",
}
"""As what a request names the serial of an operation; that of any other may be a payment's."""

OPENING: Final = ("OpenMemberRequest", "LinkSameNameRequest")
"""The requests for which most members must be new."""

NARROWING: Final = ("List", "Find")
"""How the requests begin whose texts are filters."""

PERSONAL: Final = frozenset({"card_number", "identity_number", "mobile", "card_holder_name", "email"})

SELDOM: Final = {"VerifyBooks": 0.03, "GetTrialBalance": 0.1, "CompareWithBank": 0.1}
"""What reads the whole journal, or asks the bank about all members, by how often it is asked for."""

REMEMBERED: Final = 300
PREPARED: Final = 6
DEEP: Final = 6
MENDED: Final = 100


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way: which RPC, the bytes, the message if they are one, and how much of a stream is read."""

    method: MethodDescriptor
    body: bytes
    message: Message | None
    reads: int = 50

    @property
    def path(self) -> str:
        """As gRPC names the RPC."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def answer_class(self) -> type[Message]:
        """What is answered."""
        return message_factory.GetMessageClass(self.method.output_type)

    @property
    def request_id(self) -> str:
        """The request's own name, if it has one."""
        return str(getattr(self.message, "request_id", ""))

    def personal(self) -> Iterator[str]:
        """What no answer may repeat."""
        if self.message is not None:
            yield from (text for name, text in _texts(self.message) if name in PERSONAL and len(text) >= 8)

    def __str__(self) -> str:
        if self.message is None:
            return f"{self.path} {self.body[:200]!r}"
        return f"{self.path} {str(self.message)[:4000]!r}"


def methods() -> list[MethodDescriptor]:
    """Every RPC of the contract."""
    files = [importlib.import_module(f"jzb.v1.{path.stem}_pb2").DESCRIPTOR for path in sorted(PROTOS.glob("*.proto"))]
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


class Maker:
    """Requests by seed. Not quite the same in every run, since what is answered is used again."""

    def __init__(self, seed: int, today: Callable[[], date] = bank_today) -> None:
        self.dice = Random(seed)
        self._methods = methods()
        self._weights = [SELDOM.get(method.name, 1.0) for method in self._methods]
        self._seen: dict[str, deque[str]] = {}
        self._prepared: dict[str, deque[Message]] = {}
        self._numbers = 0
        self._seed = seed
        # The bank's own, which its clearing puts ahead of ours.
        self._today = today

    def call(self) -> Call:
        """The next request."""
        (method,) = self.dice.choices(self._methods, self._weights)
        spoiled = self.dice.choice((0.0, 0.0, 0.02, 0.1, 0.3, 0.9))
        prepared = self._prepared.get(method.input_type.full_name)
        if prepared and self.dice.random() < 0.5:
            message = self._again(self.dice.choice(prepared), spoiled)
        elif spoiled:
            message = self._opaque(self._message(method.input_type, spoiled, DEEP))
        else:
            message = self.whole(method.input_type)
        body, reads = message.SerializeToString(), self.dice.choice((1, 50, 50))
        is_crowded = self.dice.random() < 0.005
        if is_crowded or self.dice.random() < 0.03:
            body = self._crowded(method.input_type) if is_crowded else self._broken(body)
            try:
                message = type(message).FromString(body)
            except DecodeError:
                return Call(method, body, None, reads)
        return Call(method, body, message, reads)

    def whole(self, descriptor: Descriptor) -> Message:
        """A request that validation lets through: what is to blame is left out or made anew, until nothing is."""
        message = self._message(descriptor, 0.0, DEEP)
        for _ in range(MENDED):
            blames = blamed(message)
            if not blames:
                break
            for names in blames:
                field = self._field(descriptor, self.dice.choice(names))
                message.ClearField(field.name)
                if field.message_type and not field.is_repeated:
                    getattr(message, field.name).CopyFrom(self.whole(field.message_type))
                elif self.dice.random() < 0.6:
                    self._fill(message, field, 0.0, DEEP)
        self._add_up(message)
        return message

    def _field(self, descriptor: Descriptor, name: str) -> FieldDescriptor:
        """A field by its name, or one of those of which a request has to have one."""
        field = descriptor.fields_by_name.get(name)
        return field or self.dice.choice(list(descriptor.oneofs_by_name[name].fields))

    def prepare(self, message: Message) -> None:
        """Remember a request that fits what has happened, to be sent now and then, as it is or spoiled."""
        self._prepared.setdefault(message.DESCRIPTOR.full_name, deque(maxlen=PREPARED)).append(message)

    def learn(self, call: Call, answer: Message) -> None:
        """Remember what an answer names."""
        service = call.method.containing_service.name
        for name, text in _texts(answer):
            if not text or name in PERSONAL:
                continue
            if name == "remark" and len(text) > 120:
                name = "order_remark"
            self._pool(name).append(text)
            self._pool(f"{service}.{name}").append(text)
        for operation in _operations(answer):
            name = SERIALS.get(core_pb2.OperationKind.Name(operation.kind), "payment_serial")
            self._pool(name).append(operation.serial)
            self._pool(name).extend(part.serial for part in operation.parts if part.serial)

    def _pool(self, name: str) -> deque[str]:
        name = name.replace("next_page_token", "page_token")
        return self._seen.setdefault(name, deque(maxlen=REMEMBERED))

    def _message(self, descriptor: Descriptor, spoiled: float, depth: int) -> Message:
        if descriptor is Timestamp.DESCRIPTOR and self.dice.random() >= spoiled:
            return Timestamp(seconds=int(time.time()) - self.dice.randrange(3600))
        message = message_factory.GetMessageClass(descriptor)()
        left_out = {field.name for oneof in descriptor.oneofs for field in self._not_chosen(list(oneof.fields))}
        if self.dice.random() < 0.9:
            # What waits for an approval moves nothing.
            left_out.add("approval")
        for field in descriptor.fields:
            if field.name not in left_out and self.dice.random() >= 0.02 + spoiled / 4:
                self._fill(message, field, spoiled, depth)
        return message

    def _fill(self, message: Message, field: FieldDescriptor, spoiled: float, depth: int) -> None:
        if field.is_repeated:
            values = [self._value(field, spoiled, depth) for _ in range(self._length(field, spoiled))]
            getattr(message, field.name).extend([value for value in values if value is not None])
        elif (value := self._value(field, spoiled, depth)) is not None:
            if field.message_type:
                getattr(message, field.name).CopyFrom(value)
            else:
                setattr(message, field.name, value)

    def _not_chosen(self, fields: list[FieldDescriptor]) -> list[FieldDescriptor]:
        # With another proof than none, few requests would get as far as the bank.
        likely = [field for field in fields if field.name == "none" and self.dice.random() < 0.7]
        fields.remove(self.dice.choice(likely or fields))
        return fields

    def _length(self, field: FieldDescriptor, spoiled: float) -> int:
        least, greatest = items_of(field)
        if self.dice.random() < spoiled / 4:
            return self.dice.choice((0, 20, greatest + 1, 1001))
        return max(least, self.dice.choice((1, 1, 2, 3)))

    def _value(self, field: FieldDescriptor, spoiled: float, depth: int) -> Any:
        if field.message_type:
            return self._message(field.message_type, spoiled, depth - 1) if depth else None
        is_bad = self.dice.random() < spoiled
        match field.type:
            case FieldDescriptor.TYPE_STRING:
                return bad_text(self.dice) if is_bad else self._text(field)
            case FieldDescriptor.TYPE_BYTES:
                return self.dice.randbytes(self.dice.choice((0, 1, 100)))
            case FieldDescriptor.TYPE_BOOL:
                return self.dice.random() < 0.1
            case FieldDescriptor.TYPE_ENUM:
                if is_bad:
                    return self.dice.choice((0, 99, -1, 2**31 - 1, -(2**31)))
                assert field.enum_type is not None
                return self.dice.choice([value.number for value in field.enum_type.values if value.number] or [0])
        is_amount = field.type == FieldDescriptor.TYPE_INT64
        if is_bad:
            return self.dice.choice(AMOUNTS if is_amount else SMALL)
        least, greatest = range_of(field)
        if field.name.endswith("fee_fen"):
            return self.dice.choice((0, 0, 1, 5))
        return self.dice.randint(least, min(greatest, 500 if is_amount else 100))

    def _add_up(self, message: Message) -> None:
        """Let the whole be the sum of its shares, where it has both."""
        if "amount_fen" not in message.DESCRIPTOR.fields_by_name or self.dice.random() < 0.1:
            return
        sums = [
            sum(share.amount_fen for share in value)
            for field, value in message.ListFields()
            if field.is_repeated and field.message_type and "amount_fen" in field.message_type.fields_by_name
        ]
        if sums:
            message.amount_fen = sums[0]  # type: ignore[attr-defined]  # a field of this message

    def _opaque(self, message: Message) -> Message:
        """Give tokens a form that is read, and a span of days both its ends at an edge of the calendar."""
        names = message.DESCRIPTOR.fields_by_name
        for name in ("page_token", "cursor"):
            if name in names and self.dice.random() < 0.5:
                behind = self.dice.choice((*TEXTS, *self._pool("operation_id"), "1", "2026-01-01 x"))
                with_filters = message if name == "page_token" and self.dice.random() < 0.5 else None
                setattr(message, name, page_token(behind[:300], with_filters))
        ends = [name for name in names if name.endswith("bank_day")]
        if ends and self.dice.random() < 0.2:
            day = self.dice.choice((*DAYS, str(bank_today() + timedelta(days=self.dice.choice((1, 2, 40))))))
            for name in ends:
                setattr(message, name, day)
        return message

    def _again(self, prepared: Message, spoiled: float) -> Message:
        message = type(prepared)()
        message.CopyFrom(prepared)
        descriptor = message.DESCRIPTOR
        # The C class of descriptors is registered as one of this; the stubs name both.
        assert isinstance(descriptor, Descriptor)
        if "request_id" in descriptor.fields_by_name:
            message.request_id = self._request_id()  # type: ignore[attr-defined]  # a field of this message
        if self.dice.random() < spoiled:
            field = self.dice.choice(list(descriptor.fields_by_name.values()))
            message.ClearField(field.name)
            self._fill(message, field, spoiled, DEEP)
        return message

    def _text(self, field: FieldDescriptor) -> str:
        assert field.containing_type is not None
        name, service, request = field.name, field.containing_type.full_name, field.containing_type.name
        if name == "request_id" and request.endswith("Request"):
            return self._request_id()
        if name == "remark" and service == "jzb.v1.CheckOrderRemarkRequest":
            built = self._pool("order_remark")
            return order_remark(self.dice, self.dice.choice(built) if built else "")
        if name.endswith(("member_id", "member_ids")):
            return self._member(name, request)
        if name.endswith("bank_day"):
            today = self.dice.choice((bank_today, bank_today, self._today))()
            return str(today - timedelta(days=self.dice.choice((0, 0, 0, 1, 2, 30))))
        if request.startswith(NARROWING) and self.dice.random() < 0.5:
            # With every filter of a list nothing is found, and nothing is learnt.
            return ""
        pools = [pool for pool in (self._pool(f"{_SERVICES.get(service, '')}.{name}"), self._pool(name)) if pool]
        if pools and self.dice.random() < 0.7:
            return self.dice.choice(self.dice.choice(pools))
        return self._made(name)

    def _member(self, name: str, request: str) -> str:
        match self.dice.randrange(20), name:
            case number, _ if number == 0 or (number < 15 and request in OPENING):
                return self._fresh(lambda number: f"m{number}")
            case number, _ if number < 3 or (number < 15 and request == "CloseMemberRequest"):
                # Also those that were opened on the way.
                return self.dice.choice((*MEMBERS, *self._pool("member_id")))
            case _, "payer_member_id" | "ordinary_member_id":
                return self.dice.choice(MEMBERS[:2])
            case _, "payee_member_id" | "merchant_member_id":
                return self.dice.choice(MEMBERS[2:])
        return self.dice.choice(MEMBERS)

    def _request_id(self) -> str:
        sent = self._pool("request_id")
        if sent and self.dice.random() < 0.05:
            return self.dice.choice(sent)
        sent.append(self._fresh(lambda number: f"f{self._seed}-{number}"))
        return sent[-1]

    def _fresh(self, make: Callable[[int], str]) -> str:
        self._numbers += 1
        return make(self._numbers)

    def _made(self, name: str) -> str:
        """A text of the shape that its field wants, as far as its name tells."""
        digits = "".join(self.dice.choices(string.digits, k=12))
        match name:
            case "order_no" | "sub_order_no" | "message_order_no" | "refund_no" | "transaction_no":
                return f"O{digits}"
            case "operation_id" | "card_id" | "proposal_id" | "break_id":
                return str(UUID(int=self.dice.getrandbits(128), version=4))
            case "digest":
                return self.dice.randbytes(32).hex()
            case "card_number":
                return f"999999{digits[:10]}"
            case "mobile":
                return f"000{digits[:8]}"
            case "identity_number":
                return f"00000000{digits[:10]}"
            case "type":
                return self.dice.choice(("0001", "0002", digits[:4]))
            case "code":
                return digits[:6]
            case "email":
                return "nobody@example.invalid"
            case "ip_address":
                return f"192.0.2.{self.dice.randrange(256)}"
            case "mac_address":
                return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
            case "cnaps_no" | "super_bank_no":
                return digits
            case "noted_digest" | "cursor" | "page_token":
                return ""
            case _:
                return f"T{digits}"

    def _crowded(self, descriptor: Descriptor) -> bytes:
        """A list of as many empty elements as fit; without a list as many times a field that nobody knows."""
        lists = [field.number for field in descriptor.fields if field.is_repeated] or [500]
        number = self.dice.choice(lists)
        element = bytes(
            ((number & 15) << 3 | 2 | (0x80 if number > 15 else 0), *((number >> 4,) if number > 15 else ()), 0)
        )
        return element * (HUGE // len(element))

    def _broken(self, body: bytes) -> bytes:
        """Bytes that are no message, or another one."""
        match self.dice.randrange(7):
            case 0:
                return self.dice.randbytes(self.dice.choice((1, 10, 1000)))
            case 1:
                return body[: self.dice.randint(0, len(body))]
            case 2:
                changed = bytearray(body or b"\0")
                changed[self.dice.randrange(len(changed))] ^= 1 << self.dice.randrange(8)
                return bytes(changed)
            case 3:
                # Another RPC's request.
                return self._message(self.dice.choice(self._methods).input_type, 0.0, DEEP).SerializeToString()
            case 4:
                # Groups in groups of a field that nobody knows, opened and not closed.
                return body + b"\xc3\xb8\x02" * self.dice.choice((1, 99, 10_000))
            case 5:
                # A field of a version to come.
                return body + b"\xc2\xb8\x02\x04\xff\xff\0\x01"
            case _:
                # A text in field 1 that is no UTF-8.
                return b"\x0a\x02\xff\xfe" + body


_SERVICES: Final = {method.input_type.full_name: method.containing_service.name for method in methods()}


def _operations(message: Message) -> Iterator[core_pb2.Operation]:
    if isinstance(message, core_pb2.Operation):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type:
            for one in value if field.is_repeated else [value]:
                yield from _operations(one)


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from _texts(one)
            elif isinstance(one, str):
                yield field.name, one
