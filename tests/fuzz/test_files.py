"""Whatever a reconciliation file holds: an error of its own family, or rows that are what was written."""

from __future__ import annotations

import re
from fractions import Fraction
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankclient import BankError, FileKind, MessageInvalid
from bankclient.files import open_envelope, plain_name
from bankclient.files.frames import read_frame, request_frame
from tests.bankclient.files import CZ, CZ_WITHOUT_NAME, JY, PASSWORD, YE, read_rows, sealed, zipped
from tests.fuzz.spoiling import broken

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
            assert opened == text
    assert refused > 100


@given(st.sampled_from(KINDS), st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=60)), max_size=5))
def test_any_text_is_rows_and_what_is_none_is_told_apart(kind: str, lines: list[str]) -> None:
    text = "\n".join(lines)
    rows = read_rows(kind, text)
    written = [line for line in text.split("\n") if line.removesuffix("\r")]
    assert len(rows.good) + len(rows.bad) + rows.has_header == len(written)
    assert [row.text for row in rows.bad] == [text.split("\n")[row.line - 1].removesuffix("\r") for row in rows.bad]
    for row in rows.good:
        assert "&".join([*row.fields.values(), ""]) == text.split("\n")[row.line - 1].removesuffix("\r")


def is_plain(amount: str) -> bool:
    """Whether a text is an amount of whole fen that an account could have."""
    if re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", amount) is None:
        return False
    fen = Fraction(amount) * 100
    return fen.denominator == 1 and abs(fen) <= 10**15


@given(
    st.sampled_from((("CZ", CZ), ("CZ", CZ_WITHOUT_NAME), ("TX", CZ), ("TX", CZ_WITHOUT_NAME), ("JY", JY), ("YE", YE))),
    st.booleans(),
    st.one_of(st.sampled_from(AMOUNTS), st.decimals(allow_nan=False, places=2).map(str)),
)
def test_an_amount_is_read_to_the_fen_or_its_row_is_set_aside(file: tuple[str, str], is_fee: bool, amount: str) -> None:
    kind, line = file
    fields = line.split("&")
    places = [index for index, one in enumerate(fields) if "." in one]
    said = {"amount": fields[places[0]], "fee": fields[places[-1]] if len(places) > 1 else "0"}
    which = "fee" if is_fee and len(places) > 1 else "amount"
    fields[places[-1 if which == "fee" else 0]] = said[which] = amount
    # A sound row before it keeps the layout what it is.
    rows = read_rows(kind, line + "\n" + "&".join(fields))
    assert len(rows.good) == 1 + is_plain(amount)
    assert len(rows.bad) == 1 - is_plain(amount)
    for row in rows.good[1:]:
        assert Fraction(row.amount_fen) == Fraction(said["amount"]) * 100
        assert Fraction(row.fee_fen) == Fraction(said["fee"]) * 100


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
    assert len(plain) <= 255 - len(".new")
