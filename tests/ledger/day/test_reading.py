"""SQL splits lines as bankclient/files/layouts.py reads them: which are good, bad and repaired, and their sums."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial

import pytest

from bankclient import examine
from bankclient.files.envelope import split_lines
from bankclient.files.layouts import good_rows
from ledger.day import FileType, LineState
from tests.ledger.bookkeeping import ask
from tests.ledger.day.conftest import Bank
from tests.ledger.day.files import cash, jy, ye

AMOUNTS = (
    *("1.00", "33.0", "7200", "-5.00", "0.00", "1.001", "1.1000", "1.10000000000000000000", "1.1000000000000000001"),
    *("", ".5", "1.", "+1", "1e3", "--1", "0001.00", "10000000000000.00", "10000000000000.01", "9" * 20, "9" * 21),
    *("１.00", " 1.00", "1.00 ", "1,000.00", "-0.00", "99999999999999999999.99"),
)
DAYS = ("20261123", "20261122", "20260229", "20280229", "21000229", "20000229", "00000101", "00010101", "20261301")
MORE_DAYS = ("20260431", "2026112", "202611230", "2026112a", "20260100", "20261232", "２0261123", "")
TIMES = ("000000", "235959", "240000", "236000", "235960", "12000", "1200000", "12:00:", "ab0000", "")
NUMBERS = ("1", "007", "", "-1", "a", "１", "1 ")
TEXTS = ("", "甲", "a\\b", "a\tb", "x&y", "&", "NULL", "\\N", "\\.", "𠮷", "a\rb", '"', "'", "{}", "€", "{1,2}", "\0")
SUBS = ("9930000000001000", "993000000000100", "1001", "", "99300000000010００")


def spoiled(dice: random.Random, line: str, kind: str) -> bytes:
    """A line with up to three fields changed, perhaps one too many or too few, perhaps not GB18030."""
    fields = line.removesuffix("&").split("&")
    amounts = {"CZ": (4, 5), "TX": (4, 5), "JY": (8, 9), "YE": (3,)}[kind]
    when = {"CZ": (6, 7), "TX": (6, 7), "JY": (10, 11), "YE": ()}[kind]
    for _ in range(dice.choice((0, 0, 1, 1, 2, 3))):
        place = dice.randrange(len(fields))
        choices: Sequence[str] = TEXTS
        if place == 0:
            choices = NUMBERS
        elif place in amounts:
            choices = AMOUNTS
        elif place in when:
            choices = TIMES if place == when[1] else (*DAYS, *MORE_DAYS)
        elif dice.random() < 0.3:
            choices = SUBS
        fields[place] = dice.choice(choices)
    whole = "".join(f"{field}&" for field in fields)
    spoil = dice.random()
    if spoil < 0.03:
        whole = whole[:-1]
    elif spoil < 0.06:
        whole += "x"
    elif spoil < 0.09:
        whole = whole.replace("&", "&&", 1)
    elif spoil < 0.12:
        whole = whole.replace("&", "", 1)
    raw = whole.replace("\n", "").encode("gb18030")
    if dice.random() < 0.04:
        at = dice.randrange(len(raw) + 1)
        raw = raw[:at] + dice.choice((b"\xff", b"\x80", b"\x81", b"\x81\x30")) + raw[at:]
    return raw


def made(dice: random.Random, kind: str, rows: int) -> bytes:
    """A file of that kind with much that is wrong in it."""
    lines = []
    for number in range(rows):
        whole = "9930000000001000"
        if kind == "JY":
            line = jy(f"S{number}", number * 7, number, number=number).replace("&1001&", f"&{whole}&")
            line = line.replace("&1002&", "&9930000000001001&")
        elif kind == "YE":
            line = ye(whole, number * 7, number=number)
        else:
            line = cash(f"S{number}", number * 7, number, number=number).replace("&1001&", f"&{whole}&")
        lines.append(spoiled(dice, line, kind))
        if dice.random() < 0.05:
            lines.append(b"")
    if dice.random() < 0.3:
        lines.insert(0, "序号&会员代码&金额&".encode("gb18030"))
    if kind in ("CZ", "TX") and dice.random() < 0.5:
        # The layout without a name.
        lines = [one.replace("&甲&".encode("gb18030"), b"&", 1) for one in lines]
    ends = b"\r\n" if dice.random() < 0.3 else b"\n"
    return ends.join(lines) + (ends if dice.random() < 0.7 else b"")


@pytest.mark.parametrize("kind", ["CZ", "TX", "JY", "YE"])
async def test_sql_and_python_agree_on_every_line(bank: Bank, kind: str) -> None:
    dice = random.Random(f"reading {kind}")
    for turn in range(6):
        content = made(dice, kind, 250)
        lines_of = partial(split_lines, [content])
        examined = examine(kind, lines_of)
        good = {row.line: row for row in good_rows(kind, lines_of, examined)}
        loaded = await bank.load_bytes(content, FileType(kind))
        file = loaded.file
        assert (file.rows - file.bad_rows, file.bad_rows) == (examined.good_rows, examined.bad_rows), turn
        assert file.repaired_rows == examined.repaired_rows
        assert (file.amount_fen, file.fee_fen) == (examined.amount_fen, examined.fee_fen)
        lines = {one.line: one for one in await bank.days.lines(file.file_id, 0, 10_000)}
        reasons = {row.line: row.reason for row in examined.bad}
        assert {line for line, one in lines.items() if one.state is LineState.UNREADABLE} == reasons.keys()
        for number, one in lines.items():
            if number in reasons:
                assert one.fault == reasons[number], (turn, number)
                continue
            row = good[number]
            assert (one.amount_fen, one.fee_fen, one.is_repaired) == (row.amount_fen, row.fee_fen, row.is_repaired)
            for name, value in (("serial", one.serial), ("front_seq_no", one.bank_serial), ("order_no", one.order_no)):
                assert value == row.fields.get(name, "").replace("\0", "?"), (turn, number, name)
            if "day" in row.fields:
                assert f"{one.day:%Y%m%d}{one.time:%H%M%S}".zfill(14) == row.fields["day"] + row.fields["time"]
            sides = (one.payer or one.payee, one.payer_sub_account or one.payee_sub_account)
            if kind != "JY":
                wanted = (row.fields["member_code"], row.fields["sub_account"])
                assert sides == tuple(text.replace("\0", "?") for text in wanted)
        await asyncio.sleep(0)
    assert ask(bank.mirror.dsn, "SELECT count(DISTINCT version) FROM bank_file") == [(6,)]
