"""The wire for any content: the text that both sides sign against a second reading of transport.md 2.3, amounts and
serials against what they promise.

The second reading was written from the document and walks the other way: it lists every text with the path that leads
to it, and only then decides which of them count.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bankclient import BankCertificate, MessageInvalid, canonical_string, sign, verify
from bankclient.canonical import shadowed_fields
from bankclient.money import FEN_MAX, FEN_MIN, fen, yuan
from bankclient.serials import consumer_serial, is_consumer_serial, row_serial
from bankclient.signing import escape_for_approve, unescape_from_approve
from tests.bankclient.keys import Keys

NEVER_SIGNED = ("RsaSign", "errorCode", "errorMsg")

texts = st.one_of(
    st.sampled_from(("", "null", "a", "A", "1", "=", "&", " ", "\n", "中", "𠮷", "\uffff", "\ue000")),
    st.text(max_size=6),
)
keys_of_objects = st.one_of(st.sampled_from((*NEVER_SIGNED, "a", "b", "ab", "B", "中", "𠮷", "\uffff")), texts)
unsigned = st.one_of(st.integers(), st.booleans(), st.none(), st.decimals(allow_nan=False))
values = st.recursive(
    st.one_of(texts, unsigned),
    lambda inner: st.one_of(
        st.dictionaries(keys_of_objects, inner, max_size=4),
        st.lists(st.one_of(texts, st.dictionaries(keys_of_objects, inner, max_size=3)), max_size=4),
    ),
    max_leaves=20,
)
bodies = st.dictionaries(keys_of_objects, values, max_size=6)


def listed(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Rule 1: every text inside an object, in the order of the document, with the key it is signed under."""
    for key, inside in value.items():
        here = path + key
        for one in inside if isinstance(inside, list) else [inside]:
            if isinstance(one, dict):
                yield from listed(here, one)
            elif isinstance(one, str):
                # A text in an array names itself, behind what stands before the array.
                yield (path + one if isinstance(inside, list) else here), one


def units(key: str) -> list[int]:
    """Rule 4: UTF-16 code units, as Java counts them."""
    found = []
    for character in key:
        code = ord(character)
        if code > 0xFFFF:
            found += [0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF)]
        else:
            found.append(code)
    return found


def second_reading(body: dict[str, Any]) -> str:
    """Rules 2, 3 and 5: the last under a key counts, what says nothing is dropped, the rest is strung together."""
    top = {key: value for key, value in body.items() if key not in NEVER_SIGNED}
    every = list(listed("", top))
    last = {key: [text for other, text in every if other == key][-1] for key, _ in every}
    kept = sorted((key for key in last if last[key] not in ("", "null")), key=units)
    return "".join(key + "=" + last[key] + "&" for key in kept)


