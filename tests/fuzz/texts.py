"""Texts, numbers and days that a careless or a hostile caller may send, and remarks of orders that are nearly right."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

from ledger.names import SubAccount
from service.plans.order_remark import AGGREGATED, WITH_SUB_ORDERS, Remark, Row, written

AMOUNTS: Final = (-(2**63), -(10**14), -100, -1, 0, 1, 99_999_999_999_999, 10**14, 2**53 + 1, 2**63 - 1)
SMALL: Final = (-(2**31), -1, 0, 1, 200, 201, 2**31 - 1)
DAYS: Final = ("0001-01-01", "0999-12-31", "1999-12-31", "2000-01-01", "2026-02-29", "2099-12-31", "9999-12-31")
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
    "²",
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
    "00000000-0000-0000-0000-000000000000",
    "a" * 33,
    "9" * 65,
    "𠮷" * 300,
    "x" * 20_001,
    *DAYS,
)
HUGE: Final = 256 * 1024
"""What gRPC takes of a message by default; most texts are far shorter, since a run has many."""

_IN_JSON: Final[tuple[Any, ...]] = (
    "",
    "\0",
    "\ud83d",
    "\udc00a",
    "\x85",
    "92233720368547758.07",
    "-92233720368547758.07",
    "999999999999.99",
    "0.001",
    "1e5",
    "²",
    "9" * 400,
    None,
    True,
    1.5,
    10**30,
    [],
    {},
    [[[[]]]],
)


def bad_text(dice: Random) -> str:
    """A text that few fields should have."""
    if dice.random() < 0.002:
        return dice.choice("a\x01") * (HUGE - dice.choice((-100, 100, HUGE // 2)))
    if dice.random() < 0.2:
        codes = (dice.choice((0x20, 0x7E, 0x80, 0xFF, 0x4E00, 0x1F600, 0x10FFFF)) for _ in range(20))
        return "".join(chr(dice.randint(0, code) % 0xD800) for code in codes)
    return dice.choice(TEXTS)


def order_remark(dice: Random, built: str) -> str:
    """The remark of an order, ``built`` by the service if it has built one, and mostly with something wrong in it."""
    if not built:
        row = Row(SubAccount("9930000000001001"), 100, 0, is_frozen=False, number="S1")
        built = written(Remark(WITH_SUB_ORDERS, AGGREGATED, "9930", (row, row)))
    match dice.randrange(4):
        case 0:
            return built
        case 1:
            return built[: dice.randrange(len(built))] + dice.choice(("", "]", "\0", "[" * 9000))
    content = json.loads(built)
    for _ in range(dice.choice((1, 1, 2, 5))):
        place = dice.choice([content[0], *content[0].get("oderlist", [])])
        if isinstance(place, dict) and place:
            place[dice.choice([*place, "oderlist"])] = dice.choice(_IN_JSON)
        if not isinstance(content[0].get("oderlist"), list):
            break
    return json.dumps(content)
