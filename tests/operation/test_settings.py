"""Settings come from the environment, are checked when the process starts, and say their name when they are wrong."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import from_environment

BANK = {
    "BASE_URL": "https://bank.example",
    "APP_ID": "app",
    "MRCH_CODE": "9930",
    "FUND_SUMMARY_ACCT_NO": "15000000000000",
    "UID": "ABC123",
    "PFX_PATH": "merchant.pfx",
    "PFX_PASSWORD": "hush-hush",
    "BANK_CERTIFICATE_PATH": "bank.pem",
}
DATABASE = "postgresql://jzb:very-secret@db/jzb"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with what is required and nothing else."""
    for name in [name for name in os.environ if name.startswith("JZB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    for name, value in BANK.items():
        monkeypatch.setenv(f"JZB_BANK__{name}", value)
    return monkeypatch


def wrong_settings(**given: Any) -> set[str]:
    """The names of what is wrong, as pydantic has them."""
    with pytest.raises(ValidationError) as wrong:
        from_environment(**given)
    return {"__".join(map(str, error["loc"])) for error in wrong.value.errors()}


def test_everything_but_the_database_and_the_bank_has_a_default(environment: pytest.MonkeyPatch) -> None:
    settings = from_environment()
    assert settings.platform == "9930"
    assert settings.listen == "127.0.0.1:50051"
    assert settings.database_url.get_secret_value() == DATABASE


def test_the_defaults_of_the_resolver_are_the_quick_starts(environment: pytest.MonkeyPatch) -> None:
    resolver = from_environment().resolver
    assert 180 <= resolver.not_found_interval_s <= 300
    assert resolver.not_found_times > 1
    assert resolver.orphan_after_s > from_environment().bank.call_max_s


@pytest.mark.parametrize(
    ("name", "value"),
    [("RESOLVER__ORPHAN_AFTER_S", "169"), ("BANK__TIMEOUT_S", "60"), ("BANK__POOL_TIMEOUT_S", "101")],
)
def test_a_reservation_may_not_pass_for_orphaned_while_its_call_can_still_be_under_way(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(f"JZB_{name}", value)
    with pytest.raises(ValidationError, match=r"orphan_after_s \d+ must be more than \d+") as wrong:
        from_environment()
    assert [error["loc"] for error in wrong.value.errors()] == [("resolver",)]


def test_the_breaker_and_the_limits_of_an_interface_are_settings(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JZB_BREAKER", '{"failures": null}')
    environment.setenv("JZB_INTERFACE_CONCURRENCY", '{"6033": 50}')
    settings = from_environment()
    assert settings.breaker.failures is None
    assert settings.interface_concurrency == {"6033": 50}
    environment.setenv("JZB_INTERFACE_CONCURRENCY", '{"6303": 50}')
    assert wrong_settings() == {"interface_concurrency"}


@pytest.mark.parametrize("group", ["CLEARING", "RETURNS", "TRANSFERS", "RECONCILIATION"])
def test_what_goes_on_by_itself_can_be_switched_off(environment: pytest.MonkeyPatch, group: str) -> None:
    environment.setenv(f"JZB_{group}__POLL_S", "null")
    assert getattr(from_environment(), group.lower()).poll_s is None


def test_the_database_may_be_named_either_way(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")
    environment.setenv("JZB_DATABASE_URL", DATABASE)
    assert from_environment().database_url.get_secret_value() == DATABASE


@pytest.mark.parametrize("name", sorted(BANK))
def test_a_missing_setting_of_the_bank_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(f"JZB_BANK__{name}")
    assert wrong_settings() == {f"bank__{name.lower()}"}


def test_a_missing_database_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")
    assert wrong_settings() == {"DATABASE_URL"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BANK__UID", "1234567"),
        ("BANK__MRCH_CODE", "99"),
        ("BANK__BASE_URL", "http://bank.example"),
        ("BANK__TIMEOUT_S", "0"),
        ("CALL_CONCURRENCY", "none"),
        ("DRAIN_S", "-1"),
        ("BREAKER__FAILURES", "0"),
        ("GRPC__RPCS_MAX", "0"),
        ("RESOLVER__POLL_S", "0"),
        ("RESOLVER__NOT_FOUND_TIMES", "0"),
        ("RULES__SPEND_ORDER", "at_random"),
        ("RULES__REFUND_WINDOW_DAYS", "0"),
        ("TELEMETRY__SAMPLE_RATIO", "1.5"),
        ("TELEMETRY__LOG_LEVEL", "loud"),
        # Misspelt: it would have no effect and nobody would know.
        ("RESOLVER__ASK_AFTR_S", "1"),
        ("BANK__TIMEOUT", "1"),
    ],
)
def test_a_wrong_value_or_an_unknown_name_in_a_group_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(f"JZB_{name}", value)
    assert wrong_settings() == {name.lower()}


def test_what_is_given_wins_over_the_environment_and_the_rest_of_its_group_stays(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("JZB_BANK__TIMEOUT_S", "12")
    environment.setenv("JZB_LISTEN", "127.0.0.1:1")
    settings = from_environment(listen="127.0.0.1:0", bank={"uid": "XYZ789"})
    assert (settings.listen, settings.bank.uid, settings.bank.timeout_s) == ("127.0.0.1:0", "XYZ789", 12.0)


def test_a_group_may_be_given_as_json(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JZB_BANK__SERVICE_IDS", json.dumps({"6167": "Twin"}))
    assert from_environment().bank.service_ids == {"6167": "Twin"}


def test_no_password_shows_in_printed_settings_or_in_an_error(environment: pytest.MonkeyPatch) -> None:
    assert "hush-hush" not in repr(from_environment())
    assert "very-secret" not in repr(from_environment())
    environment.setenv("JZB_BANK__UID", "wrong")
    with pytest.raises(ValidationError) as wrong:
        from_environment()
    assert "hush-hush" not in str(wrong.value)
    assert "very-secret" not in str(wrong.value)


def test_settings_do_not_change_while_the_process_runs(environment: pytest.MonkeyPatch) -> None:
    settings = from_environment()
    with pytest.raises(ValidationError):
        settings.listen = "127.0.0.1:2"
