"""The SQL that types the lines of a file, by the rules of bankclient/files/layouts.py.

A line is cut into its fields before (`ledger.day.loading`); `day_staged` has them as text. A line that looks as the
bank writes them is typed by comparisons of few characters, which cost a third of a regular expression; any other by
the rules in full. A line that fails one is kept with the reason and without values; no check can abort the statement.
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


def staging(columns: int) -> LiteralString:
    """Tables for the lines of a file of so many columns: `day_staged` for those that have their fields, `day_read` for
    those that Python has read one by one, with the reason where it found no fields. ``rest`` is what follows the last
    `&`: nothing. A line that is no row of `day_staged` keeps its number there, with NULL for its first field.
    """
    fields = ", ".join(f"f{number} TEXT" for number in range(1, columns + 1))
    return f"""
    DROP TABLE IF EXISTS day_staged, day_read, day_piece;
    CREATE TEMPORARY TABLE day_staged (line INTEGER GENERATED ALWAYS AS IDENTITY (CACHE 1000), {fields}, rest TEXT);
    CREATE TEMPORARY TABLE day_read (
      line INTEGER NOT NULL, digest BYTEA NOT NULL, is_repaired BOOLEAN NOT NULL, fault TEXT NOT NULL, {fields}
    );
    CREATE TEMPORARY TABLE day_piece (
      piece INTEGER NOT NULL, digest BYTEA NOT NULL, key_id TEXT NOT NULL, content BYTEA NOT NULL
    )
    """


def names(columns: int) -> LiteralString:
    """The fields of a line in these tables."""
    return ", ".join(f"f{number}" for number in range(1, columns + 1))


def content(columns: int) -> LiteralString:
    """A line of `day_staged` as the bank wrote it, in UTF-8."""
    return f"convert_to(concat_ws('&', {names(columns)}, ''), 'UTF8')"


def typed(layout: tuple[str, ...], *, member_pays: bool) -> LiteralString:
    """A query for all lines of a file, each with its fields, its digest where Python has read it, and `COLUMNS`.
    Parameters: bank_day, day_text (that day as YYYYMMDD).
    """
    f = {name: f"f{number}" for number, name in enumerate(layout, start=1) if name}
    checks = "\n".join(
        f"WHEN NOT ({check.format(f[name])}) THEN '{name} is no {what}'"
        for name in layout
        if name in _CHECKS
        for what, check in [_CHECKS[name]]
    )
    values = _values(
        layout,
        member_pays,
        text=lambda name: f"CASE WHEN is_good THEN {f[name]} ELSE '' END",
        fen=lambda name: (
            f"CASE WHEN is_usual THEN replace({f[name]}, '.', '')::bigint"
            f" WHEN is_good THEN ({f[name]}::numeric * 100)::bigint END"
        ),
        day="CASE WHEN is_usual THEN %(bank_day)s::date "
        + (f"WHEN is_good THEN {f['day']}::date END" if "day" in f else "WHEN is_good THEN %(bank_day)s::date END"),
        time=f"CASE WHEN is_good THEN {f['time']}::time END" if "time" in f else "NULL::time",
    )
    every = names(len(layout))
    # Made of constants alone.
    return f"""
    SELECT line, {every}, digest, fault, is_repaired, {values}
    FROM (
      SELECT *, fault = '' AS is_good
      FROM (
        SELECT
          line, {every}, digest, is_repaired, is_usual,
          CASE WHEN is_usual THEN '' WHEN unread <> '' THEN unread {checks} ELSE '' END AS fault
        FROM (
          SELECT *, {_looks_usual(f)} AS is_usual
          FROM (
            SELECT line, {every}, NULL::bytea AS digest, false AS is_repaired, '' AS unread
            FROM day_staged WHERE f1 IS NOT NULL
            UNION ALL
            SELECT line, {every}, digest, is_repaired, fault FROM day_read
          ) given
          OFFSET 0
        ) looked_at
        OFFSET 0
      ) checked
      OFFSET 0
    ) good
    OFFSET 0
    """


def _looks_usual(f: Mapping[str, str]) -> str:
    """Amounts with two decimals and no sign, the day of the file: it may only be too strict."""
    amounts = [name for name in ("amount", "fee") if name in f]
    digits = " || ".join(f[name] for name in ("number", *amounts, "time") if name in f)
    looks = [
        f"{f['number']} <> ''",
        f"translate({digits}, '0123456789', '') = '{'.' * len(amounts)}'",
        *(f"octet_length({f[name]}) BETWEEN 4 AND 16 AND {f[name]} LIKE '%%.__'" for name in amounts),
    ]
    if "time" in f:
        time = f["time"]
        looks += [
            f"{f['day']} = %(day_text)s AND octet_length({time}) = 6 AND {time} COLLATE \"C\" < '240000'",
            f"substr({time}, 3, 1) COLLATE \"C\" < '6' AND substr({time}, 5, 1) COLLATE \"C\" < '6'",
        ]
    return f"coalesce({' AND '.join(looks)}, false)"


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
