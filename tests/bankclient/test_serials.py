"""Serial numbers of both sides."""

from datetime import date

import pytest

from bankclient import (
    MessageInvalid,
    booking_date,
    consumer_serial,
    is_consumer_serial,
    row_serial,
)

DAY = date(2024, 11, 5)


def test_a_request_serial_is_uid_day_and_ten_digits() -> None:
    serial = consumer_serial("X28550", DAY, 123456789)
    assert serial == "X285502411050123456789"
    assert is_consumer_serial(serial, "X28550")


def test_a_row_serial_is_day_and_fourteen_digits() -> None:
    assert row_serial(DAY, 7) == "24110500000000000007"


@pytest.mark.parametrize("number", [-1, 10**10])
def test_a_number_that_does_not_fit_is_refused_rather_than_wrapped(number: int) -> None:
    with pytest.raises(MessageInvalid):
        consumer_serial("X28550", DAY, number)


def test_a_row_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MessageInvalid):
        row_serial(DAY, 10**14)


@pytest.mark.parametrize("uid", ["", "X2855", "X285501", "X2855é", "X2855 "])
def test_a_uid_of_another_form_is_refused(uid: str) -> None:
    with pytest.raises(MessageInvalid):
        consumer_serial(uid, DAY, 1)


def test_the_booking_date_is_the_head_of_the_banks_serial() -> None:
    assert booking_date("1911060076971376") == date(2019, 11, 6)


@pytest.mark.parametrize("front_seq_no", ["", "19110", "19130600", "ABCDEF00", "１９１１０６"])
def test_a_bank_serial_without_a_date_is_refused(front_seq_no: str) -> None:
    with pytest.raises(MessageInvalid):
        booking_date(front_seq_no)


@pytest.mark.parametrize("serial", ["X28550241105012345678", "Y285502411050123456789", "X28550241105012345678é"])
def test_a_serial_of_another_user_or_length_is_recognised(serial: str) -> None:
    assert not is_consumer_serial(serial, "X28550")
