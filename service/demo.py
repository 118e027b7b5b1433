"""A small marketplace's day, played from outside: only gRPC calls, as any client would make them, and one transfer at
the sandbox bank, where its address is known.

Every step prints what it did and the balances it moved. The day ends with the trial balance, which sums to zero,
and the comparison of every sub-account with the bank's own answer. The sandbox bank is asked for a lost answer by a
directive in a remark; a real bank reads it as text.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Sequence
from typing import Any

import grpc
import httpx
from google.rpc import error_details_pb2, status_pb2
from rich.console import Console
from rich.table import Table

from jzb.v1 import (
    balance_pb2,
    balance_pb2_grpc,
    card_pb2,
    card_pb2_grpc,
    clearing_pb2,
    clearing_pb2_grpc,
    core_pb2,
    freeze_pb2,
    freeze_pb2_grpc,
    member_pb2,
    member_pb2_grpc,
    operation_pb2,
    operation_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
    refund_pb2,
    refund_pb2_grpc,
    suspense_pb2,
    suspense_pb2_grpc,
    topup_pb2,
    topup_pb2_grpc,
    withdrawal_pb2,
    withdrawal_pb2_grpc,
)

console = Console(highlight=False, soft_wrap=True)

TIMEOUT_S = 60

FINAL = (core_pb2.OPERATION_STATE_DONE, core_pb2.OPERATION_STATE_REFUSED)


async def play(target: str, sandbox_url: str | None = None) -> int:
    """Play the day against the service at ``target`` (host:port). Returns the exit status: 1 when a balance differs.

    With the sandbox bank's address a stranger's transfer comes in.
    """
    async with grpc.aio.insecure_channel(target) as channel:
        day = _Day(channel)
        await day.play()
        if sandbox_url is not None:
            await day.find_in_suspense(sandbox_url)
        return await day.compare()


def yuan(fen: int) -> str:
    """Fen as yuan, for people."""
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def details(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, core_pb2.MoneyError]:
    """The reason and the fate of the money, out of an error."""
    info, money = error_details_pb2.ErrorInfo(), core_pb2.MoneyError()
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(bytes(value)).details:
                detail.Unpack(info)
                detail.Unpack(money)
    return info, money


class _Day:
    def __init__(self, channel: grpc.aio.Channel) -> None:
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
        self.before: dict[str, balance_pb2.Balance] = {}

    def id(self, name: str) -> str:
        return f"{name}_{self.run}"

    def request_id(self) -> str:
        self.count += 1
        return f"demo-{self.run}-{self.count}"

    async def step(self, title: str, call: Awaitable[Any], *members: str) -> Any:
        """Make one call and show the balances it moved."""
        console.print(f"\n[bold]{title}[/bold]")
        answer = await call
        operation = getattr(answer, "operation", None)
        if operation is not None and operation.operation_id:
            state = core_pb2.OperationState.Name(operation.state).removeprefix("OPERATION_STATE_")
            console.print(f"  {state}  serial {operation.serial}  bank {operation.bank_serial}")
        await self.show(*members)
        return answer

    async def refused(self, title: str, call: Awaitable[Any], *members: str) -> core_pb2.MoneyError:
        """Make one call that must fail, and show what its error says."""
        console.print(f"\n[bold]{title}[/bold]")
        try:
            await call
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
        for name in members:
            request = balance_pb2.GetBalanceRequest(member_id=self.id(name))
            now = (await self.balances.GetBalance(request, timeout=TIMEOUT_S)).balance
            was = self.before.get(name, balance_pb2.Balance())
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
            self.before[name] = now

    async def open(self, name: str, kind: member_pb2.MemberProperty.ValueType) -> None:
        request = member_pb2.OpenMemberRequest(request_id=self.request_id(), member_id=self.id(name), property=kind)
        answer = await self.members.OpenMember(request, timeout=TIMEOUT_S)
        word = "00, pays" if kind == member_pb2.MEMBER_PROPERTY_ORDINARY else "SH, collects"
        console.print(f"  {name:8} sub-account {answer.member.sub_account} ({word})")

    def channel(self) -> topup_pb2.Channel:
        return topup_pb2.Channel(type="0001", merchant_no="1900000109", transaction_no=f"wx{self.run}{self.count}")

    async def bind_card(self, name: str) -> str:
        """Bind a card by SMS; in the bank's test environment, and in the sandbox, any six digits are the right code."""
        check = card_pb2.CheckCardBySmsRequest(
            request_id=self.request_id(),
            member_id=self.id(name),
            card_number=f"6200{secrets.randbelow(10**12):012d}",
            card_holder_name="Demo",
            identity_type=card_pb2.IDENTITY_TYPE_RESIDENT_CARD,
            identity_number="110101199003070000",
            bank_type=card_pb2.BANK_TYPE_PING_AN,
            branch_name="平安银行",
            mobile="13800000000",
        )
        card = (await self.cards.CheckCardBySms(check, timeout=TIMEOUT_S)).card
        confirm = card_pb2.ConfirmCardBySmsRequest(request_id=self.request_id(), card_id=card.card_id, code="123456")
        await self.step(
            f"{name} binds card {card.masked_number}: the bank texts a code, which is handed in",
            self.cards.ConfirmCardBySms(confirm, timeout=TIMEOUT_S),
        )
        return str(card.card_id)

    async def top_up(self, name: str, fen: int) -> Any:
        return await self.top_ups.TopUp(
            topup_pb2.TopUpRequest(
                request_id=self.request_id(),
                member_id=self.id(name),
                amount_fen=fen,
                channel=self.channel(),
                order_no=f"T{self.run}{self.count}",
            ),
            timeout=TIMEOUT_S,
        )

    def pay(
        self,
        payer: str,
        payee: str,
        fen: int,
        fee_fen: int,
        settlement: payment_pb2.Settlement.ValueType,
        remark: str = "",
    ) -> payment_pb2.PayRequest:
        return payment_pb2.PayRequest(
            request_id=self.request_id(),
            payer_member_id=self.id(payer),
            payee_member_id=self.id(payee),
            amount_fen=fen,
            fee_fen=fee_fen,
            settlement=settlement,
            remark=remark,
        )

    async def play(self) -> None:
        t1, t0 = payment_pb2.SETTLEMENT_T1, payment_pb2.SETTLEMENT_T0
        merchants = ("A", "B", "C")
        console.print("[bold]Members open[/bold]")
        await self.open("buyer", member_pb2.MEMBER_PROPERTY_ORDINARY)
        for name in merchants:
            await self.open(name, member_pb2.MEMBER_PROPERTY_MERCHANT)

        shares = ((50_000, 5_000), (30_000, 3_000), (20_000, 2_000))
        await self.step(
            "A channel payment of 1,000.00 is split: A 500 with fee 50, B 300 with fee 30, C 200 with fee 20",
            self.top_ups.SplitTopUp(
                topup_pb2.SplitTopUpRequest(
                    request_id=self.request_id(),
                    order_no=f"S{self.run}",
                    channel=self.channel(),
                    shares=[
                        topup_pb2.TopUpShare(
                            member_id=self.id(name), amount_fen=fen, fee_fen=fee_fen, order_no=f"S{self.run}{name}"
                        )
                        for name, (fen, fee_fen) in zip(merchants, shares, strict=True)
                    ],
                ),
                timeout=TIMEOUT_S,
            ),
            *merchants,
        )
        await self.step("The buyer tops up 2,000.00", self.top_up("buyer", 200_000), "buyer")

        order = f"O{self.run}"
        await self.step(
            "The buyer pre-pays an order of 300.00 to A",
            self.payments.PrepayOrder(
                payment_pb2.PrepayOrderRequest(
                    request_id=self.request_id(),
                    payer_member_id=self.id("buyer"),
                    payee_member_id=self.id("A"),
                    order_no=order,
                    amount_fen=30_000,
                ),
                timeout=TIMEOUT_S,
            ),
            "buyer",
        )
        confirmed = await self.step(
            "The buyer confirms it, the platform takes 15.00",
            self.payments.ConfirmOrder(
                payment_pb2.ConfirmOrderRequest(
                    request_id=self.request_id(), order_no=order, amount_fen=30_000, fee_fen=1_500
                ),
                timeout=TIMEOUT_S,
            ),
            "buyer",
            "A",
        )
        payment_id = confirmed.operation.serial

        def refund(fen: int, fee_fen: int) -> refund_pb2.RefundRequest:
            return refund_pb2.RefundRequest(
                request_id=self.request_id(), payment_id=payment_id, amount_fen=fen, fee_fen=fee_fen
            )

        await self.step(
            "100.00 of it are refunded, 5.00 of them fee",
            self.refunds.Refund(refund(10_000, 500), timeout=TIMEOUT_S),
            "buyer",
            "A",
        )
        await self.refused(
            "A refund of 250.00 is too large: refused here, nothing is sent",
            self.refunds.Refund(refund(25_000, 0), timeout=TIMEOUT_S),
            "buyer",
            "A",
        )
        await self.step(
            "The buyer pays B 200.00 with fee 10.00, T+1",
            self.payments.Pay(self.pay("buyer", "B", 20_000, 1_000, t1), timeout=TIMEOUT_S),
            "buyer",
            "B",
        )

        await self.clear()

        await self.step(
            "The buyer pays C 150.00 with fee 7.50, T+0: C may withdraw today",
            self.payments.Pay(self.pay("buyer", "C", 15_000, 750, t0), timeout=TIMEOUT_S),
            "buyer",
            "C",
        )
        frozen = f"F{self.run}"
        await self.step(
            "400.00 of the buyer are frozen",
            self.freezes.Freeze(
                freeze_pb2.FreezeRequest(
                    request_id=self.request_id(), member_id=self.id("buyer"), amount_fen=40_000, order_no=frozen
                ),
                timeout=TIMEOUT_S,
            ),
            "buyer",
        )
        await self.step(
            "Out of them A gets 120.00 and B 80.00, fee 10.00 on top",
            self.freezes.PayFrozen(
                freeze_pb2.PayFrozenRequest(
                    request_id=self.request_id(),
                    order_no=frozen,
                    fee_fen=1_000,
                    payees=[
                        freeze_pb2.FrozenPayee(member_id=self.id("A"), amount_fen=12_000),
                        freeze_pb2.FrozenPayee(member_id=self.id("B"), amount_fen=8_000),
                    ],
                ),
                timeout=TIMEOUT_S,
            ),
            "buyer",
            "A",
            "B",
        )
        await self.step(
            "The remaining 190.00 are released",
            self.freezes.Release(
                freeze_pb2.ReleaseRequest(request_id=self.request_id(), order_no=frozen, amount_fen=19_000),
                timeout=TIMEOUT_S,
            ),
            "buyer",
        )
        card_id = await self.bind_card("A")
        withdrawn = await self.step(
            "A withdraws 200.00 to that card; the bank accepts it, the final word comes later",
            self.withdrawals.Withdraw(
                withdrawal_pb2.WithdrawRequest(
                    request_id=self.request_id(),
                    member_id=self.id("A"),
                    amount_fen=20_000,
                    card_id=card_id,
                ),
                timeout=TIMEOUT_S,
            ),
            "A",
        )

        lost = self.pay("buyer", "B", 5_000, 0, t1, remark="[[lose_after]]")
        doubt = await self.refused(
            "The buyer pays B 50.00 and the bank's answer is lost: UNKNOWN, the money stays held",
            self.payments.Pay(lost, timeout=TIMEOUT_S),
            "buyer",
            "B",
        )
        await self.step(
            "The bank is asked, and knows: DONE",
            self.operations.ResolveOperation(
                operation_pb2.ResolveOperationRequest(
                    key=operation_pb2.OperationKey(operation_id=doubt.operation.operation_id)
                ),
                timeout=TIMEOUT_S,
            ),
            "buyer",
            "B",
        )

        twice = self.pay("buyer", "C", 2_500, 0, t1)
        first = await self.step("The buyer pays C 25.00", self.payments.Pay(twice, timeout=TIMEOUT_S), "buyer", "C")
        second = await self.step(
            "The same request again: the same answer, nothing moves",
            self.payments.Pay(twice, timeout=TIMEOUT_S),
            "buyer",
            "C",
        )
        if first.operation.operation_id != second.operation.operation_id:
            raise RuntimeError("one request id acted twice")
        await self.finish(withdrawn.operation.operation_id)

    async def clear(self) -> None:
        """Clear the bank's present day, as the night would."""
        days = (await self.clearing.ListDays(clearing_pb2.ListDaysRequest(), timeout=TIMEOUT_S)).days
        for day in days:
            await self.step(
                f"The bank clears {day.bank_day}: what waited can be withdrawn",
                self.clearing.ClearDay(
                    clearing_pb2.ClearDayRequest(request_id=self.request_id(), bank_day=day.bank_day),
                    timeout=TIMEOUT_S,
                ),
                "buyer",
                "A",
                "B",
                "C",
            )

    async def finish(self, operation_id: str) -> None:
        """Wait until the bank has said how the withdrawal ended."""
        console.print("\n[bold]The withdrawal ends[/bold]")
        key = operation_pb2.OperationKey(operation_id=operation_id)
        start = operation_pb2.WatchOperationsRequest(from_start=True, member_id=self.id("A"))
        stream = self.operations.WatchOperations(start, timeout=TIMEOUT_S)
        asking = asyncio.create_task(self.ask_until_final(key))
        async for event in stream:
            operation = event.operation
            if operation.operation_id == operation_id and operation.state in FINAL:
                state = core_pb2.OperationState.Name(operation.state).removeprefix("OPERATION_STATE_")
                console.print(f"  {state}  serial {operation.serial}  after {operation.asks} questions")
                break
        stream.cancel()
        await asking
        await self.show("A")

    async def ask_until_final(self, key: operation_pb2.OperationKey) -> None:
        """The service asks by itself, minutes apart; a demo has no minutes."""
        request = operation_pb2.ResolveOperationRequest(key=key)
        while True:
            answer = await self.operations.ResolveOperation(request, timeout=TIMEOUT_S)
            if answer.operation.state in FINAL:
                return
            await asyncio.sleep(0.3)

    async def find_in_suspense(self, sandbox_url: str) -> None:
        """A transfer comes in that the bank can match to nobody; it is collected, cleared, and in part put back."""
        console.print("\n[bold]A stranger transfers 300.00: the bank puts them into suspense[/bold]")
        command = {"amount_fen": 30_000, "payer_name": "Fictitious Trading Ltd", "remark": "for C"}
        async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, timeout=TIMEOUT_S) as bank:
            sent = (await bank.post("/control/transfers", json=command)).raise_for_status().json()
        day, transfer_id = sent["bank_day"], sent["front_seq_no"]
        bank_day = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        request = suspense_pb2.CollectTransfersRequest(first_bank_day=bank_day, last_bank_day=bank_day, page_size=200)
        page = await self.suspense.CollectTransfers(request, timeout=TIMEOUT_S)
        console.print(f"  {page.entered} collected on {bank_day}")
        await self.show_suspense(transfer_id)
        cleared = await self.step(
            "It was meant for C: 300.00 are cleared to C, which may withdraw them today",
            self.suspense.ClearSuspense(
                suspense_pb2.ClearSuspenseRequest(
                    request_id=self.request_id(),
                    transfer_id=transfer_id,
                    member_id=self.id("C"),
                    amount_fen=30_000,
                    order_no=f"U{self.run}",
                ),
                timeout=TIMEOUT_S,
            ),
            "C",
        )
        await self.step(
            "100.00 of it were not C's after all: they go back into suspense",
            self.suspense.UndoClearSuspense(
                suspense_pb2.UndoClearSuspenseRequest(
                    request_id=self.request_id(), clearing_id=cleared.operation.serial, amount_fen=10_000
                ),
                timeout=TIMEOUT_S,
            ),
            "C",
        )
        await self.show_suspense(transfer_id)

    async def show_suspense(self, transfer_id: str) -> None:
        token = ""
        while True:
            request = suspense_pb2.ListSuspenseRequest(page_size=200, page_token=token)
            page = await self.suspense.ListSuspense(request, timeout=TIMEOUT_S)
            for entry in page.entries:
                if entry.transfer_id == transfer_id:
                    console.print(f"  suspense {yuan(entry.remaining_fen)} of transfer {transfer_id}")
            token = page.next_page_token
            if not token:
                return

    async def compare(self) -> int:
        """Print the trial balance and the comparison with the bank; 1 when something differs."""
        trial = await self.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S)
        table = Table("account", "debits", "credits", "balance", title="Trial balance", title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in trial.rows:
            table.add_row(_kind(row.account_kind), yuan(row.debit_fen), yuan(row.credit_fen), yuan(row.balance_fen))
        total_fen = sum(row.balance_fen for row in trial.rows)
        table.add_section()
        table.add_row("sum", yuan(trial.debit_fen), yuan(trial.credit_fen), yuan(total_fen))
        console.print()
        console.print(table)

        rows = [
            answer.comparison
            async for answer in self.balances.CompareWithBank(balance_pb2.CompareWithBankRequest(), timeout=TIMEOUT_S)
        ]
        console.print()
        console.print(_comparison_table(rows))
        different = [row for row in rows if not row.agrees or row.in_doubt_fen]
        if different or total_fen:
            console.print(f"[bold]{len(different)} of {len(rows)} sub-accounts differ from the bank[/bold]")
            return 1
        console.print(f"All {len(rows)} sub-accounts agree with the bank; the trial balance sums to zero.")
        return 0


def _comparison_table(rows: Sequence[balance_pb2.Comparison]) -> Table:
    table = Table(title="Beside the bank: available / withdrawable / frozen", title_justify="left")
    table.add_column("whose")
    for name in ("mirror", "bank"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("agrees")
    for row in rows:
        is_member = bool(row.member_id)
        table.add_row(
            row.member_id or _kind(row.account_kind),
            _amounts(row.mirror, is_member=is_member),
            _amounts(row.bank, is_member=is_member),
            "yes" if row.agrees else "NO",
        )
    return table


def _amounts(amounts: balance_pb2.ComparedAmounts, *, is_member: bool) -> str:
    shown = [amounts.available_fen]
    if is_member:
        shown += [amounts.withdrawable_fen, amounts.frozen_fen]
    return " / ".join(yuan(fen) for fen in shown)


def _kind(kind: balance_pb2.AccountKind.ValueType) -> str:
    return balance_pb2.AccountKind.Name(kind).removeprefix("ACCOUNT_KIND_").lower().replace("_", " ")
