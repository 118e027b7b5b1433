"""One request for a token at a time, and a renewal that nobody waits for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bankclient import BankUnavailable
from bankclient.access_token import TokenKeeper
from tests.bankclient.waiting import until


class Approver:
    """Hands out t1, t2, ... when it is let, and can be told to fail."""

    def __init__(self) -> None:
        self.asked = 0
        self.failing = False
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> str:
        self.asked += 1
        number = self.asked
        await self.open.wait()
        if self.failing:
            raise BankUnavailable("down")
        return f"t{number}"


@asynccontextmanager
async def keeper(approver: Approver, renew_s: float = 3600, retry_s: float = 3600) -> AsyncIterator[TokenKeeper]:
    tokens = TokenKeeper(approver, renew_s, retry_s)
    tokens.start()
    try:
        yield tokens
    finally:
        await tokens.aclose()


async def test_many_callers_share_one_request() -> None:
    approver = Approver()
    approver.open.clear()
    async with keeper(approver) as tokens:
        waiting = [asyncio.create_task(tokens.current()) for _ in range(50)]
        await until(lambda: approver.asked == 1)
        approver.open.set()
        assert set(await asyncio.gather(*waiting)) == {"t1"}
        assert await tokens.current() == "t1"
        assert approver.asked == 1


async def test_a_caller_that_gives_up_does_not_take_the_token_from_the_others() -> None:
    approver = Approver()
    approver.open.clear()
    async with keeper(approver) as tokens:
        first, second = (asyncio.create_task(tokens.current()) for _ in range(2))
        await until(lambda: approver.asked == 1)
        first.cancel()
        approver.open.set()
        assert await second == "t1"
        assert approver.asked == 1


async def test_many_refusals_of_one_token_renew_it_once() -> None:
    approver = Approver()
    async with keeper(approver) as tokens:
        old = await tokens.current()
        renewed = await asyncio.gather(*(tokens.after_refusal_of(old) for _ in range(50)))
        assert set(renewed) == {"t2"}
        assert await tokens.after_refusal_of(old) == "t2"
        assert approver.asked == 2


async def test_a_failure_is_told_to_all_who_wait_and_the_next_caller_tries_again() -> None:
    approver = Approver()
    approver.failing = True
    async with keeper(approver) as tokens:
        failures = await asyncio.gather(*(tokens.current() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(failure, BankUnavailable) for failure in failures)
        assert approver.asked == 1
        approver.failing = False
        assert await tokens.current() == "t2"


async def test_the_token_is_renewed_by_its_age_while_the_old_one_serves() -> None:
    approver = Approver()
    async with keeper(approver, renew_s=0.05) as tokens:
        assert await tokens.current() == "t1"
        approver.open.clear()
        await until(lambda: approver.asked == 2)
        assert await tokens.current() == "t1"
        approver.open.set()
        await until(lambda: approver.asked > 2)
        assert await tokens.current() != "t1"


async def test_a_hint_renews_in_the_background() -> None:
    approver = Approver()
    async with keeper(approver) as tokens:
        await tokens.current()
        tokens.renew_soon()
        await until(lambda: approver.asked == 2)
        await asyncio.sleep(0)
        assert await tokens.current() == "t2"


async def test_a_failed_renewal_keeps_the_old_token_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    approver = Approver()
    async with keeper(approver, retry_s=0.01) as tokens:
        await tokens.current()
        approver.failing = True
        tokens.renew_soon()
        await until(lambda: approver.asked >= 3)
        assert await tokens.current() == "t1"
        approver.failing = False
        asked = approver.asked
        await until(lambda: approver.asked > asked)
        await asyncio.sleep(0)
        assert await tokens.current() == f"t{approver.asked}"
    assert "could not be renewed" in caplog.text
    assert "t1" not in caplog.text


async def test_closing_ends_a_request_under_way() -> None:
    approver = Approver()
    approver.open.clear()
    async with keeper(approver) as tokens:
        waiting = asyncio.create_task(tokens.current())
        await until(lambda: approver.asked == 1)
    with pytest.raises(BankUnavailable):
        await waiting
    with pytest.raises(BankUnavailable):
        await tokens.current()
