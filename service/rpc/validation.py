"""Whether a request is one that the contract allows, judged in a time that no caller can stretch.

protovalidate judges; before it the elements of each list are counted, since to judge a list of a hundred thousand rows
takes seconds, in which nobody else is served. The bounds are the contract's own (`repeated.max_items`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import grpc
import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from jzb.v1.names import ErrorReason
from service import problems
from service.problems import Problem

ALL_NAMED_MAX = 8 * 1024
"""Bytes of a request of which everything that is wrong is named; of a longer one only the first."""


class Validation:
    """The contract's rules."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    def require_valid(self, request: Message) -> None:
        """Raises `Problem` REQUEST_INVALID, which names the fields and the rules that they break."""
        if (rows := too_many(request)) is not None:
            told = f"must contain no more than {rows.maximum} item(s), and has {rows.found}"
            raise problems.invalid(rows.field, told, rule="repeated.max_items")
        violations = self._validator.collect_violations(request, fail_fast=request.ByteSize() > ALL_NAMED_MAX)
        if not violations:
            return
        found = [(_path(violation), _broken(violation)) for violation in violations]
        raise Problem(
            grpc.StatusCode.INVALID_ARGUMENT,
            ErrorReason.REQUEST_INVALID,
            problems.first_violations(found),
            next_step="correct the request; the request id is not used up",
            metadata={"field": found[0][0], "rule": violations[0].proto.rule_id},
            violations=found,
        )


def _broken(violation: protovalidate.Violation) -> str:
    """What is wrong, in words. Of every enum the contract forbids only 0, which is a value left out."""
    return "must be stated" if violation.proto.rule_id == "enum.not_in" else str(violation.proto.message)


def _path(violation: protovalidate.Violation) -> str:
    path = violation.proto.field
    names: list[str] = []
    for element in path.elements if path is not None else ():
        index = element.subscript
        names.append(f"{element.field_name}[{index.value}]" if index is not None else str(element.field_name))
    return ".".join(names) or "request"


class TooMany(NamedTuple):
    """A list of a request that is longer than the contract allows."""

    field: str
    found: int
    maximum: int


@dataclass(frozen=True, slots=True)
class _List:
    """A repeated field: so many elements at most, each with the lists that it has itself."""

    name: str
    maximum: int
    within: tuple[_List | _Nested, ...]


@dataclass(frozen=True, slots=True)
class _Nested:
    """A message in a message that has lists."""

    name: str
    within: tuple[_List | _Nested, ...]


def too_many(request: Message) -> TooMany | None:
    """The first list of a request that is too long, with the path of its field; None when there is none."""
    return _first(request, _shape(request.DESCRIPTOR), "")


def _first(message: Any, shape: tuple[_List | _Nested, ...], path: str) -> TooMany | None:
    for one in shape:
        name = f"{path}{one.name}"
        if isinstance(one, _Nested):
            if message.HasField(one.name) and (found := _first(getattr(message, one.name), one.within, f"{name}.")):
                return found
            continue
        rows = getattr(message, one.name)
        if len(rows) > one.maximum:
            return TooMany(name, len(rows), one.maximum)
        if one.within:
            for number, row in enumerate(rows):
                if found := _first(row, one.within, f"{name}[{number}]."):
                    return found
    return None


@cache
def _shape(message: Descriptor) -> tuple[_List | _Nested, ...]:
    """The lists of a message. No message of the contract holds itself."""
    found: list[_List | _Nested] = []
    for field in message.fields:
        within = _shape(field.message_type) if field.message_type is not None else ()
        if field.is_repeated:
            found.append(_List(field.name, maximum(field), within))
        elif within:
            found.append(_Nested(field.name, within))
    return tuple(found)


def maximum(field: FieldDescriptor) -> int:
    """How many elements the contract allows a list. Raises ValueError for one without a bound."""
    rules = field.GetOptions().Extensions[validate_pb2.field].repeated
    if not rules.HasField("max_items"):
        raise ValueError(f"{field.full_name} has no repeated.max_items")
    return int(rules.max_items)
