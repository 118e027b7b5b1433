"""A short run of bad requests to every RPC; ``make fuzz`` is the long one."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import MethodDescriptor

from tests.fuzz.driving import fuzz, market
from tests.fuzz.limits import is_whole
from tests.fuzz.making import Maker, methods


async def test_no_request_breaks_the_service_or_the_books(database: str) -> None:
    async with market(database) as shop:
        report = await fuzz(shop, 11, 1000)
    assert report.wrong == []
    assert report.requests == 1000
    # Some get through, or nothing would be tried but the validation; the long run wants an OK of every RPC.
    assert report.valid.total() > 500
    assert report.codes["OK"] > 200
    assert sum(counts["OK"] > 0 for counts in report.by_method.values()) > 45
    # 88 to 134 in four runs: which request meets what of an earlier one is chance.
    assert report.operations > 40


def test_every_rpc_is_made_requests_for() -> None:
    maker = Maker(1)
    assert {maker.call().method.full_name for _ in range(6000)} == {method.full_name for method in methods()}


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
def test_every_rpc_is_made_requests_that_its_validation_lets_through(method: MethodDescriptor) -> None:
    maker = Maker(1)
    assert all(is_whole(maker.whole(method.input_type)) for _ in range(20))
