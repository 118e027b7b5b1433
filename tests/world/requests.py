"""Requests that differ from one another in a field or two, right or wrong."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def altered(request: M, **fields: object) -> M:
    """A copy of a request with other values in the fields that are named; None leaves a field out."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name, value in fields.items():
        copy.ClearField(name)
        if isinstance(value, Message):
            getattr(copy, name).CopyFrom(value)
        elif value is not None:
            setattr(copy, name, value)
    return copy
