"""The tables of `jzb reconcile`: their columns, their rows made of the contract's messages, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table as Shown

from bankclient import wall_clock
from jzb.v1 import core_pb2
from jzb.v1 import reconciliation_pb2 as pb
from service.process.client import bank_time, yuan
from service.process.output import Column, Table, Value

NOT_CLOSED: Final = (pb.BREAK_STATE_OPEN, pb.BREAK_STATE_CARRIED, pb.BREAK_STATE_HELD)

SOURCES: Final[dict[pb.BankSource.ValueType, str]] = {
    pb.BANK_SOURCE_TOP_UPS: "CZ top-ups",
    pb.BANK_SOURCE_WITHDRAWALS: "TX withdrawals",
    pb.BANK_SOURCE_TRANSACTIONS: "JY transactions",
    pb.BANK_SOURCE_BALANCES: "YE balances",
    pb.BANK_SOURCE_TRANSFERS_IN: "6050 transfers in",
    pb.BANK_SOURCE_RETURNS: "6048 returns",
    pb.BANK_SOURCE_CLEARINGS: "6108 clearings",
    pb.BANK_SOURCE_CHARGES: "6109 charges",
}
"""As a person names them."""


def _columns(*names: str) -> tuple[Column, ...]:
    """Columns; those in yuan say so in their names."""
    return tuple(Column(name, is_amount=name.endswith("_yuan")) for name in names)


DAYS: Final = Table(
    "days",
    _columns(
        *("bank_day", "source", "state", "version", "lines", "matched", "bad", "breaks", "amount_yuan", "fee_yuan"),
        *("file", "sha256", "problem"),
    ),
)
BREAKS: Final = Table(
    "breaks",
    _columns(
        *("bank_day", "source", "type", "state", "difference_yuan", "bank_yuan", "ledger_yuan", "member_id"),
        *("sub_account", "serial", "bank_serial", "operation_kind", "operation_id", "line", "owner", "age_days"),
        *("detail", "next_step", "note", "break_id"),
    ),
)
BALANCES: Final = Table(
    "balances",
    _columns(
        *("bank_day", "sub_account", "member_id", "opening_yuan", "credit_yuan", "debit_yuan", "closing_yuan"),
        *("bank_yuan", "difference_yuan", "proved"),
    ),
)
LINES: Final = Table(
    "lines",
    _columns(
        *("bank_day", "source", "line", "state", "amount_yuan", "fee_yuan", "booked", "payer_member_id"),
        *("payer_sub_account", "payee_member_id", "payee_sub_account", "serial", "bank_serial", "order_no"),
        *("bank_text", "operation_id", "fault"),
    ),
)


class Words:
    """Makes rows as of one moment."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or wall_clock()

    def source(self, bank_day: str, one: pb.ReconciledSource) -> list[Value]:
        """A row of `DAYS`."""
        there, file = one.HasField("file"), one.file
        return [
            *(bank_day, SOURCES.get(one.source, ""), state_word(one.state)),
            *((file.version, file.rows, one.matched_lines, file.bad_rows) if there else (None, None, None, None)),
            one.breaks,
            *((file.amount_fen, file.fee_fen, file.name, file.sha256) if there else (None, None, "", "")),
            one.attempt_reason,
        ]

    def broken(self, one: pb.Break) -> list[Value]:
        """A row of `BREAKS`."""
        kind = core_pb2.OperationKind.Name(one.operation_kind).removeprefix("OPERATION_KIND_")
        return [
            *(one.bank_day, SOURCES.get(one.source, ""), type_word(one.type), _word(pb.BreakState.Name(one.state))),
            one.difference_fen,
            one.bank_fen if one.HasField("bank_fen") else None,
            one.ledger_fen if one.HasField("ledger_fen") else None,
            *(one.member_id, one.sub_account, one.serial, one.bank_serial),
            "" if kind == "UNSPECIFIED" else _word(kind),
            one.operation_id,
            one.line if one.HasField("line") else None,
            one.owner,
            self.age_days(one.open_time),
            *(one.detail, one.next_step, one.note, one.break_id),
        ]

    def age_days(self, since: Timestamp) -> int:
        """How many whole days ago that was."""
        return max(0, (self._now - since.ToDatetime(UTC)).days)

    @staticmethod
    def proof(bank_day: str, row: pb.GetBalanceProofResponse) -> list[Value]:
        """A row of `BALANCES`."""
        bank_fen = row.bank_fen if row.HasField("bank_fen") else None
        return [
            *(bank_day, row.sub_account or "pooled account", row.member_id),
            *(row.opening_fen, row.credit_fen, row.debit_fen, row.closing_fen, bank_fen),
            None if bank_fen is None else bank_fen - row.closing_fen,
            "yes" if row.is_proved else "NO",
        ]

    @staticmethod
    def line(bank_day: str, source: pb.BankSource.ValueType, one: pb.BankLine) -> list[Value]:
        """A row of `LINES`."""
        is_read = one.state != pb.BANK_LINE_STATE_UNREADABLE
        return [
            *(bank_day, SOURCES.get(source, ""), one.line),
            _word(pb.BankLineState.Name(one.state).removeprefix("BANK_LINE_STATE_")),
            *((one.amount_fen, one.fee_fen) if is_read else (None, None)),
            bank_time(one.book_time) if one.HasField("book_time") else "",
            *(one.payer_member_id, one.payer_sub_account, one.payee_member_id, one.payee_sub_account),
            *(one.serial, one.bank_serial, one.order_no, one.bank_text, one.operation_id, one.fault),
        ]


