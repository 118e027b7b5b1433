"""`jzb find`, `jzb timeline`: what people ask of the books, answered in the terminal.

They read the database themselves, as `jzb trace` does, so they work while no service does. Whoever may open the
database sees everything. The same questions are RPCs: FindOperations, GetTimeline.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from rich.table import Table

from bankclient import BANK_ZONE, yuan
from jzb.v1.names import OperationKind
from ledger import (
    OPEN_STATES,
    Filter,
    FullOperation,
    Lists,
    Lookups,
    Match,
    Moment,
    MomentKind,
    Number,
    Operation,
    Reads,
    connect,
    open_pool,
    require_current,
)
from ledger.names import MemberCode, RequestId, SubAccount
from service import policy
from service.policy import in_namespace, namespace_of
from service.process.terminal import table
from service.rpc.auditing import subjects_of
from service.settings import policy_from_environment

LISTED_MAX: Final = 50
"""Operations of a table; the newest."""

MOMENTS_MAX: Final = 1000
"""Rows of a timeline; the oldest."""


@asynccontextmanager
async def books(dsn: str, platform: str) -> AsyncIterator[tuple[Reads, Lists]]:
    """The readers of a platform. Raises `LedgerError`."""
    engine = connect(dsn, 1)
    try:
        await require_current(engine)
        async with open_pool(dsn, 1) as pool:
            yield Reads(engine, Lookups(pool, platform)), Lists(pool, platform)
    finally:
        await engine.dispose()


def ways_to_store(request_id: str) -> tuple[RequestId, ...]:
    """All ways in which a request id may be kept: with each namespace of JZB_POLICY, where there is one."""
    path = policy_from_environment()
    namespaces = () if path is None else policy.read(path).namespaces
    return tuple(in_namespace(one, request_id) for one in dict.fromkeys(("", *namespaces)))


async def timeline(dsn: str, platform: str, number: str) -> tuple[list[Operation], list[Moment]]:
    """What happened to the newest operations that a number names, oldest first; the audit trail included.

    Raises `LedgerError`.
    """
    async with books(dsn, platform) as (reads, lists):
        wanted = Filter(number=Number(text=number, request_ids=ways_to_store(number)))
        page = await lists.page(wanted, limit=LISTED_MAX)
        operations = [full.operation for full in reversed(page.full_operations)]
        subjects = {name: one.id for one in operations for name in subjects_of(one)}
        return operations, await reads.timeline([one.id for one in operations], subjects, offset=0, limit=MOMENTS_MAX)


async def find(dsn: str, platform: str, number: str, *, is_open: bool) -> list[tuple[FullOperation, tuple[Match, ...]]]:
    """The newest operations that a number names, newest first, those of a member or sub-account among them.

    Raises `LedgerError`.
    """
    async with books(dsn, platform) as (reads, lists):
        owner = (await reads.members_by_sub_account([SubAccount(number)])).get(SubAccount(number))
        wanted = Number(
            text=number,
            request_ids=ways_to_store(number),
            member_id=MemberCode(number),
            owner_id=MemberCode("" if owner is None else owner.member_id),
        )
        page, matches = await lists.found(
            Filter(number=wanted, states=OPEN_STATES if is_open else frozenset()), limit=LISTED_MAX
        )
        return list(zip(page.full_operations, matches, strict=True))


def found_table(found: Iterable[tuple[FullOperation, tuple[Match, ...]]]) -> Table:
    """Operations, with what of each the number is."""
    shown = table("created", "matched", "kind", "state", "yuan", "payer", "payee", "order", "request", "serial", "bank")
    for (one, _), matches in found:
        namespace, request_id = namespace_of(one.request_id)
        shown.add_row(
            f"{one.created_at.astimezone(BANK_ZONE):%Y-%m-%d %H:%M:%S}",
            ", ".join(matches),
            OperationKind(one.kind).name,
            one.state.name,
            yuan(one.amount_fen),
            one.payer,
            one.payee,
            one.order_no,
            in_namespace(namespace, request_id),
            one.serial,
            one.bank_serial,
        )
    return shown


def timeline_table(operations: Sequence[Operation], moments: Iterable[Moment]) -> Table:
    """What happened, a row each, with the operation where there are several."""
    names = {one.id: OperationKind(one.kind).name for one in operations}
    shown = table("time", *(["operation"] if len(names) > 1 else []), "what", "yuan", "from", "into", "bank", "who")
    for one in moments:
        who = " for ".join(filter(None, (one.caller, one.person)))
        shown.add_row(
            _time(one.at),
            *([names[one.operation_id]] if len(names) > 1 else []),
            _what(one),
            yuan(one.amount_fen) if one.amount_fen else "",
            "" if one.account is None else one.account.name,
            "" if one.credited is None else one.credited.name,
            " ".join(filter(None, (one.bank_code, one.bank_message, one.bank_serial))),
            who,
        )
    return shown


def _what(one: Moment) -> str:
    match one.kind:
        case MomentKind.STATE if one.state is not None:
            said = (one.state.name, one.reason, "by a query" if one.after_query else "")
        case MomentKind.QUERY:
            said = ("queried, still open", one.reason, "")
        case MomentKind.HOLD:
            said = (f"held by part {one.part}", "", "")
        case MomentKind.RELEASED:
            said = (f"given back by part {one.part}", "", "")
        case MomentKind.POSTING:
            said = (f"posted by part {one.part}", f"bank day {one.bank_day}", "")
        case _:
            said = (one.kind.value, one.what.rpartition("/")[2], one.outcome)
    note = f" ({one.note})" if one.note else ""
    return f"{', '.join(filter(None, said))}{note}"


def _time(at: datetime) -> str:
    return f"{at.astimezone(BANK_ZONE):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def title_of(one: Operation) -> str:
    """What an operation is, in a line for each of its numbers."""
    numbers = {
        "order": one.order_no,
        "request": one.request_id,
        "serial": one.serial,
        "bank serial": one.bank_serial,
        "operation": str(one.id),
    }
    reason = f", {one.reason}" if one.reason else ""
    head = f"{OperationKind(one.kind).name} {one.state.name}{reason}, {yuan(one.amount_fen)} yuan"
    return "\n".join((head, *(f"  {name} {value}" for name, value in numbers.items() if value)))
