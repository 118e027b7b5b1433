"""Whatever the clocks of a service's host, of PostgreSQL and of the bank say of each other.

A time that PostgreSQL wrote is judged by PostgreSQL, a duration within a process by `time.monotonic`, and the bank's
day by the bank (docs/guarantees.md, Clocks).
"""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pytest

from bankclient import days_of_serial, wallclock
from jzb.v1 import balance_pb2, batch_pb2, batch_pb2_grpc, core_pb2, refund_pb2, refund_pb2_grpc
from ledger import statements
from sandbox.clock import BankClock
from sandbox.records import Trade
from service.bankday import bank_day_of, bank_today, days_around, days_now
from service.plans.plan import Serials
from service.problems import Problem
from service.questions.booked import ended_days
from service.recovery.lost import _booked_at as booked_then
from service.rpc.dates import booked_at, days
from simulate.skew import clock_ahead
from tests.world.binding import OTHER_CARD, PAY_OUT, check, listed, sms_request, transfer_request
from tests.world.doubts import (
    DONE,
    IMPATIENT,
    REFUSED,
    STATUS_QUERY,
    UNKNOWN,
    doubtful_payment,
    final,
    not_found_counted,
    query_none,
)
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.process import until

ROOT = Path(__file__).parents[2]

OFF_S = (-600.0, -5.0, 300.0)
"""How fast the clock of the service's host is; slow, below 0."""

