"""What protos/jzb/v1/error_reason.proto promises of each error: its status code, and which metadata it carries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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
        value = re.match(r"ERROR_REASON_(\w+) = \d+;", text)
        status = re.search(r"The status code is (\w+)\.", comment)
        if value and status:
            found[value[1]] = Promise(status[1], frozenset(re.findall(r"^ +(\w+): \"", comment, re.MULTILINE)))
        comment = ""
    return found


GENERAL = re.compile(r"^// (Any call[^:]*): ([^.]*)\.", re.MULTILINE)
"""The paragraph in core.proto that speaks of calls of every service."""


@cache
def listed() -> dict[str, frozenset[str]]:
    """The reasons that are listed for each RPC, by its path: at the RPC, and in the paragraph about all of them."""
    core = re.sub(r"\n// +(?=[A-Z_]+[,.])", " ", (PROTO.parent / "core.proto").read_text("utf-8"))
    general = {who: _reasons(reasons) for who, reasons in GENERAL.findall(core)}
    found: dict[str, frozenset[str]] = {}
    for path in sorted(PROTO.parent.glob("*.proto")):
        text = path.read_text("utf-8")
        for comment, name, request in re.findall(r"((?:^ *//.*\n)+)^  rpc (\w+)\((\w+)\)", text, re.MULTILINE):
            service = re.findall(r"^service (\w+) \{", text[: text.index(f"  rpc {name}(")], re.MULTILINE)[-1]
            errors = re.sub(r"\n\s*// ?", " ", comment).partition("Errors:")[2]
            body = text[text.index(f"message {request} {{") :].partition("\n}\n")[0]
            reasons = _reasons(errors) | general["Any call"]
            if " string request_id = " in body:
                reasons |= general["Any call with a request_id"]
            found[f"/jzb.v1.{service}/{name}"] = reasons
    return found


def _reasons(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\b[A-Z][A-Z_]+\b", text)) & promises().keys()