def is_half(text: str) -> bool:
    """Whether a text holds half a pair, for which UTF-8 has no bytes."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def has_no_form(value: Any, depth: int = 1) -> bool:
    """Whether rule 1 gives nothing to sign: an array of something else, or deeper than any message."""
    if isinstance(value, dict):
        return depth > 32 or any(has_no_form(inside, depth + 1) for inside in value.values())
    if isinstance(value, list):
        return any(not isinstance(one, str | dict) or has_no_form(one, depth) for one in value)
    return False


@given(bodies)
def test_any_body_is_signed_as_a_second_reading_of_the_document_says(body: dict[str, Any]) -> None:
    assert canonical_string(body).decode() == second_reading(body)


halves = st.sampled_from(("\ud83d", "a\udc00", "\ude00\ud83d"))
keys_or_halves = st.one_of(keys_of_objects, halves)
anything = st.recursive(
    st.one_of(texts, halves, unsigned),
    lambda inner: st.one_of(st.dictionaries(keys_or_halves, inner, max_size=4), st.lists(inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(keys_or_halves, anything, max_size=5))
def test_both_readings_refuse_the_same(body: dict[str, Any]) -> None:
    top = {key: value for key, value in body.items() if key not in NEVER_SIGNED}
    wanted = None if has_no_form(top) else second_reading(body)
    if wanted is None or is_half(wanted):
        with pytest.raises(MessageInvalid):
            canonical_string(body)
    else:
        assert canonical_string(body).decode() == wanted


@given(st.integers(1, 60), st.booleans())
def test_objects_are_read_to_a_depth_of_thirty_two(depth: int, in_arrays: bool) -> None:
    body: dict[str, Any] = {"a": "1"}
    for _ in range(depth - 1):
        body = {"a": [body] if in_arrays else body}
    assert has_no_form(body) == (depth > 32)
    if depth > 32:
        for read in (canonical_string, shadowed_fields):
            with pytest.raises(MessageInvalid):
                read(body)
    else:
        assert canonical_string(body).decode() == second_reading(body) == "a" * depth + "=1&"


names = st.text("abc", min_size=1, max_size=4)


@given(st.dictionaries(names, st.text("xy", min_size=1), min_size=1), st.data())
def test_no_field_can_be_moved_into_another_unseen(body: dict[str, str], data: st.DataObject) -> None:
    places = {name: (name,) for name in body}
    assert shadowed_fields(body, places) == set()
    name = data.draw(st.sampled_from(sorted(body)))
    cut = data.draw(st.integers(0, len(name)))
    assume(cut == len(name) or name[:cut] not in body)
    moved: dict[str, Any] = {key: value for key, value in body.items() if key != name}
    inside = {name[cut:]: body[name]}
    moved[name[:cut]] = data.draw(st.sampled_from((inside, [inside], {"": inside})))
    assert canonical_string(moved).decode() == second_reading(body)
    assert shadowed_fields(moved, places) == {name}


@given(bodies, st.data())
def test_the_order_of_fields_and_what_is_never_signed_do_not_matter(body: dict[str, Any], data: st.DataObject) -> None:
    # Two paths that make one key are told apart by their order alone, so only bodies without arrays and objects.
    flat = {key: value for key, value in body.items() if not isinstance(value, dict | list)}
    shuffled = dict(data.draw(st.permutations(list(flat.items()))))
    more = {name: data.draw(texts) for name in NEVER_SIGNED}
    assert canonical_string({**shuffled, **more}) == canonical_string(flat)


@given(bodies)
def test_what_was_signed_is_verified_and_nothing_else(keys: Keys, body: dict[str, Any]) -> None:
    content = canonical_string(body)
    signature = sign(keys.bank, content)
    bank = BankCertificate.from_bytes(keys.bank_pem)
    assert bank.verify(content, signature)
    assert verify(keys.bank.public_key(), content, signature)
    assert not bank.verify(content + b"&", signature)
    assert unescape_from_approve(escape_for_approve(signature)) == signature


@given(
    st.lists(st.one_of(texts, st.dictionaries(texts, texts, max_size=2)), max_size=2),
    st.one_of(st.integers(), st.booleans(), st.none(), st.lists(texts)),
    st.data(),
)
def test_an_array_with_anything_but_texts_and_objects_is_refused(
    good: list[Any], bad: Any, data: st.DataObject
) -> None:
    array = data.draw(st.permutations([*good, bad]))
    for body in ({"rows": array}, {"rows": [{"inside": array}]}, {"a": {"b": array}}):
        assert has_no_form(body)
        for read in (canonical_string, shadowed_fields):
            with pytest.raises(MessageInvalid):
                read(body)


@given(st.integers(FEN_MIN, FEN_MAX))
def test_an_amount_comes_back_from_the_wire_as_it_went(amount_fen: int) -> None:
    text = yuan(amount_fen)
    assert fen(text) == amount_fen
    assert Fraction(text) * 100 == amount_fen
    assert "e" not in text.lower()


numerals = st.one_of(
    st.text(max_size=30),
    st.decimals().map(str),
    st.floats().map(str),
    st.from_regex(r"-?\d+(\.\d*)?"),
    # More digits than Decimal keeps by itself.
    st.from_regex(r"-?[0-9]{10,20}\.([09]{10,20}|[0-9]{10,20})", fullmatch=True),
)


@given(numerals)
def test_a_text_is_read_to_the_fen_or_refused(text: str) -> None:
    try:
        amount_fen = fen(text)
    except MessageInvalid:
        return
    assert FEN_MIN <= amount_fen <= FEN_MAX
    assert Fraction(text) * 100 == amount_fen


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)), st.lists(st.integers(0, 10**10 - 1), min_size=2, unique=True))
def test_numbers_of_a_day_make_serials_that_differ(day: date, numbers: list[int]) -> None:
    own = [consumer_serial("X28550", day, number) for number in numbers]
    rows = [row_serial(day, number) for number in numbers]
    assert len({*own, *rows}) == 2 * len(numbers)
    assert {len(serial) for serial in own} == {22}
    assert {len(serial) for serial in rows} == {20}
    assert all(is_consumer_serial(serial, "X28550") and serial.isascii() and serial.isalnum() for serial in own)
