"""A marketplace to test with: the real service over gRPC, a real PostgreSQL, the sandbox bank over its wire.

`Marketplace` speaks gRPC as any client does; what it builds takes one line (`await shop.buyer("x", 100_00)`), and
`assert_agrees` compares every balance of the mirror with the bank's books.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar, cast
from unittest.mock import patch

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from embedded import as_service
from jzb.v1 import (
    acquiring_pb2_grpc,
    adjustment_pb2_grpc,
    approval_pb2_grpc,
    balance_pb2,
    balance_pb2_grpc,
    card_pb2_grpc,
    clearing_pb2,
    clearing_pb2_grpc,
    core_pb2,
    freeze_pb2_grpc,
    member_pb2,
    member_pb2_grpc,
    operation_pb2,
    operation_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
    reconciliation_pb2_grpc,
    refund_pb2_grpc,
    suspense_pb2_grpc,
    topup_pb2,
    topup_pb2_grpc,
    withdrawal_pb2_grpc,
)
from ledger import connect, verify
from sandbox.clock import BankClock
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process.server import Service, running
from service.settings import Settings, from_environment
from service.vault import new_key
from tests.sandbox.choices import BankChoices
from tests.world.promises import promises

TIMEOUT_S = 20.0

VAULT_KEY = new_key()
SEAL_KEY = new_key()

QUICK = {
    "ask_after_s": 3600.0,
    "not_found_interval_s": 0.05,
    "in_process_interval_s": 0.05,
    "silent_interval_s": 0.05,
    "not_found_times": 3,
    "poll_s": 0.1,
}
"""Resolver settings for tests: nothing is asked by itself within a test's life unless it overrides ``ask_after_s``."""


SETTLED = {"order_in_parts": True, "top_up_amount_confirmed": True}
"""Rules for tests that are not about them: what the bank has confirmed, as the sandbox behaves."""


