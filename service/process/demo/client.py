"""What every scene of the demo uses: the stubs of a client, calls that print what they did, and the balances moved."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from rich.console import Console

from jzb.v1 import (
    acquiring_pb2_grpc,
    balance_pb2,
    balance_pb2_grpc,
    card_pb2_grpc,
    clearing_pb2_grpc,
    core_pb2,
    freeze_pb2_grpc,
    member_pb2_grpc,
    operation_pb2_grpc,
    payment_pb2_grpc,
    refund_pb2_grpc,
    suspense_pb2_grpc,
    topup_pb2_grpc,
    withdrawal_pb2_grpc,
)
from service.process.client import details, yuan

console = Console(highlight=False, soft_wrap=True)

TIMEOUT_S = 60


class Client:
    """The platform's own services, as one client of the ledger."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.acquiring = acquiring_pb2_grpc.AcquiringServiceStub(channel)
        self.members = member_pb2_grpc.MemberServiceStub(channel)
        self.cards = card_pb2_grpc.CardServiceStub(channel)
        self.top_ups = topup_pb2_grpc.TopUpServiceStub(channel)
        self.payments = payment_pb2_grpc.PaymentServiceStub(channel)
        self.freezes = freeze_pb2_grpc.FreezeServiceStub(channel)
        self.refunds = refund_pb2_grpc.RefundServiceStub(channel)
        self.withdrawals = withdrawal_pb2_grpc.WithdrawalServiceStub(channel)
        self.suspense = suspense_pb2_grpc.SuspenseServiceStub(channel)
        self.clearing = clearing_pb2_grpc.ClearingServiceStub(channel)
        self.balances = balance_pb2_grpc.BalanceServiceStub(channel)
        self.operations = operation_pb2_grpc.OperationServiceStub(channel)
        # Codes of their own for every run, so that the day can be played again on the same books.
        self.run = secrets.token_hex(3)
        self.count = 0
        self.days: list[str] = []
        """The bank days that were cleared on this run."""
        self._before: dict[str, balance_pb2.Balance] = {}

    def id(self, name: str) -> str:
        """A member's code on this run."""
        return f"{name}_{self.run}"

    async def ask(self, rpc: Callable[..., Awaitable[Any]], request: Any) -> Any:
        """Make one call. A request that has a request id, and it is empty, gets one that nobody has used."""
        if getattr(request, "request_id", None) == "":
            self.count += 1
            request.request_id = f"demo-{self.run}-{self.count}"
        return await rpc(request, timeout=TIMEOUT_S)

    async def step(self, title: str, rpc: Callable[..., Awaitable[Any]], request: Any, *members: str) -> Any:
        """Make one call and show the balances it moved."""
        console.print(f"\n[bold]{title}[/bold]")
        answer = await self.ask(rpc, request)
        operation = getattr(answer, "operation", None)
        if operation is not None and operation.operation_id:
            state = core_pb2.OperationState.Name(operation.state).removeprefix("OPERATION_STATE_")
            console.print(f"  {state}  serial {operation.serial}  bank {operation.bank_serial}")
        await self.show(*members)
        return answer

    async def refused(
        self, title: str, rpc: Callable[..., Awaitable[Any]], request: Any, *members: str
    ) -> core_pb2.MoneyError:
        """Make one call that must fail, and show what its error says."""
        console.print(f"\n[bold]{title}[/bold]")
        try:
            await self.ask(rpc, request)
        except grpc.aio.AioRpcError as error:
            info, money = details(error)
            outcome = core_pb2.Outcome.Name(money.outcome).removeprefix("OUTCOME_")
            console.print(f"  {error.code().name}  {info.reason}  outcome {outcome}")
            console.print(f"  {error.details()}")
            console.print(f"  next: {money.next_step}")
            await self.show(*members)
            return money
        raise RuntimeError(f"'{title}' was to be refused and was not")

    async def show(self, *members: str) -> None:
        """Print what has changed of these members' balances since they were shown last."""
        for name in members:
            request = balance_pb2.GetBalanceRequest(member_id=self.id(name))
            now = (await self.balances.GetBalance(request, timeout=TIMEOUT_S)).balance
            was = self._before.get(name, balance_pb2.Balance())
            moved = [
                f"{label} {yuan(getattr(now, field))} ({yuan(getattr(now, field) - getattr(was, field))})"
                for label, field in (
                    ("available", "available_fen"),
                    ("withdrawable", "withdrawable_fen"),
                    ("frozen", "frozen_fen"),
                    ("escrow", "escrow_fen"),
                    ("held", "held_fen"),
                )
                if getattr(now, field) != getattr(was, field)
            ]
            if moved:
                console.print(f"  {name:8} {', '.join(moved)}")
            self._before[name] = now
