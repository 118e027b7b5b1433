"""Spoils what the bank says: fields gone, doubled, of other types, amounts that no account ever had."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from random import Random
from typing import Any, Final

from pydantic import BaseModel

from bankclient import canonical_string

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


NO_TEXT: Final = tuple(one for one in ABSURD if one not in (None, []) and (not isinstance(one, str) or one[:1] == "#"))
NO_AMOUNT: Final = (*NO_TEXT, "", "0x10", "1e5", "1,000.00", "0.001", "12.345", "NaN", "9" * 30, "10000000000000.01")
AMOUNT: Final = re.compile(r"-?[0-9]+\.[0-9]{2}")


def spoiled(body: Mapping[str, Any], dice: Random, believed: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A copy of an answer with one to three things wrong in it.

    What ``believed`` fields say is so because the bank says it: they get nothing that could be read as something else.
    """
    changed = copy.deepcopy(dict(body))
    for _ in range(dice.randint(1, min(3, len(changed)))):
        place: Any = changed
        rows = [name for name, value in changed.items() if isinstance(value, list) and value]
        if rows and dice.random() < 0.6:
            name = dice.choice(rows)
            place = dice.choice(changed[name])
            if not isinstance(place, dict) or not place:
                place = changed
        name = dice.choice(list(place))
        match dice.randrange(4):
            case _ if name in believed:
                is_amount = isinstance(place[name], str) and AMOUNT.fullmatch(place[name])
                place[name] = dice.choice(NO_AMOUNT if is_amount else NO_TEXT)
            case 0:
                del place[name]
            case 1 if isinstance(place[name], list):
                place[name] = place[name] * 2 + [dice.choice(ABSURD)]
            case _:
                place[name] = dice.choice(ABSURD)
    return changed


UNSIGNED: Final[tuple[Any, ...]] = (None, "", "null", True, 5, 10**30, "#12.50", "#1E2", [], {}, [{}], {"a": {"b": 5}})


def tampered(body: Mapping[str, Any], reply: type[BaseModel], dice: Random) -> dict[str, Any]:
    """A signed answer changed by somebody on the way who has no key, but knows what the signature leaves out."""
    changed = copy.deepcopy(dict(body))
    arrays = [name for name, value in changed.items() if isinstance(value, list)]
    texts = [name for name, value in changed.items() if isinstance(value, str)]
    array, text = dice.choice(arrays) if arrays else "", dice.choice(texts)
    cut = dice.randrange(len(text) + 1)
    match dice.randrange(12):
        case 9 | 10 | 11:
            changed = folded(changed, dice)
        case 0:
            changed[dice.choice(("errorCode", "errorMsg", "New"))] = dice.choice((*UNSIGNED, [[1]]))
        case 1 | 2:
            absent = [name for name in reply.model_fields if name not in changed]
            changed[dice.choice(absent or ["New"])] = dice.choice(UNSIGNED)
        case 3:
            value = changed.pop(text)
            inside = {text[cut:]: value}
            changed[text[:cut]] = dice.choice((inside, [inside]))
        case 4:
            value = changed[text]
            changed[text] = dice.choice((*UNSIGNED, [value], {"": value}, [{"": value}]))
        case 5 if array:
            rows = changed[array]
            forged = [{name: dice.choice(("1.00", "0", *UNSIGNED)) for name in row} for row in rows]
            changed[array] = dice.choice((forged + rows, rows + forged, [*rows, {}], rows[::-1] + rows))
        case 6 if array and changed[array]:
            name = dice.choice(list(changed[array][-1]))
            changed[array][-1][name] = dice.choice(UNSIGNED)
        case 7 if array and changed[array]:
            name = dice.choice(list(changed[array][-1]))
            changed[array + name] = changed[array][-1].pop(name)
        case _:
            items = list(changed.items())
            dice.shuffle(items)
            changed = dict(items)
    return changed


def folded(body: Mapping[str, Any], dice: Random) -> dict[str, Any]:
    """The answer with its signed text cut into fewer fields: some are in the text before them, or in the next name."""
    changed = copy.deepcopy(dict(body))
    pairs = [pair.partition("=") for pair in canonical_string(body).decode().split("&")[:-1]]
    first = dice.randrange(len(pairs) - 1)
    run = pairs[first : first + dice.randint(2, 4)]
    text = "&".join("".join(pair) for pair in run)
    arrays = [name for name, value in changed.items() if isinstance(value, list)]

    def places(key: str) -> list[tuple[dict[str, Any], str]]:
        """Every place of the body that is signed under a key."""
        inside = [(row, key[len(name) :]) for name in arrays if key.startswith(name) for row in changed[name]]
        return [(place, name) for place, name in ((changed, key), *inside) if name in place]

    kept = places(run[0][0])
    for key, _, _ in run:
        for place, name in places(key):
            del place[name]
    if dice.random() < 0.3:
        key, _, value = text.rpartition("=")
        changed[key] = value
    else:
        place, name = kept[-1]
        place[name] = text.partition("=")[2]
    return changed


def as_json(body: Mapping[str, Any]) -> bytes:
    """The body as JSON; half a UTF-16 pair is the escape that JSON has for it."""
    return _LITERAL.sub(r"\1", json.dumps(body)).encode()


def broken(content: bytes, dice: Random) -> bytes:
    """Bytes with one thing wrong: an end cut off, some put in, changed, cut out, or others altogether."""
    place = dice.randrange(len(content))
    match dice.randrange(5):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + dice.randbytes(dice.randint(1, 8)) + content[place:]
        case 2:
            return content[:place] + bytes([content[place] ^ (1 << dice.randrange(8))]) + content[place + 1 :]
        case 3:
            return content[:place] + content[place + dice.randint(1, 20) :]
        case _:
            return dice.randbytes(dice.randrange(200))


def broken_json(content: bytes, dice: Random) -> bytes:
    """The bytes of an object `broken`, or with a field twice, or deeper than any."""
    match dice.randrange(7):
        case 0:
            first = content[1 : content.index(b",") + 1]
            return b"{" + first + content[1:]
        case 1:
            return b"[" * dice.choice((1, 100_000)) + content
        case _:
            return broken(content, dice)
