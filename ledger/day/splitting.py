"""The SQL that splits and types the lines of a file, by the rules of bankclient/files/layouts.py.

A line's fields end with `&`. A line with the right number of them is *plain*: its fields are checked here, all lines in
one statement. Any other is read by Python first (`ledger.day.values.Reading`), and its fields are checked here too. A
line that fails a check is kept with the reason and without values; no check can abort the statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, LiteralString

AMOUNT_MAX_YUAN: Final = 10**13
"""The most, of either sign, that is believed of the bank: 10^15 fen (bankclient/money.py, STATED_FEN_MAX)."""

_NUMBER: Final = "[0-9]+"
_AMOUNT: Final = r"-?[0-9]{1,13}\.[0-9]{2}"
"""As the bank writes amounts; other forms of one are good as well, and go the longer way."""
_AMOUNT_AT_ALL: Final = r"^-?[0-9]{1,20}(\.[0-9]{1,2}0{0,18})?$"
_TIME: Final = "([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]"

_DAY_OK: Final = """
CASE WHEN {0} !~ '^[0-9]{{8}}$' THEN false
ELSE substr({0}, 1, 4) <> '0000' AND substr({0}, 5, 2) BETWEEN '01' AND '12' AND substr({0}, 7, 2) BETWEEN '01' AND (
  CASE
    WHEN substr({0}, 5, 2) IN ('04', '06', '09', '11') THEN '30'
    WHEN substr({0}, 5, 2) <> '02' THEN '31'
    WHEN mod(substr({0}, 1, 4)::int, 4) = 0
      AND (mod(substr({0}, 1, 4)::int, 100) <> 0 OR mod(substr({0}, 1, 4)::int, 400) = 0) THEN '29'
    ELSE '28'
  END
) END
"""
_AMOUNT_OK: Final = (
    f"CASE WHEN {{0}} !~ '{_AMOUNT_AT_ALL.replace('{', '{{').replace('}', '}}')}' THEN false"
    f" ELSE abs({{0}}::numeric) <= {AMOUNT_MAX_YUAN} END"
)

_CHECKS: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("number", f"{{0}} ~ '^{_NUMBER}$'"),
    "amount": ("amount", _AMOUNT_OK),
    "fee": ("amount", _AMOUNT_OK),
    "day": ("day", _DAY_OK),
    "time": ("time", f"{{0}} ~ '^{_TIME}$'"),
}
_QUICK: Final[Mapping[str, str]] = {"number": _NUMBER, "amount": _AMOUNT, "fee": _AMOUNT, "time": _TIME}

COLUMNS: Final[LiteralString] = (
    "platform, file_id, line, digest, fault, is_repaired, serial, bank_serial, payer, payer_sub_account, payee,"
    " payee_sub_account, amount_fen, fee_fen, day, time, order_no, booking"
)


def typed(layout: tuple[str, ...], source: str, *, member_pays: bool) -> LiteralString:
    """A query for the typed lines of ``source``, a query of (line, digest, fields, is_repaired), in the order of
    `COLUMNS`. Parameters: platform, file_id, bank_day (a date).

    One regular expression looks at what most lines have; only a line that it does not match is looked at column by
    column. Where a line has one member, that is the payer or the payee (``member_pays``).
    """
    place = {name: f"f[{number}]" for number, name in enumerate(layout, start=1) if name}
    quick = [name for name in layout if name in _QUICK]
    joined = " || ' ' || ".join(place[name] for name in quick)
    pattern = " ".join(_QUICK[name] for name in quick)
    same_day = f" AND {place['day']} = to_char(%(bank_day)s::date, 'YYYYMMDD')" if "day" in place else ""
    checks = "\n".join(
        f"WHEN NOT ({check.format(place[name])}) THEN '{name} is no {what}'"
        for name in layout
        if name in _CHECKS
        for what, check in [_CHECKS[name]]
    )
    one, other = ("payer", "payee") if member_pays else ("payee", "payer")
    member = {one: "member", f"{one}_sub_account": "sub_account", other: "", f"{other}_sub_account": ""}
    sides = member if "member" in place else {name: name for name in member}

    def text(name: str) -> str:
        return f"CASE fault WHEN '' THEN {place[name]} ELSE '' END" if name in place else "''"

    def fen(name: str) -> str:
        if name not in place:
            return "0"
        field = place[name]
        return (
            f"CASE WHEN fault <> '' THEN NULL WHEN is_quick THEN replace({field}, '.', '')::bigint"
            f" ELSE ({field}::numeric * 100)::bigint END"
        )

    day = (
        f"CASE WHEN fault <> '' THEN NULL WHEN is_quick THEN %(bank_day)s::date ELSE {place['day']}::date END"
        if "day" in place
        else "%(bank_day)s::date"
    )
    time = f"CASE fault WHEN '' THEN {place['time']}::time END" if "time" in place else "NULL::time"
    # Made of the constants above alone.
    return f"""
    SELECT
      %(platform)s::text, %(file_id)s::bigint, line, digest, fault, is_repaired, {text("serial")},
      {text("bank_serial")},
      {", ".join(text(sides[name]) for name in ("payer", "payer_sub_account", "payee", "payee_sub_account"))},
      {fen("amount")}, {fen("fee")}, {day}, {time}, {text("order_no")}, {text("booking")}
    FROM (
      SELECT
        *,
        CASE WHEN is_quick THEN ''
        {checks}
        ELSE '' END AS fault
      FROM (
        SELECT line, digest, f, is_repaired, {joined} ~ '^{pattern}$'{same_day} AS is_quick
        FROM ({source}) given
        OFFSET 0
      ) looked_at
      OFFSET 0
    ) checked
    """


PLAIN: Final[LiteralString] = """
SELECT line, sha256(convert_to(content, 'UTF8')) AS digest, f, false AS is_repaired
FROM (
  SELECT line, content, string_to_array(content, '&') AS f FROM day_staged WHERE content <> '' OFFSET 0
) split
WHERE cardinality(f) = %(columns)s + 1 AND f[%(columns)s + 1] = ''
"""
"""The lines that have as many fields as the file has columns, and nothing behind the last `&`."""

OTHERS: Final[LiteralString] = """
SELECT line, content
FROM day_staged
WHERE content <> ''
  AND (length(content) - length(replace(content, '&', '')) <> %(columns)s OR right(content, 1) <> '&')
ORDER BY line
"""

WIDTHS: Final[LiteralString] = """
SELECT length(content) - length(replace(content, '&', '')), count(*) FROM day_staged WHERE content <> '' GROUP BY 1
"""

READ_BY_PYTHON: Final[LiteralString] = "SELECT line, digest, f, is_repaired FROM day_read WHERE fault = ''"

STAGING: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_staged (line INTEGER GENERATED ALWAYS AS IDENTITY, content TEXT NOT NULL);
CREATE TEMPORARY TABLE day_read (
  line INTEGER NOT NULL, digest BYTEA NOT NULL, f TEXT[], is_repaired BOOLEAN NOT NULL, fault TEXT NOT NULL
);
CREATE TEMPORARY TABLE day_piece (
  piece INTEGER NOT NULL, digest BYTEA NOT NULL, key_id TEXT NOT NULL, content BYTEA NOT NULL
)
"""
