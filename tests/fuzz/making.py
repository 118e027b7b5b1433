"""Makes requests from the descriptors of jzb.v1: some whole, most spoiled in a field or two, some no message at all.

Nothing is listed by hand but what a plausible value looks like, by the field's name; a new RPC or field is fuzzed as
soon as it is in the contract. What the service answers is remembered, so that later requests name what is there.
"""

from __future__ import annotations

import importlib
import string
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message

from service.bankday import bank_today

PROTOS: Final = Path(__file__).parents[2] / "protos" / "jzb" / "v1"

MEMBERS: Final = ("fuzz_buyer", "fuzz_payer", "fuzz_shop", "fuzz_store")
"""The first two pay, the others collect."""

AMOUNTS: Final = (-(2**63), -(10**14), -100, -1, 0, 1, 99_999_999_999_999, 10**14, 2**53 + 1, 2**63 - 1)
SMALL: Final = (-(2**31), -1, 0, 1, 200, 201, 2**31 - 1)
TEXTS: Final = (
    "",
    " ",
    "null",
    "None",
    "\0",
    "\x01\x1f\x7f",
    "a\r\nb",
    "\u202eabc\u2066",
    "\ufeff",
    "\ufffe\uffff",
    "农业银行",
    "𠮷👨‍👩‍👧",
    "e\u0301" * 20,
    "٣٤",
    "'; DROP TABLE operation; --",
    "%s%n%x{0}{request_id}",
    "${jndi:ldap://127.0.0.1/}",
    "../../../etc/passwd",
    "a=1&b=2&RsaSign=",
    '{"a": [}',
    "<!--<x>]]>",
    "\\u0000\\",
    "-0",
    "1e400",
    "NaN",
    "2026-02-30",
    "0001-01-01",
    "9999-12-31",
    "00000000-0000-0000-0000-000000000000",
    "a" * 33,
    "9" * 65,
    "𠮷" * 300,
    "x" * 20_001,
)
HUGE: Final = 4 * 1024 * 1024
"""What gRPC takes of a message by default; most texts are far shorter, since a run has many."""

SAME: Final = {"clearing_id": "serial", "payment_id": "serial", "withdrawal_id": "serial", "top_up_id": "serial"}
"""Names for what is one thing in an answer and in a request."""

PERSONAL: Final = frozenset({"card_number", "identity_number", "mobile", "card_holder_name", "email"})

