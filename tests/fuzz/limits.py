"""What the contract's own validation asks, as far as a maker of whole requests must know it: read, never listed."""

from __future__ import annotations

import re
from typing import Final

import protovalidate
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2

_VALIDATOR: Final = protovalidate.Validator()
_NAMED: Final = re.compile(r"\bthis\.(\w+)")


def is_whole(message: Message) -> bool:
    """Whether the service's validation lets it through."""
    return not _VALIDATOR.collect_violations(message)


def blamed(message: Message) -> list[list[str]]:
    """The top fields of a request that each violation is about: the one it names, or those of its expression."""
    found = []
    for violation in _VALIDATOR.collect_violations(message):
        path = violation.proto.field
        if path is not None and path.elements:
            found.append([str(path.elements[0].field_name)])
        else:
            found.append(_NAMED.findall(_expression(message, str(violation.proto.rule_id))))
    return found


def range_of(field: FieldDescriptor) -> tuple[int, int]:
    """The least and the greatest value of a number."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    if kind not in ("int64", "int32"):
        return 0, 2**31 - 1
    numbers = rules.int64 if kind == "int64" else rules.int32
    return (numbers.gt + 1 if numbers.HasField("gt") else numbers.gte), numbers.lte or 2**31 - 1


def items_of(field: FieldDescriptor) -> tuple[int, int]:
    """The least and the greatest length of a list."""
    rules = field.GetOptions().Extensions[validate_pb2.field].repeated
    return rules.min_items, rules.max_items or 100


def _expression(message: Message, rule_id: str) -> str:
    rules = message.DESCRIPTOR.GetOptions().Extensions[validate_pb2.message].cel
    return next((str(rule.expression) for rule in rules if rule.id == rule_id), "")
