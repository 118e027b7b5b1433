"""`jzb balance`, `jzb statement`, `jzb trial-balance`: clients of BalanceService that print, or write files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table as Shown

from bankclient import BANK_ZONE, yuan
from jzb.v1 import balance_pb2, balance_pb2_grpc, core_pb2
from service.process.client import bank_time, channel_to
from service.process.output import Column, Format, Table, Value, written

SHOWN_MAX: Final = 1000
"""So many entries are printed; a file has all of them."""

CALL_S: Final = 60.0

POCKETS: Final = ("available", "withdrawable", "uncleared", "frozen", "escrow")

ENTRIES: Final = Table(
    "entries",
    (
        *(Column(name) for name in ("time", "bank_day", "kind")),
        *(Column(f"{pocket}_change", is_amount=True) for pocket in POCKETS),
        *(Column(f"{pocket}_after", is_amount=True) for pocket in POCKETS),
        *(Column(name, is_amount=True) for name in ("amount", "fee")),
        *(Column(name) for name in ("counterparty", "order_no", "request_id", "reference", "labels", "serial")),
        *(Column(name) for name in ("bank_serial", "operation_id", "part", "sub_account")),
    ),
)
"""A statement in a file."""


@asynccontextmanager
async def connected(
    target: str, credentials: grpc.ChannelCredentials | None
) -> AsyncIterator[balance_pb2_grpc.BalanceServiceAsyncStub]:
    """A client of a running service."""
    async with channel_to(target, credentials) as channel:
        yield balance_pb2_grpc.BalanceServiceStub(channel)


def moment(bank_day: date | None, at: datetime | None) -> dict[str, Any]:
    """As of when, as the requests have it. A time without a zone is that of the bank."""
    if bank_day is not None:
        return {"as_of_bank_day": bank_day.isoformat()}
    if at is None:
        return {}
    stamp = Timestamp()
    stamp.FromDatetime(at if at.tzinfo else at.replace(tzinfo=BANK_ZONE))
    return {"as_of_time": stamp}


async def balance(
    target: str, credentials: grpc.ChannelCredentials | None, member_id: str, as_of: dict[str, Any]
) -> tuple[str, Shown]:
    """A member's balance, and as of when it is."""
    async with connected(target, credentials) as balances:
        request = balance_pb2.GetBalanceRequest(member_id=member_id, **as_of)
        found = (await balances.GetBalance(request, timeout=CALL_S)).balance
    table = Shown("of", "yuan")
    for name in (*POCKETS, "held"):
        table.add_row(name, yuan(getattr(found, f"{name}_fen")))
    return f"member {member_id}, sub-account {found.sub_account}, {_as_of(found.as_of_time, as_of)}", table


async def trial_balance(
    target: str, credentials: grpc.ChannelCredentials | None, as_of: dict[str, Any]
) -> tuple[str, Shown]:
    """The trial balance, and as of when it is."""
    async with connected(target, credentials) as balances:
        found = await balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(**as_of), timeout=CALL_S)
    table = Shown("account", "debit, yuan", "credit, yuan", "balance, yuan")
    for row in found.rows:
        name = balance_pb2.AccountKind.Name(row.account_kind).removeprefix("ACCOUNT_KIND_").lower().replace("_", " ")
        table.add_row(name, yuan(row.debit_fen), yuan(row.credit_fen), yuan(row.balance_fen))
    table.add_section()
    total_fen = sum(row.balance_fen for row in found.rows)
    table.add_row("all", yuan(found.debit_fen), yuan(found.credit_fen), yuan(total_fen))
    return f"trial balance, {_as_of(found.as_of_time, as_of)}", table


async def statement(
    target: str, credentials: grpc.ChannelCredentials | None, member_id: str, first: date | None, last: date | None
) -> tuple[Shown, bool]:
    """A member's entries for the terminal, and whether there are more than are shown."""
    table = Shown(
        "time",
        "bank day",
        "kind",
        "change",
        "available",
        "withdrawable",
        "frozen",
        "escrow",
        "other side",
        "order",
        "reference",
    )
    request = _request(member_id, first, last, SHOWN_MAX + 1)
    rows = 0
    async with connected(target, credentials) as balances:
        async for message in balances.ListMemberEntries(request):
            rows += 1
            if rows > SHOWN_MAX:
                return table, True
            one = message.entry
            after = (yuan(getattr(one.after, f"{name}_fen")) for name in ("available", "withdrawable"))
            set_aside = (yuan(getattr(one.after, f"{name}_fen")) for name in ("frozen", "escrow"))
            shown = (bank_time(one.post_time), one.bank_day, _kind(one.kind), yuan(one.change.available_fen))
            own = " ".join(filter(None, (one.reference, _labels(one))))
            table.add_row(*shown, *after, *set_aside, one.counterparty_member_id, one.order_no, own)
    return table, False


async def write_statement(
    target: str,
    credentials: grpc.ChannelCredentials | None,
    member_id: str,
    first: date | None,
    last: date | None,
    wanted: Format,
    out: Path,
) -> int:
    """Write a member's entries into a file in ``out``, as they come; returns how many they are. Raises OSError."""
    rows = 0
    async with connected(target, credentials) as balances:
        with written(out, f"statement-{member_id}", wanted) as book:
            sheet = book.begin(ENTRIES)
            async for message in balances.ListMemberEntries(_request(member_id, first, last, 0)):
                sheet.add(_row(message.entry))
                rows += 1
    return rows


def _request(member_id: str, first: date | None, last: date | None, limit: int) -> balance_pb2.ListMemberEntriesRequest:
    return balance_pb2.ListMemberEntriesRequest(
        member_id=member_id,
        first_bank_day=first.isoformat() if first else "",
        last_bank_day=last.isoformat() if last else "",
        limit=limit,
    )


def _row(entry: balance_pb2.MemberEntry) -> list[Value]:
    return [
        bank_time(entry.post_time),
        entry.bank_day,
        _kind(entry.kind),
        *(getattr(entry.change, f"{pocket}_fen") for pocket in POCKETS),
        *(getattr(entry.after, f"{pocket}_fen") for pocket in POCKETS),
        entry.amount_fen,
        entry.fee_fen,
        entry.counterparty_member_id,
        entry.order_no,
        entry.request_id,
        entry.reference,
        _labels(entry),
        entry.serial,
        entry.bank_serial,
        entry.operation_id,
        entry.part,
        entry.sub_account,
    ]


def _labels(entry: balance_pb2.MemberEntry) -> str:
    return ", ".join(f"{one.key}={one.value}" for one in entry.labels)


def _kind(kind: core_pb2.OperationKind.ValueType) -> str:
    return core_pb2.OperationKind.Name(kind).removeprefix("OPERATION_KIND_")


def _as_of(stamp: Timestamp, as_of: dict[str, Any]) -> str:
    known = f"as known at {bank_time(stamp)}" if stamp.seconds else "in empty books"
    day = as_of.get("as_of_bank_day")
    return f"at the end of {day}, {known}" if day else known
