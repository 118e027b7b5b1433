"""Fixtures of the bank client's tests: keys, a bank on loopback, settings that fit it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bankclient import BankClient, BankSettings
from tests.bankclient.bank import TestBank
from tests.bankclient.keys import PASSWORD, Keys, make_keys


@pytest.fixture(scope="session")
def keys() -> Keys:
    return make_keys()


@pytest.fixture
def make_settings(keys: Keys, tmp_path: Path) -> Callable[..., BankSettings]:
    pfx_path, certificate_path = tmp_path / "merchant.pfx", tmp_path / "bank.cer"
    pfx_path.write_bytes(keys.merchant_pfx)
    certificate_path.write_bytes(keys.bank_pem)

    def make(**changes: object) -> BankSettings:
        return BankSettings.model_validate(
            {
                "base_url": "http://127.0.0.1:1",
                "app_id": "e1d0cb0b-0000-0000-0000-000000000001",
                "mrch_code": "9930",
                "fund_summary_acct_no": "15000000000001",
                "uid": "X28550",
                "pfx_path": pfx_path,
                "pfx_password": PASSWORD,
                "bank_certificate_path": certificate_path,
                "connect_timeout_s": 2.0,
                "timeout_s": 5.0,
            }
            | changes
        )

    return make


@pytest.fixture
async def bank(keys: Keys) -> AsyncIterator[TestBank]:
    async with TestBank(keys) as bank:
        yield bank


@pytest.fixture
async def client(bank: TestBank, make_settings: Callable[..., BankSettings]) -> AsyncIterator[BankClient]:
    async with BankClient(make_settings(base_url=bank.url)) as client:
        yield client
