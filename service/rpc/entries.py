"""Statements and balances of the past, as the contract has them: as of which moment, and an entry as a message."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TypedDict
from uuid import UUID

from bankclient import wall_clock
from jzb.v1 import balance_pb2
from jzb.v1.names import ErrorReason
from ledger import BEGINNING, Entry, Place, Pockets
from ledger.names import MemberCode, SubAccount
from service import policy, problems, view
from service.bankday import CLOCKS_APART
from service.path import details, rights
from service.policy import namespace_of
from service.rpc.dates import bank_day, day_range, moment
from service.rpc.pages import page_start, page_token

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PART_MAX = 2**31 - 1
"""The database numbers parts by integers."""


class AsOf(TypedDict, total=False):
    """A moment, or the end of a bank day, or now."""

    at: datetime
    bank_day: date


class Span(TypedDict):
    """Which part of a statement is wanted."""

    after: Place
    until: datetime | None
    first_day: date | None
    last_day: date | None


def as_of(request: balance_pb2.GetBalanceRequest | balance_pb2.GetTrialBalanceRequest) -> AsOf:
    """As of when a balance is asked for. Raises `Problem`, also for a time in the future."""
    match request.WhichOneof("as_of"):
        case "as_of_bank_day":
            return {"bank_day": bank_day("as_of_bank_day", request.as_of_bank_day)}
        case "as_of_time":
            at = moment("as_of_time", request.as_of_time)
            # The books have the database's clock.
            if at > wall_clock() + CLOCKS_APART:
                raise problems.invalid("as_of_time", f"{at.isoformat()} is in the future", rule="timestamp.lt_now")
            return {"at": at}
        case _:
            return {}


def span(request: balance_pb2.ListMemberEntriesRequest) -> Span:
    """Which entries are asked for. Raises `Problem`."""
    first = bank_day("first_bank_day", request.first_bank_day) if request.first_bank_day else None
    last = bank_day("last_bank_day", request.last_bank_day) if request.last_bank_day else None
    if first is not None and last is not None:
        day_range(request.first_bank_day, request.last_bank_day)
    after = _place(request.cursor) if request.cursor else BEGINNING
    if request.HasField("start_time"):
        after = max(after, BEGINNING._replace(at=moment("start_time", request.start_time)))
    until = None
    if request.HasField("end_time"):
        until = moment("end_time", request.end_time) - MICROSECOND
    return {"after": after, "until": until, "first_day": first, "last_day": last}


def entry_message(member_id: MemberCode, entry: Entry) -> balance_pb2.ListMemberEntriesResponse:
    """An entry with its cursor. What the present caller may not see of its operation is left out."""
    at, operation_id, part, sub_account = entry.place
    shown = balance_pb2.MemberEntry(
        post_time=view.timestamp(at),
        bank_day=entry.bank_day.isoformat(),
        member_id=member_id,
        sub_account=sub_account,
        change=_pockets(entry.moved),
        after=_pockets(entry.after),
        kind=view.KINDS[entry.kind],
        amount_fen=entry.amount_fen,
        fee_fen=entry.fee_fen,
    )
    if rights.sees_entry(policy.present(), entry):
        shown.operation_id = str(operation_id)
        shown.part = part
        shown.serial = entry.serial
        shown.bank_serial = entry.bank_serial
        shown.order_no = entry.order_no
        shown.reference = entry.reference
        shown.labels.extend(view.labels(details.label_of(one) for one in entry.labels))
        _, shown.request_id = namespace_of(entry.request_id)
        shown.counterparty_member_id = next((one for one in (entry.payer, entry.payee) if one != member_id), "")
    microseconds = (at - EPOCH) // MICROSECOND
    cursor = page_token(f"{microseconds} {operation_id} {part} {sub_account}")
    return balance_pb2.ListMemberEntriesResponse(cursor=cursor, entry=shown)


def _place(cursor: str) -> Place:
    try:
        microseconds, operation_id, part, sub_account = page_start(cursor, field="cursor").split(" ")
        at = EPOCH + int(microseconds) * MICROSECOND
        return Place(at, UUID(operation_id), _part(part), SubAccount(sub_account))
    except (ValueError, OverflowError):
        raise problems.invalid("cursor", "is not a cursor of a statement", ErrorReason.PAGE_TOKEN_INVALID) from None


def _part(text: str) -> int:
    if not 0 <= int(text) <= PART_MAX:
        raise ValueError(f"{text} is the number of no part")
    return int(text)


def _pockets(found: Pockets) -> balance_pb2.PocketAmounts:
    return balance_pb2.PocketAmounts(
        available_fen=found.available_fen,
        withdrawable_fen=found.withdrawable_fen,
        uncleared_fen=found.uncleared_fen,
        frozen_fen=found.frozen_fen,
        escrow_fen=found.escrow_fen,
    )
