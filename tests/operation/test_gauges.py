"""The platform's numbers of a process: present ones or none, and never at the price of the service."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.process import gauges
from service.process.gauges import PlatformNumbers


class Books:
    """Reads of which nothing but the overview is asked: it gives, or raises, what is set."""

    def __init__(self) -> None:
        self.overview_is: Any = SimpleNamespace(orphans=3)

    async def overview(self) -> Any:
        if isinstance(self.overview_is, Exception):
            raise self.overview_is
        return self.overview_is


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def numbers(books: Books) -> PlatformNumbers[Any]:
    return PlatformNumbers(books.overview, 10.0)


async def test_an_error_that_nobody_foresaw_takes_the_numbers_away_and_not_the_service(
    books: Books, numbers: PlatformNumbers[Any]
) -> None:
    orphans = numbers.of(lambda found: found.orphans)
    await numbers._read()
    assert orphans() == 3
    books.overview_is = RuntimeError("permission denied for table due")
    await numbers._read()
    assert orphans() is None
    books.overview_is = SimpleNamespace(orphans=4)
    await numbers._read()
    assert orphans() == 4


async def test_a_number_that_has_stood_still_for_three_reads_is_shown_no_more(
    numbers: PlatformNumbers[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(gauges, "time", SimpleNamespace(monotonic=lambda: now_s))
    await numbers._read()
    orphans = numbers.of(lambda found: found.orphans)
    now_s = 1000.0 + 3 * 10.0 + gauges.PATIENCE_S
    assert orphans() == 3
    now_s += 1
    assert orphans() is None
