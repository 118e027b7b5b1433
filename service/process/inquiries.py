"""`jzb find`, `jzb timeline`, `jzb work`: what people ask of the books, answered in the terminal.

They read the database themselves, as `jzb trace` does, so they work while no service does. Whoever may open the
database sees everything. The same questions are RPCs: FindOperations, GetTimeline, ListWork. What a service could not
collect only it knows, so `jzb work` asks a service first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import grpc
from rich.table import Column, Table

from bankclient import BANK_ZONE, yuan
from jzb.v1 import core_pb2, work_pb2, work_pb2_grpc
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
    WorkKind,
    connect,
    open_pool,
    require_current,
)
from ledger.names import MemberCode, RequestId, SubAccount
from service import policy
from service.policy import in_namespace, namespace_of
from service.process.client import bank_time, channel_to
from service.rpc import work
from service.rpc.auditing import subjects_of
from service.rpc.work import KIND_OF, KINDS
from service.settings import policy_from_environment, resolver_from_environment

LISTED_MAX: Final = 50
"""Operations of a table; the newest."""

WORK_MAX: Final = 200
"""Items of the queue; the oldest."""

ANSWER_S: Final = 10.0
"""How long a service may take to answer."""

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


def wanted_work(kinds: Iterable[str], owner: str | None) -> work_pb2.ListWorkRequest:
    """What the command line wants of the queue: these kinds, in these hands; an empty owner is nobody."""
    return work_pb2.ListWorkRequest(
        page_size=WORK_MAX,
        kinds=[KINDS[WorkKind(kind)] for kind in kinds],
        owner=owner or "",
        unassigned=owner == "",
    )


async def queue(
    target: str, credentials: grpc.ChannelCredentials | None, wanted: work_pb2.ListWorkRequest
) -> work_pb2.ListWorkResponse | None:
    """The oldest of what waits and the sums of all of it, as a service has them; None where no service answers. Raises
    gRPC's errors.
    """
    async with channel_to(target, credentials) as channel:
        try:
            found: work_pb2.ListWorkResponse = await work_pb2_grpc.WorkServiceStub(channel).ListWork(
                wanted, timeout=ANSWER_S
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return None
            raise
        return found


async def waiting(dsn: str, platform: str, wanted: work_pb2.ListWorkRequest) -> work_pb2.ListWorkResponse:
    """The same from the books, without what a service could not collect. Raises `LedgerError`."""
    async with books(dsn, platform) as (reads, _):
        when = work.patience(resolver_from_environment())
        items = await reads.work(work.wanted_of(wanted), when, behind=None, limit=WORK_MAX)
        sums = await reads.work_sums(when)
        return work_pb2.ListWorkResponse(
            items=[work.message_of(one) for one in items], sums=[work.sum_of(*one) for one in sums.items()]
        )


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


def table(*names: str) -> Table:
    """A table that folds what is too long for the terminal, and cuts nothing off."""
    return Table(*(Column(name, overflow="fold") for name in names))


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


def work_table(items: Iterable[work_pb2.WorkItem]) -> Table:
    """What waits, a row each."""
    shown = table("kind", "yuan", "age", "owner", "what", "why", "next", "a person may", "notes")
    for one in items:
        at = f" at {bank_time(one.next_time)[:-3]}" if one.HasField("next_time") and one.next_step else ""
        operation = core_pb2.OperationKind.Name(one.operation_kind).removeprefix("OPERATION_KIND_")
        shown.add_row(
            KIND_OF[one.kind].value,
            yuan(one.amount_fen),
            _age(one.age_s),
            one.owner,
            " ".join(filter(None, (one.work_id, operation if one.operation_kind else "", one.subject))),
            one.detail,
            f"{one.next_step}{at}",
            ", ".join(action.rpartition("/")[2] for action in one.actions),
            "; ".join(note.note for note in one.notes if note.note),
        )
    return shown


def sums_table(sums: Sequence[work_pb2.WorkSum]) -> Table:
    """How much waits, by kind, and all together."""
    shown = table("kind", "items", "yuan", "oldest")
    for one in sorted(sums, key=lambda found: -found.oldest_age_s):
        shown.add_row(KIND_OF[one.kind].value, str(one.count), yuan(one.amount_fen), _age(one.oldest_age_s))
    total = sum(one.amount_fen for one in sums)
    shown.add_row("together", str(sum(one.count for one in sums)), yuan(total), "")
    return shown


def _age(age_s: float) -> str:
    minutes = int(age_s // 60)
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"
