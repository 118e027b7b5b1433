"""Pages of operations as the present caller sees them: one way for every list that is made of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from uuid import UUID

from jzb.v1.names import ErrorReason
from ledger import EXAMINED_MAX, Filter, Found, FullOperation, Listed, Lists, Reads
from service import policy, problems
from service.path import rights
from service.rpc.dates import day_range

DAYS_MAX = timedelta(days=366)
"""How far apart the two days of a list may be."""


async def page_seen(
    reads: Reads,
    lists: Lists,
    wanted: Filter,
    *,
    behind: UUID | None,
    size: int,
    takes: Callable[[FullOperation], bool] | None = None,
) -> Found:
    """Up to ``size`` operations that the caller sees and the list ``takes``. Where it ends must tell of nothing else:
    so as many are examined whatever the caller may see.
    """
    is_shown = rights.filter_of(policy.present())
    if is_shown is None and takes is None:
        return await lists.found(wanted, behind=behind, limit=size)
    page, matches = await lists.found(wanted, behind=behind, limit=EXAMINED_MAX)
    if is_shown is not None and await _is_of_others(reads, wanted):
        return Found(Listed([], None, page.last_event), [])
    shown = [
        (full, matched)
        for full, matched in zip(page.full_operations, matches, strict=True)
        if (is_shown is None or is_shown(full)) and (takes is None or takes(full))
    ]
    further = shown[size - 1][0].operation.id if len(shown) > size else page.further
    return Found(
        Listed([full for full, _ in shown[:size]], further, page.last_event), [matched for _, matched in shown[:size]]
    )


def days_of(first: str, last: str) -> tuple[date, date] | None:
    """The bank days of a list: both or none, and a year at most. Raises `Problem`."""
    if not first and not last:
        return None
    if not (first and last):
        raise problems.invalid(
            "last_bank_day", "first_bank_day and last_bank_day are given together", ErrorReason.BANK_DAY_INVALID
        )
    began, ended = day_range(first, last)
    if ended - began > DAYS_MAX:
        raise problems.invalid(
            "last_bank_day", f"{ended} is more than {DAYS_MAX.days} days after {began}", ErrorReason.BANK_DAY_INVALID
        )
    return began, ended


async def _is_of_others(reads: Reads, wanted: Filter) -> bool:
    """Whether nothing but operations of members is wanted whom the caller may not see."""
    owners = await reads.members_by_sub_account([wanted.sub_account]) if wanted.sub_account else {}
    named = filter(None, (wanted.member_id, *(owner.member_id for owner in owners.values())))
    return not all(policy.present().has_member(member_id) for member_id in named)
