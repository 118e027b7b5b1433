"""The remark of an acquired order, from which the bank credits members (OrderRemark), or of a refund (RefundRemark).

Quick start 2.4; its form is that of 见证+收单 7.6 as clients show it: JSON, an array of one object.

| SFJOrdertype | remarktype | rows |
|---|---|---|
| 0 plain order | JHS0100000, SDS0100000 | one: SubAccNo, PayModel, TranFee |
| 1 with sub-orders | JHS0100000, SDS0100000 | also subamount, suborderId, object |
| 1 refund | JHT0100000 | SubAccNo, refundModel, RefundTranFee, subrefundamt, suborderId, subrefundId, object |

Amounts in a remark are yuan as text. The list is written under the bank's misspelt key `oderlist`; `orderlist`, which
one answer of the bank has, is read as well, and so is `Object`. Pure: text and values in, text and violations out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bankclient import REQUEST_FEN_MAX, fen, yuan
from ledger.names import SubAccount

PAY_API_MAX: Final = 300
"""Characters of OrderRemark and RefundRemark in the payment interface (quick start 2.4)."""
CASHIER_PAGE_MAX: Final = 2500
"""Characters of OrderRemark on the cashier page."""

PLAIN, WITH_SUB_ORDERS = "0", "1"
AGGREGATED: Final = "JHS0100000"
"""Aggregated payment and cloud collection."""
QUICK: Final = "SDS0100000"
"""Cross-bank quick collection."""
REFUND: Final = "JHT0100000"
TYPES: Final = (AGGREGATED, QUICK, REFUND)

SEPARATOR: Final = "&"
"""Not escaped in the bank's files, where order numbers come back (transport.md 5.5)."""