def days_table(days: Sequence[pb.ReconciledDay]) -> Shown:
    """The files and lists of the days."""
    shown = Shown(title="Bank days", title_justify="left")
    numbers = ("lines", "matched", "breaks", "yuan")
    for name in ("day", "source", "state", *numbers, "what is wrong"):
        shown.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for day in days:
        shown.add_section()
        for place, one in enumerate(day.sources):
            there = one.HasField("file")
            shown.add_row(
                day.bank_day if place == 0 else "",
                SOURCES.get(one.source, ""),
                state_word(one.state),
                str(one.file.rows) if there else "",
                str(one.matched_lines) if there else "",
                str(one.breaks) if one.breaks else "",
                yuan(one.file.amount_fen) if there else "",
                _wrong(one),
            )
        signed = ", ".join(one.person or one.caller for one in day.signatures)
        shown.add_row("", "day", state_word(day.state), "", "", str(day.breaks or ""), "", signed and f"by {signed}")
    return shown


def _wrong(one: pb.ReconciledSource) -> str:
    if not one.HasField("file"):
        return one.attempt_reason if one.state != pb.RECONCILIATION_STATE_NONE else ""
    wrong = []
    if one.file.bad_rows:
        wrong.append(f"{one.file.bad_rows} lines cannot be read")
    if one.file.HasField("stated_rows") and one.file.stated_rows != one.file.rows:
        wrong.append(f"the bank states {one.file.stated_rows} lines")
    return ", ".join(wrong)


def breaks_table(breaks: Sequence[pb.Break]) -> Shown:
    """The breaks, each with its next step."""
    shown = Shown(title="Breaks", title_justify="left")
    numbers = ("bank", "ledger", "difference")
    for name in ("day", "type", "state", *numbers, "member", "serial", "next step", "break"):
        shown.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for one in breaks:
        shown.add_row(
            one.bank_day,
            type_word(one.type),
            _word(pb.BreakState.Name(one.state)),
            yuan(one.bank_fen) if one.HasField("bank_fen") else "none",
            yuan(one.ledger_fen) if one.HasField("ledger_fen") else "none",
            yuan(one.difference_fen),
            one.member_id or one.sub_account,
            one.serial or one.bank_serial,
            one.next_step,
            one.break_id,
        )
    return shown


def state_word(state: pb.ReconciliationState.ValueType) -> str:
    """A state of a file, list or day, in plain words."""
    return _word(pb.ReconciliationState.Name(state).removeprefix("RECONCILIATION_STATE_"))


def type_word(kind: pb.BreakType.ValueType) -> str:
    """A type of breaks, in plain words."""
    return _word(pb.BreakType.Name(kind).removeprefix("BREAK_TYPE_"))


def _word(name: str) -> str:
    return name.removeprefix("BREAK_STATE_").lower().replace("_", " ")
