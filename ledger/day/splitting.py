"""The SQL that splits and types the lines of a file, by the rules of bankclient/files/layouts.py.

A line's fields end with `&`. A line with the right number of them is *plain*: its fields are checked here, all lines in
one statement, most of them by a quick look. Any other is read by Python first (`ledger.day.values.Reading`), and its
fields are checked here too. A line that fails a check is kept with the reason and without values; no check can abort a
statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, LiteralString

AMOUNT_MAX_YUAN: Final = 10**13
"""The most, of either sign, that is believed of the bank: 10^15 fen (bankclient/money.py, STATED_FEN_MAX)."""

_AMOUNT: Final = r"^-?[0-9]{1,20}(\.[0-9]{1,2}0{0,18})?$"
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
    f"CASE WHEN {{0}} !~ '{_AMOUNT.replace('{', '{{').replace('}', '}}')}' THEN false"
    f" ELSE abs({{0}}::numeric) <= {AMOUNT_MAX_YUAN} END"
)

_CHECKS: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("number", "{0} ~ '^[0-9]+$'"),
    "amount": ("amount", _AMOUNT_OK),
    "fee": ("amount", _AMOUNT_OK),
    "day": ("day", _DAY_OK),
    "time": ("time", f"{{0}} ~ '^{_TIME}$'"),
}
COLUMNS: Final[LiteralString] = (
    "fault, is_repaired, serial, bank_serial, payer, payer_sub_account, payee, payee_sub_account, amount_fen, fee_fen,"
    " day, time, order_no, booking"
)


def quick(layout: tuple[str, ...], *, member_pays: bool) -> LiteralString:
    """A query for the typed lines that look as the bank writes them, with line, content and digest before
    `COLUMNS`: the right number of fields, amounts with two decimals and no sign, the day of the file. Parameters:
    columns, bank_day, day_text (that day as YYYYMMDD).

    What is not among them goes the longer way (`careful`), so this one may only be too strict. Comparisons of few
    characters cost a third of a regular expression.
    """
    f = _places(layout)
    amounts = [name for name in ("amount", "fee") if name in f]
    digits = " || ".join(f[name] for name in ("number", *amounts, "time") if name in f)
    looks = [
        "cardinality(f) = %(columns)s + 1",
        "f[%(columns)s + 1] = ''",
        f"{f['number']} <> ''",
        f"translate({digits}, '0123456789', '') = '{'.' * len(amounts)}'",
        *(f"length({f[name]}) BETWEEN 4 AND 16 AND left(right({f[name]}, 3), 1) = '.'" for name in amounts),
    ]
    if "time" in f:
        time = f["time"]
        looks += [
            f"{f['day']} = %(day_text)s AND length({time}) = 6 AND {time} COLLATE \"C\" < '240000'",
            f"substr({time}, 3, 1) COLLATE \"C\" < '6' AND substr({time}, 5, 1) COLLATE \"C\" < '6'",
        ]
    values = _values(
        layout,
        member_pays,
        text=lambda name: f[name],
        fen=lambda name: f"replace({f[name]}, '.', '')::bigint",
        day="%(bank_day)s::date",
        time=f"{f['time']}::time" if "time" in f else "NULL::time",
    )
    # Made of constants alone, as is what follows.
    return f"""
    SELECT line, content, NULL::bytea AS digest, '' AS fault, false AS is_repaired, {values}
    FROM (
      SELECT line, content, string_to_array(content, '&') AS f FROM day_staged WHERE content <> '' OFFSET 0
    ) split
    WHERE {" AND ".join(looks)}
    OFFSET 0
    """


def careful(layout: tuple[str, ...], *, member_pays: bool) -> LiteralString:
    """A query for the other lines that have their fields, with line, content and digest before `COLUMNS`; one
    that fails a check has its reason and no values. Parameters: bank_day, columns.
    """
    f = _places(layout)
    checks = "\n".join(
        f"WHEN NOT ({check.format(f[name])}) THEN '{name} is no {what}'"
        for name in layout
        if name in _CHECKS
        for what, check in [_CHECKS[name]]
    )
    values = _values(
        layout,
        member_pays,
        text=lambda name: f"CASE fault WHEN '' THEN {f[name]} ELSE '' END",
        fen=lambda name: f"CASE fault WHEN '' THEN ({f[name]}::numeric * 100)::bigint END",
        day=f"CASE fault WHEN '' THEN {f['day']}::date END" if "day" in f else "%(bank_day)s::date",
        time=f"CASE fault WHEN '' THEN {f['time']}::time END" if "time" in f else "NULL::time",
    )
    return f"""
    SELECT line, NULL::text AS content, digest, fault, is_repaired, {values}
    FROM (
      SELECT *, CASE {checks} ELSE '' END AS fault
      FROM (
        SELECT line, digest, f, is_repaired FROM day_read WHERE fault = ''
        UNION ALL
        SELECT line, sha256(convert_to(content, 'UTF8')), f, false
        FROM (SELECT line, content, string_to_array(content, '&') AS f FROM day_left OFFSET 0) split
        WHERE {_IS_PLAIN}
      ) given
      OFFSET 0
    ) checked
    OFFSET 0
    """


def _places(layout: tuple[str, ...]) -> dict[str, str]:
    return {name: f"f[{number}]" for number, name in enumerate(layout, start=1) if name}


def _values(
    layout: tuple[str, ...],
    member_pays: bool,
    *,
    text: Callable[[str], str],
    fen: Callable[[str], str],
    day: str,
    time: str,
) -> str:
    """The values of a line behind its content and reason. A file with one member a line has the payer or the payee."""
    one, other = ("payer", "payee") if member_pays else ("payee", "payer")
    sides = {name: name for name in ("payer", "payer_sub_account", "payee", "payee_sub_account")}
    if "member" in layout:
        sides |= {one: "member", f"{one}_sub_account": "sub_account", other: "", f"{other}_sub_account": ""}
    texts = [text(name) if name in layout and name else "''" for name in ("serial", "bank_serial", *sides.values())]
    amounts = [fen(name) if name in layout else "0" for name in ("amount", "fee")]
    tail = [text(name) if name in layout else "''" for name in ("order_no", "booking")]
    return ", ".join((*texts, *amounts, day, time, *tail))


_IS_PLAIN: Final[LiteralString] = "cardinality(f) = %(columns)s + 1 AND f[%(columns)s + 1] = ''"

LEFT: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_left AS
SELECT line, content
FROM day_staged s
WHERE content <> '' AND NOT EXISTS (
  SELECT FROM bank_line l WHERE l.platform = %(platform)s AND l.file_id = %(file_id)s AND l.line = s.line
)
"""
"""What `quick` has left: for most files nothing."""

OTHERS: Final[LiteralString] = f"""
SELECT line, content
FROM (SELECT line, content, string_to_array(content, '&') AS f FROM day_left OFFSET 0) split
WHERE NOT ({_IS_PLAIN})
ORDER BY line
"""
"""What Python reads."""

WIDTHS: Final[LiteralString] = """
SELECT length(content) - length(replace(content, '&', '')), count(*) FROM day_staged WHERE content <> '' GROUP BY 1
"""

STAGING: Final[LiteralString] = """
CREATE TEMPORARY TABLE day_staged (line INTEGER GENERATED ALWAYS AS IDENTITY, content TEXT NOT NULL);
CREATE TEMPORARY TABLE day_read (
  line INTEGER NOT NULL, digest BYTEA NOT NULL, f TEXT[], is_repaired BOOLEAN NOT NULL, fault TEXT NOT NULL
);
CREATE TEMPORARY TABLE day_piece (
  piece INTEGER NOT NULL, digest BYTEA NOT NULL, key_id TEXT NOT NULL, content BYTEA NOT NULL
)
"""
