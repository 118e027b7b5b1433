"""Spoils what the bank says: fields gone, doubled, of other types, amounts that no account ever had."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from random import Random
from typing import Any, Final

_LITERAL: Final = re.compile(r'"#([^"]*)"')

ABSURD: Final[tuple[Any, ...]] = (
    None,
    "",
    "null",
    " ",
    "0x10",
    "1e5",
    "1,000.00",
    "١٢.٠٠",
    "-0.00",
    "-1.00",
    "0.001",
    "12.345",
    "NaN",
    "Infinity",
    "9" * 30,
    "999999999.99999999999999999999",
    "92233720368547758.08",
    "-92233720368547758.09",
    "99991231",
    "00000000",
    "\0",
    "\ud83d",
    "𠮷" * 1000,
    "<html>",
    True,
    -1,
    10**30,
    "#0.005",
    "#12.50",
    "#1E2",
    "#1e400",
    "#-0",
    "#NaN",
    [],
    {},
    [[[]]],
    {"a": {"b": []}},
    ["1.00"],
)
"""A text that begins with # stands for what follows it without quotes: numbers that Python has no int for."""


def spoiled(body: Mapping[str, Any], dice: Random, keep: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A copy of an answer with one to three things wrong in it; fields of ``keep`` stay as they are."""
    changed = copy.deepcopy(dict(body))
    for _ in range(dice.randint(1, 3)):
        place: Any = changed
        rows = [name for name, value in changed.items() if isinstance(value, list) and value]
        if rows and dice.random() < 0.6:
            name = dice.choice(rows)
            place = dice.choice(changed[name])
            if not isinstance(place, dict):
                place = changed
        names = [name for name in place if name not in keep]
        if not names:
            continue
        name = dice.choice(names)
        match dice.randrange(4):
            case 0:
                del place[name]
            case 1 if isinstance(place[name], list):
                place[name] = place[name] * 2 + [dice.choice(ABSURD)]
            case _:
                place[name] = dice.choice(ABSURD)
    return changed


def as_json(body: Mapping[str, Any]) -> bytes:
    """The body as JSON; half a UTF-16 pair is the escape that JSON has for it."""
    return _LITERAL.sub(r"\1", json.dumps(body)).encode()


def broken(content: bytes, dice: Random) -> bytes:
    """Bytes that are not what was signed any more."""
    place = dice.randrange(len(content))
    match dice.randrange(6):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + dice.randbytes(dice.randint(1, 4)) + content[place:]
        case 2:
            return content[:place] + bytes([content[place] ^ (1 << dice.randrange(8))]) + content[place + 1 :]
        case 3:
            return content[:place] + content[place + dice.randint(1, 20) :]
        case 4:
            # The first field once more.
            first = content[1 : content.index(b",") + 1]
            return b"{" + first + content[1:]
        case _:
            return b"[" * dice.choice((1, 100_000)) + content
