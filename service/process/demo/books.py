"""The end of the demo's day: the trial balance, and every balance beside the bank's own answer."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from jzb.v1 import balance_pb2
from service.process.client import yuan
from service.process.demo.client import TIMEOUT_S, Client, console


async def compare(client: Client) -> int:
    """Print the trial balance and the comparison with the bank; 1 when something differs."""
    trial = await client.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S)
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
        async for answer in client.balances.CompareWithBank(balance_pb2.CompareWithBankRequest(), timeout=TIMEOUT_S)
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
