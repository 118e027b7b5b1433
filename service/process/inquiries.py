"""`jzb find`, `jzb timeline`, `jzb work`: what people ask of the books, answered in the terminal.

They read the database themselves, as `jzb trace` does, so they work while no service does. Whoever may open the
database sees everything. The same questions are RPCs: FindOperations, GetTimeline, ListWork.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from rich.table import Column, Table

from bankclient import BANK_ZONE, yuan
from jzb.v1.names import OperationKind
from ledger import (
    OPEN_STATES,
    Filter,
    FullOperation,
    Lists,
    Lookups,
    Match,
    Number,
    Reads,
    connect,
    open_pool,
    require_current,
)
from ledger.names import MemberCode, RequestId, SubAccount
from service import policy
from service.policy import in_namespace, namespace_of
from service.settings import policy_from_environment

LISTED_MAX: Final = 50
"""Rows of a table; the newest."""


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
