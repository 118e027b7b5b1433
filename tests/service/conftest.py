"""Fixtures of the service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.service.marketplace import Marketplace, open_marketplace


@pytest.fixture
async def shop(database: str) -> AsyncIterator[Marketplace]:
    """An open marketplace without members."""
    async with open_marketplace(database) as marketplace:
        yield marketplace
