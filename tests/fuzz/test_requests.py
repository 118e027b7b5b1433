"""A short run of bad requests to every RPC; ``make fuzz`` is the long one."""

from __future__ import annotations

import pytest

from tests.fuzz.driving import fuzz, market
from tests.fuzz.making import Maker, methods


@pytest.mark.parametrize("seed", [11, 12])
async def test_no_request_breaks_the_service_or_the_books(database: str, seed: int) -> None:
    async with market(database) as shop:
        report = await fuzz(shop, seed, 1000)
    assert report.wrong == []
    assert report.requests == 1000
    # Some get through, or nothing would be tried but the validation.
    assert report.codes["OK"] > 100
    assert report.operations > 40


def test_every_rpc_is_made_requests_for() -> None:
    maker = Maker(1)
    assert {maker.call().method.full_name for _ in range(6000)} == {method.full_name for method in methods()}