LIST, LIST_READ = "oderlist", "orderlist"
NUMBER_MAX: Final = 22
SUB_ACCOUNT_MAX: Final = 32
TEXT_MAX: Final = 500
UNREADABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and the halves of characters that JSON can name one by one and UTF-8 cannot carry."""


@dataclass(frozen=True, slots=True)
class Row:
    """One share. Amounts in fen, ``fee_fen`` inside ``amount_fen``. ``number`` is empty in a plain order."""

    sub_account: SubAccount
    amount_fen: int
    fee_fen: int
    is_frozen: bool
    number: str = ""
    refund_number: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the path of the field, what is wrong, and the amounts in fen that decided."""

    path: str
    description: str
    amounts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark as far as it can be read."""

    order_type: str = ""
    remark_type: str = ""
    platform: str = ""
    rows: tuple[Row, ...] = ()


def written(remark: Remark) -> str:
    """The remark as the bank wants it: strict JSON in one line."""
    is_plain = remark.order_type == PLAIN
    is_refund = remark.remark_type == REFUND
    rows = [_plain(row) if is_plain else _refund(row) if is_refund else _sub_order(row) for row in remark.rows]
    content = {
        "SFJOrdertype": remark.order_type,
        "remarktype": remark.remark_type,
        "plantCode": remark.platform,
        LIST: rows,
    }
    return json.dumps([content], ensure_ascii=False, separators=(",", ":"))


def checked(text: str, *, platform: str, amount_fen: int, length_max: int) -> tuple[Remark, list[Violation]]:
    """Read a remark for an order of ``amount_fen`` and name everything that is wrong with it."""
    violations: list[Violation] = []
    if len(text) > length_max:
        violations.append(Violation("remark", f"has {len(text)} characters, {length_max} is the most"))
    content = _content(text, violations)
    if content is None:
        return Remark(), violations
    order_type, remark_type = (_text(content, name, name, violations) for name in ("SFJOrdertype", "remarktype"))
    plant = _text(content, "plantCode", "plantCode", violations)
    if order_type not in (PLAIN, WITH_SUB_ORDERS):
        violations.append(Violation("SFJOrdertype", f"is {order_type!r}, not 0 (plain order) or 1 (with sub-orders)"))
    if remark_type not in TYPES:
        violations.append(Violation("remarktype", f"is {remark_type!r}, none of {', '.join(TYPES)}"))
    if order_type == PLAIN and remark_type == REFUND:
        violations.append(Violation("SFJOrdertype", "is 0, and a refund names sub-orders: 1"))
    if plant != platform:
        violations.append(Violation("plantCode", f"is {plant!r}, the platform is {platform}"))
    rows = _rows(content, order_type, remark_type, amount_fen, violations)
    violations.extend(_of_order(rows, order_type, remark_type, amount_fen))
    return Remark(order_type, remark_type, plant, tuple(rows)), violations


def _of_order(rows: Sequence[Row], order_type: str, remark_type: str, amount_fen: int) -> Iterable[Violation]:
    """What the rows break together."""
    if not rows:
        return
    if order_type == PLAIN:
        if len(rows) > 1:
            yield Violation(LIST, f"has {len(rows)} rows, a plain order has one")
        return
    name = "subrefundamt" if remark_type == REFUND else "subamount"
    total_fen = sum(row.amount_fen for row in rows)
    if total_fen != amount_fen:
        yield Violation(
            LIST,
            f"the sum of {name} is {yuan(total_fen)}, the order has {yuan(amount_fen)}",
            {"sum": total_fen, "amount": amount_fen},
        )
    key = "subrefundId" if remark_type == REFUND else "suborderId"
    numbers = [row.refund_number if remark_type == REFUND else row.number for row in rows]
    for index, number in enumerate(numbers):
        if SEPARATOR in number:
            yield Violation(
                f"{LIST}[{index}].{key}", f"{number} holds {SEPARATOR}, which ends a column of the bank's files"
            )
        if number and number in numbers[:index]:
            yield Violation(f"{LIST}[{index}].{key}", f"{number} is that of {LIST}[{numbers.index(number)}] as well")


def _content(text: str, violations: list[Violation]) -> Mapping[str, Any] | None:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        violations.append(Violation("remark", "is not JSON"))
        return None
    if not isinstance(read, list) or len(read) != 1 or not isinstance(read[0], dict):
        violations.append(Violation("remark", "is not an array of one object"))
        return None
    return read[0]


def _rows(
    content: Mapping[str, Any], order_type: str, remark_type: str, amount_fen: int, violations: list[Violation]
) -> list[Row]:
    listed = content.get(LIST, content.get(LIST_READ))
    if not isinstance(listed, list) or not listed:
        violations.append(Violation(LIST, "is missing or empty"))
        return []
    rows = []
    for index, one in enumerate(listed):
        path = f"{LIST}[{index}]"
        if not isinstance(one, dict):
            violations.append(Violation(path, "is not an object"))
            continue
        rows.append(_row(one, path, order_type, remark_type, amount_fen, violations))
    return rows


def _row(
    one: Mapping[str, Any], path: str, order_type: str, remark_type: str, order_fen: int, violations: list[Violation]
) -> Row:
    is_refund = remark_type == REFUND
    sub_account = _text(one, "SubAccNo", f"{path}.SubAccNo", violations, SUB_ACCOUNT_MAX)
    model = "refundModel" if is_refund else "PayModel"
    mode = _text(one, model, f"{path}.{model}", violations)
    if mode not in ("0", "1"):
        violations.append(Violation(f"{path}.{model}", f"is {mode!r}, not 0 (frozen) or 1 (available)"))
    fee = "RefundTranFee" if is_refund else "TranFee"
    fee_fen = _amount(one, fee, f"{path}.{fee}", violations)
    amount_fen, number, refund_number = order_fen, "", ""
    if order_type != PLAIN:
        name = "subrefundamt" if is_refund else "subamount"
        amount_fen = _amount(one, name, f"{path}.{name}", violations)
        if amount_fen <= 0:
            violations.append(
                Violation(f"{path}.{name}", f"is {yuan(amount_fen)}, not above 0", {"amount": amount_fen})
            )
        number = _text(one, "suborderId", f"{path}.suborderId", violations, NUMBER_MAX)
        if is_refund:
            refund_number = _text(one, "subrefundId", f"{path}.subrefundId", violations, NUMBER_MAX)
    if not 0 <= fee_fen <= max(amount_fen, 0):
        violations.append(
            Violation(
                f"{path}.{fee}",
                f"is {yuan(fee_fen)}, not within 0.00 and the amount {yuan(amount_fen)}",
                {"fee": fee_fen, "amount": amount_fen},
            )
        )
    text = one.get("object", one.get("Object", ""))
    if not isinstance(text, str) or len(text) > TEXT_MAX:
        violations.append(Violation(f"{path}.object", f"is not a text of at most {TEXT_MAX} characters"))
        text = ""
    elif UNREADABLE.search(text):
        violations.append(Violation(f"{path}.object", "has a control character or half of a character"))
        text = ""
    return Row(SubAccount(sub_account), amount_fen, fee_fen, mode == "0", number, refund_number, text)


def _text(one: Mapping[str, Any], name: str, path: str, violations: list[Violation], length_max: int = 32) -> str:
    value = one.get(name)
    if not isinstance(value, str) or not value:
        violations.append(Violation(path, "is missing, or not a text"))
        return ""
    if UNREADABLE.search(value):
        violations.append(Violation(path, "has a control character or half of a character"))
        return ""
    if len(value) > length_max:
        violations.append(Violation(path, f"{value} has {len(value)} characters, {length_max} is the most"))
    return value


def _amount(one: Mapping[str, Any], name: str, path: str, violations: list[Violation]) -> int:
    value = one.get(name)
    try:
        if isinstance(value, str) and abs(amount_fen := fen(value)) <= REQUEST_FEN_MAX:
            return amount_fen
    except ValueError:
        pass
    violations.append(Violation(path, f'is {value!r}, not an amount in yuan such as "12.00", of 14 digits at most'))
    return 0


def _mode(row: Row) -> str:
    return "0" if row.is_frozen else "1"


def _plain(row: Row) -> dict[str, str]:
    return {"SubAccNo": row.sub_account, "PayModel": _mode(row), "TranFee": yuan(row.fee_fen)}


def _sub_order(row: Row) -> dict[str, str]:
    return {
        **_plain(row),
        "subamount": yuan(row.amount_fen),
        "suborderId": row.number,
        **({"object": row.text} if row.text else {}),
    }


def _refund(row: Row) -> dict[str, str]:
    return {
        "SubAccNo": row.sub_account,
        "refundModel": _mode(row),
        "RefundTranFee": yuan(row.fee_fen),
        "subrefundamt": yuan(row.amount_fen),
        "suborderId": row.number,
        "subrefundId": row.refund_number,
        **({"object": row.text} if row.text else {}),
    }
