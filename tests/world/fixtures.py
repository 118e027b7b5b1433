"""Fixtures of the service's tests: a folder of such tests imports them into its conftest.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from service.problems import Problem
from service.rpc import errors
from tests.world.marketplace import Marketplace, open_marketplace
from tests.world.promises import listed


@pytest.fixture
async def shop(database: str) -> AsyncIterator[Marketplace]:
    """An open marketplace without members."""
    async with open_marketplace(database) as marketplace:
        yield marketplace


@pytest.fixture(autouse=True)
def reasons_seen_are_listed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every reason with which a call of the test ends is in the contract's list for its RPC."""
    seen: set[tuple[str, str]] = set()
    problem = errors._CallRecord.problem

    def watched(self: errors._CallRecord, error: Exception) -> Problem:
        found = problem(self, error)
        seen.add((self.method.path, found.reason))
        return found

    monkeypatch.setattr(errors._CallRecord, "problem", watched)
    yield
    unlisted = sorted(f"{path} {reason}" for path, reason in seen if reason not in listed()[path])
    assert not unlisted, f"reasons that the contract does not list: {unlisted}"
