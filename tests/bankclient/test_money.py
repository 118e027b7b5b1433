"""Amounts between fen and the bank's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankclient import MessageInvalid, fen, yuan
from bankclient.money import STATED_FEN_MAX

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("33.0", 3300),
        ("0.00", 0),
        ("7200.0", 720000),
        ("5000", 500000),
        ("-5.00", -500),
        ("-0.01", -1),
        ("0.5", 50),
        ("00012.340", 1234),
        ("00000000000000000012.34000000000000000000", 1234),
        ("92233720368547758.07", 2**63 - 1),
        ("-92233720368547758.08", -(2**63)),
    ],
)
def test_texts_seen_at_the_bank_become_exact_fen(text: str, amount: int) -> None:
    assert fen(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1e2",
        "1E+2",
        "NaN",
        "Infinity",
        "-",
        ".",
        ".5",
        "5.",
        "1,000.00",
        "+1.00",
        " 1.00",
        "1.00\n",
        "1_000",
        "0.001",
        "12.345",
        "999999999.99999999999999999999",
        "-0.00000000000000000001",
        "12345678901234567890.00",
        "１.00",
        "٣.00",
        "92233720368547758.08",
        "9" * 40,
    ],
)
def test_what_is_not_an_exact_number_of_fen_is_refused(text: str) -> None:
    with pytest.raises(MessageInvalid):
        fen(text)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.00"),
        (1, "0.01"),
        (1234, "12.34"),
        (-5, "-0.05"),
        (-500, "-5.00"),
        (2**63 - 1, "92233720368547758.07"),
        (-(2**63), "-92233720368547758.08"),
    ],
)
def test_fen_are_written_with_two_decimals(amount: int, text: str) -> None:
    assert yuan(amount) == text


@pytest.mark.parametrize("amount", [1.0, True, "1", None, 2**63, -(2**63) - 1])
def test_only_an_int_of_64_bits_is_an_amount(amount: object) -> None:
    with pytest.raises(MessageInvalid):
        yuan(amount)  # type: ignore[arg-type]  # what else than an int is refused


def test_the_bank_is_believed_as_much_as_its_longest_amount_is_13_digits_and_two_decimals() -> None:
    assert STATED_FEN_MAX == 1_000_000_000_000_000


@given(INT64)
def test_writing_and_reading_undo_each_other(amount: int) -> None:
    assert fen(yuan(amount)) == amount
