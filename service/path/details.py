"""What an operation keeps of its request beside what moves money: reference and labels of the caller, and the remark.

All of it is in the operation's plan, and so sealed with it. A request without any keeps nothing and costs nothing.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from jzb.v1.core_pb2 import Tags
from service.personal import masked
from service.recorded import REMARK, TAGS


def kept(request: Message) -> dict[str, Any]:
    """What the plan keeps of a request, by name."""
    found: dict[str, Any] = {}
    if (tags := _tags(request)) is not None:
        labels = {label.key: label.value for label in sorted(tags.labels, key=lambda one: one.key)}
        values = {"reference": tags.reference, "labels": labels}
        found[TAGS] = {name: value for name, value in values.items() if value}
    remark: str = request.remark if REMARK in request.DESCRIPTOR.fields_by_name else ""  # type: ignore[attr-defined]  # by its descriptor
    if remark:
        found[REMARK] = masked(remark)
    return found


def names(request: Message) -> tuple[tuple[str, str], ...]:
    """The kinds and values of `reference` by which the operation of a request is found."""
    if (tags := _tags(request)) is None:
        return ()
    reference = (("reference", tags.reference),) if tags.reference else ()
    return (*reference, *(("label", name_of(label.key, label.value)) for label in tags.labels))


def name_of(key: str, value: str) -> str:
    """A label as one text. No key has the equals sign."""
    return f"{key}={value}"


def label_of(name: str) -> tuple[str, str]:
    """Key and value of a label that is written as one text."""
    key, _, value = name.partition("=")
    return key, value


def _tags(request: Message) -> Tags | None:
    if TAGS not in request.DESCRIPTOR.fields_by_name or not request.HasField(TAGS):
        return None
    tags: Tags = request.tags  # type: ignore[attr-defined]  # by its descriptor
    return tags if tags.reference or tags.labels else None
