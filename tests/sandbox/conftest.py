"""Sandboxes on real sockets, and merchants that speak to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, Unpack

import pytest

from sandbox import Sandbox, SandboxSettings
from tests.sandbox.choices import BankChoices
from tests.sandbox.wire import Merchant


class Opened(Protocol):
    """How a test has a bank opened with settings of its choice."""

    async def __call__(self, **settings: Unpack[BankChoices]) -> Merchant: ...


@pytest.fixture
async def open_bank() -> AsyncIterator[Opened]:
    """Opens sandboxes with settings of the test's choice; closes all of them."""
    opened: list[tuple[Sandbox, Merchant]] = []

    async def open_one(**settings: Unpack[BankChoices]) -> Merchant:
        chosen: BankChoices = {"bound_cards_only": False, **settings}
        sandbox = await Sandbox(SandboxSettings(**chosen)).__aenter__()
        merchant = Merchant(sandbox.client_settings, sandbox)
        opened.append((sandbox, merchant))
        await merchant.approve()
        return merchant

    yield open_one
    for sandbox, merchant in opened:
        await merchant.aclose()
        await sandbox.__aexit__(None, None, None)


@pytest.fixture
async def bank(open_bank: Opened) -> Merchant:
    """A merchant at a fresh bank with the default settings."""
    return await open_bank()
