"""Members, and what still needs one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import or_, select

from ledger.dependencies import DEPENDENCIES, NAMED, Dependency, dependencies_of
from ledger.errors import MemberForged
from ledger.names import MemberCode, SubAccount
from ledger.operations import Member
from ledger.reads.queries import Queries, member_of
from ledger.schema import member


class Members(Queries):
    """Who the members are."""

    async def member(self, member_id: MemberCode) -> Member | None:
        """The member with this code, or None."""
        found = await self.members([member_id])
        return found.get(member_id)

    async def members(self, member_ids: Collection[MemberCode]) -> dict[MemberCode, Member]:
        """The members among these codes, by code. Raises `MemberForged`, as all of these do."""
        found = await self._lookups.members.get(member_ids)
        self._require_ours(found.values())
        return found

    async def members_by_sub_account(self, sub_accounts: Collection[SubAccount]) -> dict[SubAccount, Member]:
        """The members behind these sub-account numbers, by number."""
        rows = await self._rows(
            select(member).where(member.c.platform == self._platform, member.c.sub_account.in_(list(sub_accounts)))
        )
        found = {row["sub_account"]: member_of(row) for row in rows}
        self._require_ours(found.values())
        return found

    async def members_page(self, after: str, limit: int, beginnings: Sequence[Sequence[str]] = ()) -> list[Member]:
        """Up to ``limit`` members whose code sorts after ``after`` and begins with one of each of ``beginnings``."""
        code = member.c.member_id
        begins = (or_(*(code.startswith(one, autoescape=True) for one in some)) for some in beginnings)
        rows = await self._rows(
            select(member)
            .where(member.c.platform == self._platform, code > after, *begins)
            .order_by(member.c.member_id)
            .limit(limit)
        )
        found = [member_of(row) for row in rows]
        self._require_ours(found)
        return found

    def _require_ours(self, members: Iterable[Member]) -> None:
        for one in members:
            if self._keys is not None and not self._keys.recorded(one):
                raise MemberForged(
                    f"member {one.member_id} has no right MAC: its sub-account {one.sub_account} is not as the service"
                    " recorded it. Run `jzb verify`, and compare with the bank's list of members"
                )

    async def dependencies(
        self, member_: Member, *, limited_since: date, returned_since: date, but: UUID | None = None
    ) -> list[Dependency]:
        """What still needs a member, one operation apart. What could be given back counts when the bank has booked it
        since ``limited_since``, a withdrawal that could return since ``returned_since``.
        """
        rows = await self._rows(
            DEPENDENCIES,
            platform=self._platform,
            member_id=member_.member_id,
            sub_account=member_.sub_account,
            limited_since=limited_since,
            returned_since=returned_since,
            but=but,
            first=NAMED,
        )
        return dependencies_of(rows)
