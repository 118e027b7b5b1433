"""Settings that contradict the bank's rules are refused where they are read."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from bankclient import BankSettings

Make = Callable[..., BankSettings]


@pytest.mark.parametrize(
    "url", ["https://bank.example/", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"]
)
def test_addresses_are_https_or_this_machine(make_settings: Make, url: str) -> None:
    assert make_settings(base_url=url).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bank.example",
        "http://bank.example",
        "ftp://localhost",
        "http://127.0.0.1.bank.example",
        "https://user:secret@bank.example",
        "https://bank.example?x=1",
    ],
)
def test_other_addresses_are_refused_without_repeating_them(make_settings: Make, url: str) -> None:
    with pytest.raises(ValidationError) as raised:
        make_settings(base_url=url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        {"mrch_code": "993"},
        {"mrch_code": "99301"},
        {"uid": "X2855"},
        {"connect_tries": 0},
        {"timeout_s": 0},
        {"extra_public_fields": {"CnsmrSeqNo": "x"}},
        {"extra_public_fields": {"ValidTerm": "x&TranAmt=1"}},
        {"extra_public_fields": {"ValidTerm=x&TranAmt": "1"}},
        {"app_id": "x&TranAmt=1"},
        {"fund_summary_acct_no": "x&TranAmt=1"},
        {"txn_code_prefix": "x&T=1"},
        {"service_ids": {"6167": "no/path"}},
        {"service_ids": {"6167": ""}},
        {"unknown_setting": 1},
    ],
    ids=repr,
)
def test_a_setting_out_of_its_range_is_refused(make_settings: Make, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_settings(**change)


def test_the_password_is_not_printed(make_settings: Make) -> None:
    assert "horse" not in repr(make_settings())


@pytest.mark.parametrize("code", ["000000", "ERR957", "ERR248", "ERR160"])
def test_an_exception_of_the_bank_cannot_be_set_to_be_a_refusal(make_settings: Make, code: str) -> None:
    assert make_settings(clean_refusals=["ERR777"]).clean_refusals == ("ERR777",)
    with pytest.raises(ValidationError, match=f"{code} is no refusal"):
        make_settings(clean_refusals=["ERR777", code])


def test_the_file_password_of_the_banks_sdk_is_decoded_and_never_sent_as_it_is(make_settings: Make) -> None:
    # The quick start's own sample, which it declares unusable.
    settings = make_settings(file_password="${3DES}rxRD5tGmsoXKcihnFqpvDg==")
    assert settings.file_password is not None
    assert settings.file_password.get_secret_value() == "X28550"
    plain = make_settings(file_password="3DES-plain")
    assert plain.file_password is not None
    assert plain.file_password.get_secret_value() == "3DES-plain"


@pytest.mark.parametrize("rest", ["", "AAAA", "rxRD5tGmsoXKcihnFqpvDg=", "rxRD5tGmsoXKcihnFqpvDQ==", "密码"])
def test_a_password_of_the_banks_sdk_that_cannot_be_read_is_refused_and_not_repeated(
    make_settings: Make, rest: str
) -> None:
    with pytest.raises(ValidationError, match="give the plain") as refused:
        make_settings(file_password="${3DES}" + rest)
    assert not rest or rest not in str(refused.value)


def test_the_password_of_the_key_file_has_no_other_form(make_settings: Make) -> None:
    with pytest.raises(ValidationError, match="give the plain one"):
        make_settings(pfx_password="${3DES}rxRD5tGmsoXKcihnFqpvDg==")