@dataclass
class Refusal:
    """An error as the caller sees it."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]
    outcome: core_pb2.Outcome.ValueType
    operation: core_pb2.Operation
    amounts: dict[str, int]
    message: str
    violations: dict[str, str]
    retry_after_s: float | None
    next_step: str


class Marketplace:
    """One platform, its service, its bank and a client."""

    def __init__(self, dsn: str, sandbox: Sandbox, service: Service, channel: grpc.aio.Channel) -> None:
        self.dsn = dsn
        self.sandbox = sandbox
        self.service = service
        self.channel = channel
        self.members = member_pb2_grpc.MemberServiceStub(channel)
        self.cards = card_pb2_grpc.CardServiceStub(channel)
        self.top_ups = topup_pb2_grpc.TopUpServiceStub(channel)
        self.acquiring = acquiring_pb2_grpc.AcquiringServiceStub(channel)
        self.payments = payment_pb2_grpc.PaymentServiceStub(channel)
        self.freezes = freeze_pb2_grpc.FreezeServiceStub(channel)
        self.refunds = refund_pb2_grpc.RefundServiceStub(channel)
        self.withdrawals = withdrawal_pb2_grpc.WithdrawalServiceStub(channel)
        self.suspense = suspense_pb2_grpc.SuspenseServiceStub(channel)
        self.clearing = clearing_pb2_grpc.ClearingServiceStub(channel)
        self.balances = balance_pb2_grpc.BalanceServiceStub(channel)
        self.adjustments = adjustment_pb2_grpc.AdjustmentServiceStub(channel)
        self.reconciliation = reconciliation_pb2_grpc.ReconciliationServiceStub(channel)
        self.approvals = approval_pb2_grpc.ApprovalServiceStub(channel)
        self.operations = operation_pb2_grpc.OperationServiceStub(channel)
        self._numbers = itertools.count(1)

    def request_id(self) -> str:
        """A request id nobody has had."""
        return f"r-{next(self._numbers)}"

    def order_no(self) -> str:
        """An order number nobody has had."""
        return f"O{next(self._numbers)}"

    async def member(self, member_id: str, kind: member_pb2.MemberProperty.ValueType) -> str:
        """Open a member; returns its code."""
        request = member_pb2.OpenMemberRequest(request_id=self.request_id(), member_id=member_id, property=kind)
        await self.members.OpenMember(request, timeout=TIMEOUT_S)
        return member_id

    async def buyer(self, member_id: str, fen: int = 0, *, withdrawable: bool = False) -> str:
        """A member that pays (00), with money; withdrawable means that the day has been cleared."""
        await self.member(member_id, member_pb2.MEMBER_PROPERTY_ORDINARY)
        if fen:
            await self.top_up(member_id, fen)
        if withdrawable:
            await self.clear()
        return member_id

    async def merchant(self, member_id: str, fen: int = 0, *, withdrawable: bool = False) -> str:
        """A member that collects (SH), with money."""
        await self.member(member_id, member_pb2.MEMBER_PROPERTY_MERCHANT)
        if fen:
            await self.top_up(member_id, fen)
        if withdrawable:
            await self.clear()
        return member_id

    def top_up_request(self, member_id: str, fen: int, fee_fen: int = 0, remark: str = "") -> topup_pb2.TopUpRequest:
        """A channel payment to one member (6129)."""
        return topup_pb2.TopUpRequest(
            request_id=self.request_id(),
            member_id=member_id,
            amount_fen=fen,
            fee_fen=fee_fen,
            channel=topup_pb2.Channel(
                type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1900000109", transaction_no=self.order_no()
            ),
            order_no=self.order_no(),
            remark=remark,
        )

    async def top_up(self, member_id: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
        """Credit a member from a channel."""
        request = self.top_up_request(member_id, fen, fee_fen)
        operation: core_pb2.Operation = (await self.top_ups.TopUp(request, timeout=TIMEOUT_S)).operation
        return operation

    def pay_request(
        self,
        payer: str,
        payee: str,
        fen: int,
        fee_fen: int = 0,
        *,
        settlement: payment_pb2.Settlement.ValueType = payment_pb2.SETTLEMENT_T1,
        remark: str = "",
    ) -> payment_pb2.PayRequest:
        """A direct payment."""
        return payment_pb2.PayRequest(
            request_id=self.request_id(),
            payer_member_id=payer,
            payee_member_id=payee,
            amount_fen=fen,
            fee_fen=fee_fen,
            settlement=settlement,
            remark=remark,
        )

    async def pay(self, payer: str, payee: str, fen: int, fee_fen: int = 0) -> core_pb2.Operation:
        """Pay T+1."""
        answer = await self.payments.Pay(self.pay_request(payer, payee, fen, fee_fen), timeout=TIMEOUT_S)
        operation: core_pb2.Operation = answer.operation
        return operation

    async def clear(self) -> None:
        """End the bank's day and clear it: what waited becomes withdrawable."""
        token = None
        while token != "":
            waiting = clearing_pb2.ListDaysRequest(page_size=200, page_token=token or "")
            page = await self.clearing.ListDays(waiting, timeout=TIMEOUT_S)
            token = page.next_page_token
            for day in page.days:
                request = clearing_pb2.ClearDayRequest(request_id=self.request_id(), bank_day=day.bank_day)
                answer = await self.clearing.ClearDay(request, timeout=TIMEOUT_S)
                assert answer.operation.state == core_pb2.OPERATION_STATE_DONE, answer

    async def balance(self, member_id: str) -> balance_pb2.Balance:
        """A member's balances in the mirror."""
        request = balance_pb2.GetBalanceRequest(member_id=member_id)
        balance: balance_pb2.Balance = (await self.balances.GetBalance(request, timeout=TIMEOUT_S)).balance
        return balance

    async def operation(self, operation_id: str) -> core_pb2.Operation:
        """An operation as it stands now."""
        request = operation_pb2.GetOperationRequest(key=operation_pb2.OperationKey(operation_id=operation_id))
        found: core_pb2.Operation = (await self.operations.GetOperation(request, timeout=TIMEOUT_S)).operation
        return found

    async def resolve(self, operation_id: str) -> core_pb2.Operation:
        """Have the bank asked about an operation now."""
        request = operation_pb2.ResolveOperationRequest(key=operation_pb2.OperationKey(operation_id=operation_id))
        found: core_pb2.Operation = (await self.operations.ResolveOperation(request, timeout=TIMEOUT_S)).operation
        return found

    async def until_final(self, operation_id: str, timeout_s: float = 15.0) -> core_pb2.Operation:
        """Wait until an operation is DONE or REFUSED, asking the bank meanwhile."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = await self.resolve(operation_id)
                if found.state in (core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED):
                    return found
                await asyncio.sleep(0.05)

    async def refusal(self, call: Awaitable[Any]) -> Refusal:
        """The error of a call that must fail."""
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            promise = promises()[refusal.reason]
            assert refusal.code.name == promise.status, f"{refusal} and its documentation differ"
            assert promise.metadata <= refusal.metadata.keys(), f"{refusal} lacks metadata that is documented"
            return refusal
        raise AssertionError(f"was to fail, and answered {answer}")

    async def assert_agrees(self, timeout_s: float = TIMEOUT_S) -> None:
        """Every sub-account of the mirror equals the bank's books, and the journal the balances.

        The amounts are compared here with the books of the sandbox itself: what the service says of its own agreement
        is one more thing that has to be true.
        """
        different = []
        async for answer in self.balances.CompareWithBank(balance_pb2.CompareWithBankRequest(), timeout=timeout_s):
            row = answer.comparison
            told = [(one.available_fen, one.withdrawable_fen, one.frozen_fen) for one in (row.mirror, row.bank)]
            is_same = told[0] == told[1] and row.difference == balance_pb2.ComparedAmounts()
            if row.member_id:
                is_same = is_same and _pockets(await self.balance(row.member_id)) == self._pockets_at_bank(row)
            if not (is_same and row.agrees):
                different.append(row)
        assert not different, f"mirror and bank differ: {different}"
        engine = connect(self.dsn, 1)
        try:
            assert await verify(engine, self.service.components.settings.platform) == []
        finally:
            await engine.dispose()

    def _pockets_at_bank(self, row: balance_pb2.Comparison) -> tuple[int, ...]:
        books = self.sandbox.bank.store.books.sub_account(row.sub_account)
        return (books.available_fen, books.withdrawable, books.frozen_fen, books.escrow_fen, 0)

    def calls_received(self, service_id: str) -> int:
        """How many requests for an interface the bank has received, acted on or not."""
        return sum(received.service_id == service_id for received in self.sandbox.requests)


def _pockets(balance: balance_pb2.Balance) -> tuple[int, ...]:
    """What a member has by pocket, and what is held of it: nothing, when all has ended."""
    found = balance
    return (found.available_fen, found.withdrawable_fen, found.frozen_fen, found.escrow_fen, found.held_fen)


@contextmanager
def bank_says(sandbox: Sandbox, service_id: str, change: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    """Let the bank sign another answer of one interface than the true one, whatever it did."""
    handle = sandbox.bank.handle

    def changed(asked_for: str, *asked: Any) -> dict[str, object]:
        answer = handle(asked_for, *asked)
        if asked_for == service_id and answer["TxnReturnCode"] == "000000":
            answer = copy.deepcopy(answer)
            change(answer)
        return answer

    with patch.object(sandbox.bank, "handle", changed):
        yield


Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


async def read_one(stream: grpc.aio.UnaryStreamCall[Asked, Answered]) -> Answered:
    """The next message of a stream that has not ended."""
    message = await stream.read()
    assert isinstance(message, Message), "the stream has ended"
    # The end of a stream is typed as an object, so what is left would be one, too.
    return cast("Answered", message)


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """The details of an error."""
    info, money = error_details_pb2.ErrorInfo(), core_pb2.MoneyError()
    bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(bytes(value)).details:
                for message in (info, money, bad, retry):
                    detail.Unpack(message)
    return Refusal(
        code=error.code(),
        reason=info.reason,
        metadata=dict(info.metadata),
        outcome=money.outcome,
        operation=money.operation,
        amounts={amount.name: amount.amount_fen for amount in money.amounts},
        message=error.details() or "",
        violations={violation.field: violation.description for violation in bad.field_violations},
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        next_step=money.next_step,
    )


def service_settings(dsn: str, sandbox: Sandbox, **more: Any) -> Settings:
    """Settings of a service for tests; ``resolver`` and others given as dicts are merged over the quick ones."""
    given: dict[str, Any] = {
        # With the rights of a service alone, so that the tests show that it needs no more.
        "database_url": as_service(dsn),
        "bank": {**sandbox.client_settings, "timeout_s": 5.0, **more.pop("bank", {})},
        "listen": "127.0.0.1:0",
        "resolver": {**QUICK, **more.pop("resolver", {})},
        "clearing": {"poll_s": None},
        "returns": {"poll_s": None},
        "transfers": {"poll_s": None},
        "reconciliation": {"poll_s": None, **more.pop("reconciliation", {})},
        "vault": {"keys": [VAULT_KEY]},
        "seal": {"keys": [SEAL_KEY]},
        "rules": {**SETTLED, **more.pop("rules", {})},
        "drain_s": 5.0,
        "grpc": {"leave_s": 0.0, **PATIENT, **more.pop("grpc", {})},
        **more,
    }
    return from_environment(**given)


PATIENT = {"refusals_at_once": 1_000_000}
"""A service that refuses a test as often as it wants at once."""

LENIENT: BankChoices = {"clear_same_day": True, "withdrawal_delay_s": 0.0, "bound_cards_only": False}
"""A bank for tests that are not about its night, its transfers or its cards."""


@asynccontextmanager
async def open_marketplace(
    dsn: str, sandbox_settings: BankChoices | None = None, clock: BankClock | None = None, **settings: Any
) -> AsyncIterator[Marketplace]:
    """A marketplace on a fresh database, with a bank of its own; ``clock`` sets the bank's day apart from ours."""
    chosen: BankChoices = {**LENIENT, **(sandbox_settings or {})}
    async with (
        Sandbox(SandboxSettings(**chosen), clock) as sandbox,
        running(service_settings(dsn, sandbox, **settings)) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        assert await service.components.clearing.enter_opening_balance()
        yield Marketplace(dsn, sandbox, service, channel)


def bank_day(shop: Marketplace) -> date:
    """The day that the bank has."""
    return shop.sandbox.clock.today()
