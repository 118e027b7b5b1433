"""The rows of what people read, on ten million operations and ten million legs: the queue, the past, and the rest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import psycopg
from google.protobuf.message import Message

from bench import millions, site
from bench.drive import Seen, drive
from bench.rows import Measured, Row, figures
from bench.transfers import PLATFORM
from jzb.v1 import (
    balance_pb2,
    balance_pb2_grpc,
    clearing_pb2,
    clearing_pb2_grpc,
    core_pb2,
    freeze_pb2,
    freeze_pb2_grpc,
    operation_pb2,
    operation_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
    reconciliation_pb2,
    reconciliation_pb2_grpc,
    refund_pb2,
    refund_pb2_grpc,
    suspense_pb2,
    suspense_pb2_grpc,
    withdrawal_pb2,
    withdrawal_pb2_grpc,
    work_pb2,
    work_pb2_grpc,
)
from ledger import Lookups, Patience, Reads, connect, open_pool
from ledger.day import Days
from service import view
from service.bankday import bank_today

SETTINGS = {
    "SEAL__KEYS": "[]",
    **{f"{name.upper()}__POLL_S": "null" for name in ("clearing", "returns", "transfers", "reconciliation")},
}
"""Without seal keys: what proofs cost is in the row of the lists. And nothing is collected meanwhile."""
SECONDS_EACH = 0.4
Ask = Callable[[], Awaitable[object]]


async def reads(folder: Path, measured: Measured) -> None:
    """The median of each question, by kind of question; the slowest of each kind counts."""
    with site.database(folder, millions.FILLING) as dsn:
        await asyncio.to_thread(millions.fill, dsn)
    await measure(folder, measured)


async def measure(folder: Path, measured: Measured) -> None:
    """The same on books that are filled. The server is started anew: what counts is a long history, not what a bulk
    load leaves in memory. Without seal keys: what proofs cost is in the row of the lists.
    """
    with (
        site.database(folder) as dsn,
        site.bank(folder / "bank") as bank,
        site.service(dsn, bank, **SETTINGS) as target,
    ):
        async with grpc.aio.insecure_channel(target) as channel:
            await _row(
                measured,
                "queue",
                "a page of the queue, or its sums, with 10 million operations stored, the slowest",
                50.0,
                [*_queue(channel), *[(name, ask) async for name, ask in _metrics(dsn)]],
            )
            await _row(
                measured,
                "past",
                "balances and trial balance as of a time or a day's end, with 10 million legs, the slowest",
                20.0,
                _past(channel, dsn),
            )
            await _row(
                measured,
                "reads",
                "a page of any other read of the day's work, with 10 million operations stored, the slowest",
                50.0,
                _others(channel, dsn),
            )


async def _row(
    measured: Measured, name: str, what: str, limit_ms: float, asked: Iterator[tuple[str, Ask]] | list[tuple[str, Ask]]
) -> None:
    detail: dict[str, float] = {}
    for question, ask in asked:
        detail |= figures(question, await _asked(ask))
    slowest = max(value for figure, value in detail.items() if figure.endswith("_p50_ms"))
    measured.rows.append(Row(name, what, slowest, "<=", limit_ms, unit="ms", detail=detail))


async def _asked(ask: Ask) -> Seen:
    # Whatever it takes at first, until the plan and the pages are there.
    for _ in range(8):
        await ask()
    return await drive(ask, 1, SECONDS_EACH)


def _queue(channel: grpc.aio.Channel) -> Iterator[tuple[str, Ask]]:
    stub: work_pb2_grpc.WorkServiceAsyncStub = work_pb2_grpc.WorkServiceStub(channel)
    request = work_pb2.ListWorkRequest
    asked = {
        "all": request(),
        **{
            name.removeprefix("WORK_KIND_").lower(): request(kinds=[kind])
            for name, kind in work_pb2.WorkKind.items()
            if kind
        },
        "owner": request(owner="ann"),
        "unassigned": request(unassigned=True),
        "nobody": request(owner="nobody"),
    }
    yield from _each(stub.ListWork, **{f"work_{name}": one for name, one in asked.items()})
    yield "work_deep", _Deep(stub.ListWork, request(page_size=200), 20)


class _Deep:
    """Asks for a page that so many others come before."""

    def __init__(self, rpc: Callable[..., Awaitable[Any]], request: Any, before: int) -> None:
        self._rpc, self._request, self._before = rpc, request, before

    async def __call__(self) -> object:
        while self._before:
            self._request.page_token = (await self._rpc(self._request, timeout=60)).next_page_token
            self._before -= 1
        return await self._rpc(self._request, timeout=60)


async def _metrics(dsn: str) -> Any:
    """What the metrics of all that waits are read from."""
    engine = connect(dsn, 2)
    patience = Patience(reserved_for_s=60, accepted_for_s=3600, today=bank_today())
    async with open_pool(dsn) as pool:
        found = Reads(engine, Lookups(pool, PLATFORM))
        yield "metrics_work", partial(found.work_sums, patience)
        yield "metrics_platform", partial(found.overview, patience=patience)
        days = Days(dsn, engine, PLATFORM, encrypt=_never, sign=_never)
        yield "metrics_days", days.overview
    await engine.dispose()


def _never(*_: object) -> Any:
    raise NotImplementedError


def _past(channel: grpc.aio.Channel, dsn: str) -> Iterator[tuple[str, Ask]]:
    stub: balance_pb2_grpc.BalanceServiceAsyncStub = balance_pb2_grpc.BalanceServiceStub(channel)
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT min(first_at), max(last_at), (SELECT at FROM filled ORDER BY at DESC OFFSET 10 LIMIT 1)"
            " FROM balance_day"
        ).fetchone()
    assert row is not None
    first, last, late = row

    def moments(begin: datetime, end: datetime) -> Iterator[datetime]:
        """All over the time, and no two alike that follow one another."""
        return (begin + (end - begin) * (number * 37 % 97) / 97 for number in itertools.count())

    def each(rpc: Callable[..., Awaitable[Any]], requests: Iterator[Message]) -> Ask:
        return lambda: rpc(next(requests), timeout=60)

    now = view.timestamp(datetime.now(UTC))
    balance, totals = balance_pb2.GetBalanceRequest, balance_pb2.GetTrialBalanceRequest
    for who in ("big", "b77", "m5"):
        at = (balance(member_id=who, as_of_time=view.timestamp(at)) for at in moments(first, last))
        day = (balance(member_id=who, as_of_bank_day=f"{at:%Y-%m-%d}") for at in moments(first, last))
        yield f"{who}_at", each(stub.GetBalance, at)
        yield f"{who}_day", each(stub.GetBalance, day)
        yield f"{who}_now", partial(stub.GetBalance, balance(member_id=who, as_of_time=now), timeout=60)
        yield f"{who}_present", partial(stub.GetBalance, balance(member_id=who), timeout=60)
    trial_day = (totals(as_of_bank_day=f"{at:%Y-%m-%d}") for at in moments(first, last))
    yield "trial_day", each(stub.GetTrialBalance, trial_day)
    # Between two steps of the filling, which are as the service makes them there.
    yield "trial_at", each(stub.GetTrialBalance, (totals(as_of_time=view.timestamp(at)) for at in moments(late, last)))
    yield "trial_present", partial(stub.GetTrialBalance, totals(), timeout=60)


def _others(channel: grpc.aio.Channel, dsn: str) -> Iterator[tuple[str, Ask]]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT operation_id::text FROM leg WHERE credit = 'fee' LIMIT 1").fetchone()
    assert row is not None
    (operation_id,) = row
    new, old = (f"{bank_today() - timedelta(days=days)}" for days in (40, 300))
    begin = datetime.now(UTC) - timedelta(days=200)
    operations: operation_pb2_grpc.OperationServiceAsyncStub = operation_pb2_grpc.OperationServiceStub(channel)
    find, listed = operation_pb2.FindOperationsRequest, operation_pb2.ListOperationsRequest
    yield from _each(
        operations.FindOperations,
        find_request_id=find(number="past-9000000"),
        find_serial=find(number="P9000000"),
        find_bank_serial=find(number="B9000000"),
        find_order=find(number="O9000000"),
        find_channel=find(number="C9000012"),
        find_id=find(number=operation_id),
        find_member=find(number="b77"),
        find_big=find(number="big"),
        find_sub_account=find(number="S-big"),
        find_nothing=find(number="nothing"),
        find_open=find(all_open=True),
        find_open_big=find(all_open=True, number="big"),
        find_amount=find(min_amount_fen=1000),
        find_big_amount=find(number="big", min_amount_fen=1000),
        find_time=find(since=view.timestamp(begin), until=view.timestamp(begin + timedelta(days=1))),
        find_kind=find(kind=core_pb2.OPERATION_KIND_REBOOK_ORDER),
    )
    yield from _each(
        operations.ListOperations,
        list_all=listed(),
        list_big=listed(member_id="big"),
        list_big_rare=listed(member_id="big", kind=core_pb2.OPERATION_KIND_FREEZE),
        list_day=listed(bank_day=old),
        list_order=listed(order_no="O9000000"),
        list_refused=listed(state=core_pb2.OPERATION_STATE_REFUSED),
        list_unknown=listed(state=core_pb2.OPERATION_STATE_UNKNOWN),
    )
    timeline = operation_pb2.GetTimelineRequest
    yield from _each(
        operations.GetTimeline,
        timeline=timeline(key=operation_pb2.OperationKey(operation_id=operation_id)),
        timeline_order=timeline(order_no="O9000000"),
    )
    balances: balance_pb2_grpc.BalanceServiceAsyncStub = balance_pb2_grpc.BalanceServiceStub(channel)
    entries, holds = balance_pb2.ListMemberEntriesRequest, balance_pb2.ListHoldsRequest
    yield from _each(
        partial(_whole, balances.ListMemberEntries),
        entries_big=entries(member_id="big", limit=50),
        entries_big_day=entries(member_id="big", limit=50, first_bank_day=new, last_bank_day=new),
        entries_b77=entries(member_id="b77", limit=50),
    )
    yield from _each(balances.ListHolds, holds_big=holds(member_id="big"), holds_b77=holds(member_id="b77"))
    payments: payment_pb2_grpc.PaymentServiceAsyncStub = payment_pb2_grpc.PaymentServiceStub(channel)
    orders, opened = payment_pb2.ListOrdersRequest, [core_pb2.ORDER_STATE_OPEN]
    yield from _each(
        payments.ListOrders,
        orders=orders(),
        orders_open=orders(states=opened),
        orders_big_open=orders(member_id="big", states=opened),
        orders_days=orders(first_bank_day=old, last_bank_day=new),
    )
    freezes: freeze_pb2_grpc.FreezeServiceAsyncStub = freeze_pb2_grpc.FreezeServiceStub(channel)
    yield from _each(freezes.ListFreezes, freezes=freeze_pb2.ListFreezesRequest())
    withdrawals: withdrawal_pb2_grpc.WithdrawalServiceAsyncStub = withdrawal_pb2_grpc.WithdrawalServiceStub(channel)
    withdrawn = withdrawal_pb2.ListWithdrawalsRequest
    yield from _each(
        withdrawals.ListWithdrawals,
        withdrawals=withdrawn(),
        withdrawals_of_one=withdrawn(member_id="b57"),
        withdrawals_days=withdrawn(first_bank_day=old, last_bank_day=new),
    )
    refunds: refund_pb2_grpc.RefundServiceAsyncStub = refund_pb2_grpc.RefundServiceStub(channel)
    yield from _each(refunds.ListRefunds, refunds=refund_pb2.ListRefundsRequest(payment_serial="P9000004"))
    days: reconciliation_pb2_grpc.ReconciliationServiceAsyncStub
    days = reconciliation_pb2_grpc.ReconciliationServiceStub(channel)
    breaks, reconciled = reconciliation_pb2.ListBreaksRequest, reconciliation_pb2.ListReconciledDaysRequest
    yield from _each(
        days.ListBreaks,
        breaks=breaks(),
        breaks_open=breaks(states=[reconciliation_pb2.BREAK_STATE_OPEN]),
        breaks_day=breaks(first_bank_day=new, last_bank_day=new),
        breaks_owner=breaks(owner="ann"),
        breaks_member=breaks(member_id="b77"),
    )
    # Some statements a day, whatever there is of it.
    yield from _each(days.ListReconciledDays, reconciled_days=reconciled(page_size=7))
    clearings: clearing_pb2_grpc.ClearingServiceAsyncStub = clearing_pb2_grpc.ClearingServiceStub(channel)
    yield from _each(clearings.ListDays, clearing_days=clearing_pb2.ListDaysRequest())
    suspense: suspense_pb2_grpc.SuspenseServiceAsyncStub = suspense_pb2_grpc.SuspenseServiceStub(channel)
    yield from _each(suspense.ListSuspense, suspense=suspense_pb2.ListSuspenseRequest())


def _each(rpc: Callable[..., Any], **requests: Message) -> Iterator[tuple[str, Ask]]:
    for name, request in requests.items():
        yield name, partial(rpc, request, timeout=60)


async def _whole(rpc: Callable[..., Any], request: Message, timeout: float) -> None:
    async for _ in rpc(request, timeout=timeout):
        pass