REMEMBERED: Final = 300
DEEP: Final = 6


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way: which RPC, the bytes, and the message if they are one."""

    method: MethodDescriptor
    body: bytes
    message: Message | None

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

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self._methods = methods()
        # What replays the whole journal or asks the bank about all members is asked for less often.
        self._weights = [0.2 if method.name in ("VerifyBooks", "CompareWithBank") else 1.0 for method in self._methods]
        self._seen: dict[str, deque[str]] = {}
        self._numbers = 0
        self._seed = seed

    def call(self) -> Call:
        """The next request."""
        (method,) = self.dice.choices(self._methods, self._weights)
        spoiled = self.dice.choice((0.0, 0.0, 0.02, 0.1, 0.3, 0.9))
        message = self._message(method.input_type, spoiled, DEEP)
        body = message.SerializeToString()
        if self.dice.random() < 0.03:
            body = self._broken(body)
            try:
                message = type(message).FromString(body)
            except DecodeError:
                return Call(method, body, None)
        return Call(method, body, message)

    def learn(self, answer: Message) -> None:
        """Remember what an answer names."""
        for name, text in _texts(answer):
            if text and name not in PERSONAL:
                self._pool(name).append(text)

    def _pool(self, name: str) -> deque[str]:
        name = "page_token" if name == "next_page_token" else SAME.get(name, name)
        return self._seen.setdefault(name, deque(maxlen=REMEMBERED))

    def _message(self, descriptor: Descriptor, spoiled: float, depth: int) -> Message:
        message = message_factory.GetMessageClass(descriptor)()
        left_out = {field.name for oneof in descriptor.oneofs for field in self._not_chosen(list(oneof.fields))}
        for field in descriptor.fields:
            if field.name in left_out or self.dice.random() < (0.02 + spoiled / 4):
                continue
            if field.is_repeated:
                values = [self._value(field, spoiled, depth) for _ in range(self._length(spoiled))]
                getattr(message, field.name).extend([value for value in values if value is not None])
            elif (value := self._value(field, spoiled, depth)) is not None:
                if field.message_type:
                    getattr(message, field.name).CopyFrom(value)
                else:
                    setattr(message, field.name, value)
        return message

    def _not_chosen(self, fields: list[FieldDescriptor]) -> list[FieldDescriptor]:
        # With another proof than none, few requests would get as far as the bank.
        likely = [field for field in fields if field.name == "none" and self.dice.random() < 0.7]
        fields.remove(self.dice.choice(likely or fields))
        return fields

    def _length(self, spoiled: float) -> int:
        if self.dice.random() < spoiled / 4:
            return self.dice.choice((0, 20, 201, 1001))
        return self.dice.choice((1, 1, 2, 3))

    def _value(self, field: FieldDescriptor, spoiled: float, depth: int) -> Any:
        if field.message_type:
            return self._message(field.message_type, spoiled, depth - 1) if depth else None
        is_bad = self.dice.random() < spoiled
        match field.type:
            case FieldDescriptor.TYPE_STRING:
                return self._bad_text() if is_bad else self._text(field.name)
            case FieldDescriptor.TYPE_BYTES:
                return self.dice.randbytes(self.dice.choice((0, 1, 100)))
            case FieldDescriptor.TYPE_BOOL:
                return self.dice.random() < 0.1
            case FieldDescriptor.TYPE_ENUM:
                if is_bad:
                    return self.dice.choice((0, 99, -1, 2**31 - 1, -(2**31)))
                return self.dice.choice([value.number for value in field.enum_type.values if value.number] or [0])
            case FieldDescriptor.TYPE_INT64:
                if field.name.endswith("fee_fen") and not is_bad:
                    return self.dice.choice((0, 0, 1, 5))
                return self.dice.choice(AMOUNTS) if is_bad else self.dice.randint(1, 500)
            case _:
                return self.dice.choice(SMALL) if is_bad else self.dice.randint(1, 100)

    def _bad_text(self) -> str:
        if self.dice.random() < 0.002:
            return self.dice.choice("a\x01") * (HUGE - self.dice.choice((-100, 100, HUGE // 2)))
        if self.dice.random() < 0.2:
            codes = (self.dice.choice((0x20, 0x7E, 0x80, 0xFF, 0x4E00, 0x1F600, 0x10FFFF)) for _ in range(20))
            return "".join(chr(self.dice.randint(0, code) % 0xD800) for code in codes)
        return self.dice.choice(TEXTS)

    def _text(self, name: str) -> str:
        if name == "request_id":
            return self._fresh(0.05, name, lambda number: f"f{self._seed}-{number}")
        if name.endswith(("member_id", "member_ids")):
            return self._member(name)
        if name.endswith("bank_day"):
            return str(bank_today() - timedelta(days=self.dice.choice((0, 0, 0, 1, 2, 30))))
        pool = self._pool(name)
        if pool and self.dice.random() < 0.8:
            return self.dice.choice(pool)
        return self._made(name)

    def _member(self, name: str) -> str:
        match self.dice.randrange(20), name:
            case 0, _:
                return self._fresh(0.0, "", lambda number: f"m{number}")
            case 1 | 2, _:
                return self.dice.choice(MEMBERS)
            case _, "payer_member_id":
                return self.dice.choice(MEMBERS[:2])
            case _, "payee_member_id":
                return self.dice.choice(MEMBERS[2:])
        return self.dice.choice(MEMBERS)

    def _fresh(self, again: float, name: str, make: Callable[[int], str]) -> str:
        if name and self._pool(name) and self.dice.random() < again:
            return self.dice.choice(self._pool(name))
        self._numbers += 1
        text = make(self._numbers)
        if name:
            self._pool(name).append(text)
        return text

    def _made(self, name: str) -> str:
        """A text of the shape that its field wants, as far as its name tells."""
        digits = "".join(self.dice.choices(string.digits, k=12))
        match name:
            case "order_no" | "sub_order_no" | "message_order_no" | "refund_no" | "transaction_no":
                return f"O{digits}"
            case "operation_id" | "card_id":
                return str(UUID(int=self.dice.getrandbits(128), version=4))
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
            case "cnaps_no" | "super_bank_no":
                return digits
            case "noted_digest" | "cursor" | "page_token":
                return ""
            case _:
                return f"T{digits}"

    def _broken(self, body: bytes) -> bytes:
        """Bytes that are no message, or another one."""
        match self.dice.randrange(4):
            case 0:
                return self.dice.randbytes(self.dice.choice((1, 10, 1000)))
            case 1:
                return body[: self.dice.randint(0, len(body))]
            case 2:
                changed = bytearray(body or b"\0")
                changed[self.dice.randrange(len(changed))] ^= 1 << self.dice.randrange(8)
                return bytes(changed)
            case _:
                # A text in field 1 that is no UTF-8.
                return b"\x0a\x02\xff\xfe" + body


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from _texts(one)
            elif isinstance(one, str):
                yield field.name, one
