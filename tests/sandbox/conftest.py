"""Sandboxes on real sockets, and merchants that speak to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sandbox import Sandbox, SandboxSettings
from tests.sandbox.wire import Merchant

Opened = Callable[..., Awaitable[Merchant]]


@pytest.fixture
async def open_bank() -> AsyncIterator[Opened]:
    """Opens sandboxes with settings of the test's choice; closes all of them."""
    opened: list[tuple[Sandbox, Merchant]] = []

    async def open_one(**settings: Any) -> Merchant:
        sandbox = await Sandbox(SandboxSettings(**{"bound_cards_only": False, **settings})).__aenter__()
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