SHANGHAI = timezone(timedelta(hours=8))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shanghai(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


class SetClock:
    """What the service's host and the bank have for the time of day, both alike."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self, zone: tzinfo | None = None) -> datetime:
        return self.moment.astimezone(zone)


@contextmanager
def clock_at(moment: datetime) -> Iterator[SetClock]:
    clock = SetClock(moment)
    with patch.object(wallclock, "datetime", clock):
        yield clock


@contextmanager
def postgres_ahead(by: timedelta) -> Iterator[None]:
    """PostgreSQL's clock as the writer reads it, since rows whose times are changed later are no longer sealed ones."""
    assert statements.HEAD.count("clock_timestamp()") == 1
    ahead = f"clock_timestamp() + interval '{by.total_seconds()} s'"
    with patch.object(statements, "HEAD", statements.HEAD.replace("clock_timestamp()", ahead)):
        yield


# What PostgreSQL wrote


@pytest.mark.parametrize("ahead_s", OFF_S)
async def test_an_outcome_that_is_not_known_ends_at_the_banks_pace_and_only_then(database: str, ahead_s: float) -> None:
    pace = {"ask_after_s": 0.2, "not_found_interval_s": 0.3, "not_found_times": 4}
    with clock_ahead(ahead_s):
        async with open_marketplace(database, resolver=pace) as shop:
            operation = await doubtful_payment(shop, "[[lose_before]]")
            began_s = time.monotonic()
            ended = await final(shop, operation.operation_id)
            assert time.monotonic() - began_s >= 0.9
            assert (ended.state, ended.outcome, ended.query_attempts) == (REFUSED, core_pb2.OUTCOME_NO_EFFECT, 4)
            balance = await shop.balance("buyer")
            assert (balance.available_fen, balance.held_fen) == (100_00, 0)


@pytest.mark.parametrize("ahead_s", OFF_S)
async def test_five_questions_by_hand_prove_nothing_of_a_payment_that_the_bank_makes_later(
    database: str, ahead_s: float
) -> None:
    pace = {"ask_after_s": 60.0, "not_found_interval_s": 240.0, "not_found_times": 5}
    with clock_ahead(ahead_s):
        async with open_marketplace(database, bank=IMPATIENT, resolver=pace) as shop:
            operation = await doubtful_payment(shop, "[[act_late:1.5]]")
            for _ in range(5):
                assert (await shop.resolve(operation.operation_id)).state == UNKNOWN
            assert shop.calls_received(STATUS_QUERY) == 5
            assert await not_found_counted(shop, operation) == 0
            await until(lambda: shop.sandbox.bank.store.get(Trade, operation.serial), "the bank makes the payment")
            assert (await shop.resolve(operation.operation_id)).state == DONE
            assert (await shop.balance("buyer")).available_fen == 70_00
            await shop.assert_agrees()


@pytest.mark.parametrize("ahead_s", OFF_S)
async def test_a_balance_is_as_of_a_moment_by_the_clock_that_wrote_its_changes(database: str, ahead_s: float) -> None:
    with clock_ahead(ahead_s):
        async with open_marketplace(database) as shop:
            written = (await shop.top_up(await shop.buyer("buyer"), 100_00)).update_time.ToDatetime()
            request = balance_pb2.GetTrialBalanceRequest()
            balance = await shop.balance("buyer")
            trial = await shop.balances.GetTrialBalance(request, timeout=TIMEOUT_S)
    for as_of in (balance.as_of_time, trial.as_of_time):
        assert timedelta(0) <= as_of.ToDatetime() - written < timedelta(minutes=1)


@pytest.mark.parametrize("ahead_s", OFF_S)
async def test_a_check_of_a_card_ends_by_the_clock_that_wrote_when(database: str, ahead_s: float) -> None:
    with clock_ahead(ahead_s):
        async with open_marketplace(database) as shop:
            await shop.merchant("seller")
            await check(shop, sms_request(shop, "seller"))
            assert len(await listed(shop, "seller")) == 1
            await query_none(shop.dsn, "UPDATE card SET ends_at = now() - interval '1 s'")
            assert await listed(shop, "seller") == []
            await check(shop, transfer_request(shop, "seller", PAY_OUT, OTHER_CARD))
            too_soon = await shop.refusal(
                shop.cards.CheckCardByTransfer(transfer_request(shop, "seller", PAY_OUT, OTHER_CARD), timeout=TIMEOUT_S)
            )
            assert too_soon.reason == "CARD_TRANSFER_TOO_SOON"
            assert 24 * 3600 - 60 < (too_soon.retry_after_s or 0) <= 24 * 3600


READS_A_CLOCK = {"now", "utcnow", "today", "fromtimestamp", "time", "time_ns", "localtime", "gmtime"}
CLOCKS = {"datetime", "date", "time"}


def reads_of_the_clock(source: str) -> list[str]:
    """What of a module reads the time of day, such as ``datetime.now``, called or handed on."""
    return [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in CLOCKS
        and node.attr in READS_A_CLOCK
    ]


def test_the_time_of_day_is_read_in_one_module_and_not_at_all_by_the_ledger() -> None:
    assert reads_of_the_clock("from datetime import datetime\nx = datetime.now(UTC)") == ["datetime.now"]
    assert reads_of_the_clock("import time\nwatch(time.time)") == ["time.time"]
    found = {
        str(path.relative_to(ROOT)): reads
        for room in ("service", "embedded", "ledger", "bankclient")
        for path in (ROOT / room).rglob("*.py")
        if (reads := reads_of_the_clock(path.read_text()))
    }
    assert found == {"bankclient/wallclock.py": ["datetime.now", "time.time_ns"]}


# The bank's day

DAYS = [
    ("2026-11-30T15:59:59", date(2026, 11, 30)),
    ("2026-11-30T16:00:00", date(2026, 12, 1)),
    ("2026-11-30T23:59:59", date(2026, 12, 1)),
    ("2026-12-01T00:00:00", date(2026, 12, 1)),
    ("2026-12-31T15:59:59", date(2026, 12, 31)),
    ("2026-12-31T16:00:00", date(2027, 1, 1)),
    ("2026-12-31T23:59:59", date(2027, 1, 1)),
    ("2027-02-28T16:00:00", date(2027, 3, 1)),
    ("2028-02-28T16:00:00", date(2028, 2, 29)),
    ("2026-06-15T20:00:00", date(2026, 6, 16)),
]
"""Moments in UTC: until 08:00 the day in Shanghai is one ahead."""


@pytest.mark.parametrize(("moment", "day"), DAYS)
def test_the_banks_day_is_that_of_shanghai_at_every_hour(moment: str, day: date) -> None:
    with clock_at(utc(moment)):
        assert bank_today() == day
        serials = Serials.make("X28550", bank_today(), [7, 8])
        assert serials.own == f"X28550{day:%y%m%d}0000000007"
        assert serials.rows == (f"{day:%y%m%d}00000000000008",)
    assert bank_day_of(utc(moment)) == bank_day_of(utc(moment).astimezone(SHANGHAI)) == day
    assert BankClock(lambda: utc(moment)).today() == day
    of_the_bank = utc(moment).astimezone(SHANGHAI)
    told = booked_at(f"{of_the_bank:%Y%m%d}", f"{of_the_bank:%H%M%S}")
    assert told is not None
    assert told.ToDatetime(UTC) == utc(moment)
    assert booked_then(f"{of_the_bank:%Y%m%d}", f"{of_the_bank:%H%M%S}") == utc(moment)
    for serial in (*serials.rows, serials.own):
        assert days_of_serial(serial) == (day, day + timedelta(days=1), day - timedelta(days=1))


@pytest.mark.parametrize(
    ("moment", "first", "last"),
    [
        ("2026-12-31T12:00:00", date(2026, 12, 31), date(2026, 12, 31)),
        ("2026-12-31T23:39:59", date(2026, 12, 31), date(2026, 12, 31)),
        ("2026-12-31T23:40:00", date(2026, 12, 31), date(2027, 1, 1)),
        ("2027-01-01T00:19:59", date(2026, 12, 31), date(2027, 1, 1)),
        ("2027-01-01T00:20:00", date(2027, 1, 1), date(2027, 1, 1)),
        ("2027-01-01T07:59:59", date(2027, 1, 1), date(2027, 1, 1)),
    ],
)
def test_around_midnight_it_may_be_either_day_at_the_bank(moment: str, first: date, last: date) -> None:
    with clock_at(shanghai(moment)):
        assert days_now() == (first, last)
        assert days(str(first), str(last)) == (first, last)
        with pytest.raises(Problem) as refused:
            days(str(first), str(last + timedelta(days=1)))
        assert refused.value.reason == "BANK_DAY_INVALID"


async def lost_batch(shop: Marketplace) -> str:
    """100.00 of the buyer to the shoes and 30.00 to the hats, whose answer is lost; only 6072 tells of it."""
    await shop.buyer("buyer", 150_00)
    for payee in ("shoes", "hats"):
        await shop.merchant(payee)
    request = batch_pb2.BatchPayRequest(
        request_id=shop.request_id(),
        payer_member_id="buyer",
        payments=[
            batch_pb2.PaymentOfBatch(payee_member_id="shoes", order_no=shop.order_no(), amount_fen=100_00),
            batch_pb2.PaymentOfBatch(payee_member_id="hats", order_no=shop.order_no(), amount_fen=30_00),
        ],
    )
    shop.sandbox.faults.add("lose_after", code="6052")
    lost = await shop.refusal(batch_pb2_grpc.BatchServiceStub(shop.channel).BatchPay(request, timeout=TIMEOUT_S))
    assert lost.operation.state == UNKNOWN
    return str(lost.operation.operation_id)


BATCHES = {"batch_direct_pay": True}
MIDNIGHT = shanghai("2027-01-01T00:00:00")
MINUTE = timedelta(minutes=1)


def test_no_day_on_which_the_bank_may_have_booked_is_left_out_of_the_search() -> None:
    # How fast the clocks of PostgreSQL and of the host are against the bank's, when it booked, and how long after that
    # it is asked, in minutes.
    everything = product((-10, -3, 0, 3, 10), (-10, 0, 10), (-9, -1, 0, 1, 9), (1, 5, 30, 480, 1440, 57_600))
    for database, host, booked, asked in everything:
        at_the_bank = MIDNIGHT + booked * MINUTE
        now = at_the_bank + asked * MINUTE
        found = ended_days(at_the_bank + database * MINUTE, now + database * MINUTE, days_around(now + host * MINUTE))
        if bank_day_of(at_the_bank) < bank_day_of(now):
            # It is history there, and no longer in the list of the present day.
            assert found is not None
            assert found[0] <= bank_day_of(at_the_bank) <= found[1]
        if found is not None:
            assert found[0] <= found[1] <= bank_day_of(now)


def test_a_day_of_its_own_is_not_searched_in_vain() -> None:
    noon = shanghai("2026-12-31T12:00:00")
    assert ended_days(noon, noon + timedelta(hours=3), days_around(noon + timedelta(hours=3))) is None


@pytest.mark.parametrize(
    ("evening", "morning"),
    [("01-31", "02-01"), ("03-01", "03-01"), ("12-31", "01-01")],
    ids=["the end of a month", "the end of February", "the end of a year"],
)
async def test_money_waits_for_the_day_that_the_bank_booked_it_on_and_is_cleared_when_that_is_over(
    database: str, evening: str, morning: str
) -> None:
    year = bank_today().year + 1
    first = date.fromisoformat(f"{year}-{evening}")
    if evening == morning:
        first -= timedelta(days=1)
    second = first + timedelta(days=1)
    assert f"{second:%m-%d}" == morning
    with clock_at(shanghai(f"{first}T23:39:00")) as clock:
        bank = BankClock(lambda: clock.moment)
        async with open_marketplace(database, {"clear_same_day": False}, clock=bank, rules=BATCHES) as shop:
            lost = await lost_batch(shop)
            paid = await shop.pay("buyer", "shoes", 10_00)
            assert (paid.bank_day, paid.serial[6:12]) == (str(first), f"{first:%y%m%d}")

            clock.moment = shanghai(f"{second}T00:00:30")
            found = await shop.until_final(lost)
            assert (found.state, found.bank_day) == (DONE, str(first))
            clock.moment = shanghai(f"{second}T00:30:00")
            await shop.service.components.clearing.clear_past_days()
            assert (await shop.balance("shoes")).withdrawable_fen == 110_00

            clock.moment = shanghai(f"{second}T07:59:59")
            again = await shop.top_up("hats", 5_00)
            assert (again.bank_day, again.serial[6:12]) == (str(second), f"{second:%y%m%d}")
            hats = await shop.balance("hats")
            assert (hats.withdrawable_fen, hats.uncleared_fen) == (30_00, 5_00)
            await shop.assert_agrees()


async def test_a_payment_booked_before_the_banks_midnight_is_found_though_it_was_opened_after_ours(
    database: str,
) -> None:
    today = bank_today()
    yesterday = today - timedelta(days=1)
    # PostgreSQL's clock is five minutes fast: by that one it is opened today.
    ahead = shanghai(f"{today}T00:03:00") - datetime.now(UTC)
    with clock_at(shanghai(f"{yesterday}T23:58:00")) as clock, postgres_ahead(ahead):
        async with open_marketplace(database, clock=BankClock(lambda: clock.moment), rules=BATCHES) as shop:
            lost = await lost_batch(shop)
            clock.moment = shanghai(f"{today}T00:05:00")
            found = await shop.until_final(lost)
            assert (found.state, found.bank_day) == (DONE, str(yesterday))
            balances = [await shop.balance(member) for member in ("buyer", "shoes", "hats")]
            assert [one.available_fen for one in balances] == [20_00, 100_00, 30_00]


async def test_an_old_payment_is_found_though_the_bank_booked_it_on_the_day_after_ours(database: str) -> None:
    bank = BankClock(lambda: datetime.now(UTC) + timedelta(days=1))
    # The times of batches never go back, so the books begin four days ago.
    with ExitStack() as postgres:
        postgres.enter_context(postgres_ahead(timedelta(days=-4)))
        async with open_marketplace(database, {"status_needs_day": True}, clock=bank) as shop:
            lost = await doubtful_payment(shop, "[[lose_after]]")
            postgres.close()
            shop.sandbox.bank.move_clock(4)
            assert (await shop.resolve(lost.operation_id)).state == DONE
            assert shop.calls_received(STATUS_QUERY) == 2
            assert (await shop.balance("seller")).available_fen == 30_00


async def test_around_midnight_the_bank_has_the_last_word_on_the_window_of_a_refund(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    payment = await shop.pay("buyer", "seller", 100_00)
    last = date.fromisoformat(payment.bank_day) + timedelta(days=30)
    request = refund_pb2.RefundRequest(
        request_id="r", payment_serial=payment.serial, amount_fen=1_00, validate_only=True
    )
    refunds = refund_pb2_grpc.RefundServiceStub(shop.channel)
    for moment in (f"{last}T23:59:59", f"{last + timedelta(days=1)}T00:19:59"):
        with clock_at(shanghai(moment)):
            assert (await refunds.Refund(request, timeout=TIMEOUT_S)).operation.amount_fen == 1_00
    with clock_at(shanghai(f"{last + timedelta(days=1)}T00:20:00")):
        assert (await shop.refusal(refunds.Refund(request, timeout=TIMEOUT_S))).reason == "REFUND_WINDOW_CLOSED"
