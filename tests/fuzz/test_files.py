"""Whatever a reconciliation file holds: an error of its own family, or rows that are what was written."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankclient import BankError, FileKind, MessageInvalid
from bankclient.files import open_envelope, plain_name, read_rows
from bankclient.files.frames import read_frame, request_frame
from tests.bankclient.test_files import CZ, JY, PASSWORD, sealed, zipped

KINDS = get_args(FileKind)
LINES = (CZ, JY, "total", "1&", "&" * 40, "9" * 100, "序号", "-1&0.001&1e5", "\ufeff" + CZ)
AMOUNTS = (
    "-0.01",
    "0.001",
    "1e3",
    "9" * 30,
    "999999999.99999999999999999999",
    "",
    " 1.00",
    "1,000.00",
    "٣.٠٠",
    "NaN",
    "1.00",
)


def broken(content: bytes, dice: Random) -> bytes:
    place = dice.randrange(len(content))
    match dice.randrange(4):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + dice.randbytes(8) + content[place:]
        case 2:
            return content[:place] + bytes([content[place] ^ (1 << dice.randrange(8))]) + content[place + 1 :]
        case _:
            return dice.randbytes(dice.randrange(200))


@pytest.mark.parametrize("seed", range(4))
def test_an_envelope_that_was_broken_gives_its_text_or_an_error_that_says_so(seed: int) -> None:
    dice, text = Random(seed), f"{CZ}\n{CZ}\n"
    packed = zipped(text.encode("gb18030"))
    refused = 0
    for _ in range(150):
        # In the ciphertext, or in what was packed before it was encrypted.
        content = broken(sealed(packed), dice) if dice.random() < 0.5 else sealed(broken(packed, dice))
        try:
            opened = open_envelope(content, PASSWORD, 10_000)
        except BankError:
            refused += 1
        else:
            # The zip's checksum is over the text: it is the text, or one in which nothing was left.
            assert opened in (text, "")
    assert refused > 100


@given(st.sampled_from(KINDS), st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=60)), max_size=5))
def test_any_text_is_rows_and_what_is_none_is_told_apart(kind: str, lines: list[str]) -> None:
    try:
        rows = read_rows(kind, "\n".join(lines))
    except BankError:
        return
    assert len(rows.good) + len(rows.bad) <= sum(len(line.splitlines()) for line in lines)


@given(st.sampled_from((CZ, JY)), st.data())
def test_an_amount_is_read_to_the_fen_or_its_row_is_set_aside(line: str, data: st.DataObject) -> None:
    fields = line.split("&")
    place = data.draw(st.sampled_from([index for index, one in enumerate(fields) if "." in one]))
    amount = data.draw(st.one_of(st.sampled_from(AMOUNTS), st.decimals(allow_nan=False, places=2).map(str)))
    fields[place] = amount
    rows = read_rows("CZ" if line is CZ else "JY", "&".join(fields))
    for row in rows.good:
        assert Fraction(amount) * 100 in (row.amount_fen, row.fee_fen)
        assert amount in row.fields.values()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_refused(content: bytes) -> None:
    try:
        read_frame(content)
    except (BankError, MessageInvalid):
        return


@given(st.data())
def test_a_frame_that_was_broken_is_refused_or_read(data: st.DataObject) -> None:
    whole = request_frame({"a": "1", "b": "丙"})
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:place] + data.draw(st.binary(min_size=1, max_size=4)) + whole[place + 1 :]
    try:
        read_frame(changed)
    except (BankError, MessageInvalid):
        return


@given(st.text())
def test_a_file_name_never_leads_out_of_its_folder(name: str) -> None:
    try:
        plain = plain_name(name)
    except (BankError, MessageInvalid):
        return
    assert plain not in ("", ".", "..")
    assert not set("/\\\0") & set(plain)
