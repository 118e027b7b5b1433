"""What protos/jzb/v1/error_reason.proto promises of each error: its status code, and which metadata it carries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from service.catalogue.interfaces import reasons
from service.contract import methods

PROTO = Path(__file__).parents[2] / "protos" / "jzb" / "v1" / "error_reason.proto"


@dataclass(frozen=True)
class Promise:
    """One value of ErrorReason as its comment documents it."""

    status: str
    metadata: frozenset[str]


@cache
def promises() -> dict[str, Promise]:
    """By reason, without the prefix. A value whose comment names no status code is missing."""
    found: dict[str, Promise] = {}
    comment = ""
    for line in PROTO.read_text("utf-8").splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment += text.removeprefix("//") + "\n"
            continue
        value = re.match(r"ERROR_REASON_(\w+) = \d+\b", text)
        status = re.search(r"The status code is (\w+)\.", comment)
        if value and status:
            found[value[1]] = Promise(status[1], frozenset(re.findall(r"^ +(\w+): \"", comment, re.MULTILINE)))
        comment = ""
    return found


@cache
def listed() -> dict[str, frozenset[str]]:
    """The reasons with which calls of each RPC may end, by its path."""
    return {f"/{method.containing_service.full_name}/{method.name}": reasons(method) for method in methods().values()}
