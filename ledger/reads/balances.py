"""What accounts hold and can give, and how that compares with the bank."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from ledger.accounts import OWN, POCKETS, Account, Kind, day_text
from ledger.comparison import MOTION, POSITION, Comparison, Motion, Position
from ledger.database import reading
from ledger.lookups import MemberBalance
from ledger.names import MemberCode, SubAccount
from ledger.reads.queries import Queries
from ledger.schema import account, comparison


class Balances(Queries):
    """Amounts on accounts, in fen."""

    async def remaining(self, wanted: Collection[Account]) -> dict[str, int]:
        """What each of these accounts can still give, by name; an account that was never touched gives nothing."""
        rows = await self._rows(
            select(account.c.name, (account.c.balance_fen - account.c.held_fen).label("remaining")).where(
                account.c.platform == self._platform, account.c.name.in_([a.name for a in wanted])
            )
        )
        found = {row["name"]: row["remaining"] for row in rows}
        return {a.name: found.get(a.name, 0) for a in wanted}

    async def pocket(self, pocket: Account) -> tuple[int, int]:
        """An account's balance and what of it is held, in fen."""
        rows = await self._rows(
            select(account.c.balance_fen, account.c.held_fen).where(
                account.c.platform == self._platform, account.c.name == pocket.name
            )
        )
        return (rows[0]["balance_fen"], rows[0]["held_fen"]) if rows else (0, 0)

    async def pockets(self, sub_account: SubAccount, kinds: Collection[Kind] = POCKETS) -> dict[Account, int]:
        """The pockets of a sub-account that are not empty, and what each can still give, in fen. The platform's own
        accounts are without a sub-account.
        """
        rows = await self._rows(
            select(
                account.c.kind, account.c.ref, (account.c.balance_fen - account.c.held_fen).label("remaining")
            ).where(
                account.c.platform == self._platform,
                account.c.owner == sub_account,
                account.c.kind.in_([kind.value for kind in kinds]),
                account.c.has_money,
                account.c.balance_fen > 0,
            )
        )
        return {Account(Kind(row["kind"]), sub_account, row["ref"]): row["remaining"] for row in rows}

    async def balances(self, sub_accounts: Collection[SubAccount]) -> dict[SubAccount, MemberBalance]:
        """The balances of these sub-accounts, by number; one without money has zeros."""
        found = await self._lookups.balances.get(sub_accounts)
        return {sub: found.get(sub) or MemberBalance(sub_account=sub) for sub in sub_accounts}

    async def balances_of(self, member_ids: Collection[MemberCode]) -> dict[MemberCode, MemberBalance]:
        """The balances of the members among these codes, by code."""
        return await self._lookups.balances_of.get(member_ids)

    async def position(self, sub_account: SubAccount, today: date) -> Position:
        """The accounts of a sub-account, before the bank is asked about it; those of the platform without a number."""
        rows = await self._rows(
            text(POSITION),
            platform=self._platform,
            owner=sub_account,
            today=day_text(today),
            kinds=[kind.value for kind in (POCKETS if sub_account else OWN)],
        )
        found = {Kind(row["kind"]): row for row in rows if row["kind"]}
        return Position(
            balance_fen={kind: row["balance_fen"] for kind, row in found.items()},
            held_fen={kind: row["held_fen"] for kind, row in found.items()},
            earlier_fen={kind: row["earlier_fen"] for kind, row in found.items()},
            clearing_is_due=rows[0]["clearing_is_due"],
            event=rows[0]["seq"] or 0,
            at=rows[0]["at"] or datetime.min.replace(tzinfo=UTC),
            now=rows[0]["now"],
        )

    async def motion(self, sub_account: SubAccount, member_id: MemberCode, since: Position) -> Motion:
        """What may have moved on the accounts of ``since`` by now, once the bank has answered."""
        rows = await self._rows(
            text(MOTION),
            platform=self._platform,
            owner=sub_account,
            member_id=member_id,
            event=since.event,
            at=since.at,
            kinds=[kind.value for kind in (POCKETS if sub_account else OWN)],
        )
        return Motion(
            {Kind(row["kind"]): row["taken_fen"] for row in rows}, {Kind(row["kind"]): row["given_fen"] for row in rows}
        )

    async def keep(self, compared: Comparison) -> None:
        """Keep a comparison with the bank as the last of its sub-account."""
        mirror, bank = compared.mirror, compared.bank
        put = insert(comparison).values(
            platform=self._platform,
            sub_account=compared.sub_account,
            account_kind=compared.kind or "",
            result=compared.result.value,
            compared_at=compared.compared_at,
            mirror_available_fen=mirror.available_fen,
            mirror_withdrawable_fen=mirror.withdrawable_fen,
            mirror_frozen_fen=mirror.frozen_fen,
            bank_available_fen=bank.available_fen,
            bank_withdrawable_fen=bank.withdrawable_fen,
            bank_frozen_fen=bank.frozen_fen,
            in_doubt_fen=compared.in_doubt_fen,
        )
        async with reading(self._engine) as connection:
            await connection.execute(
                put.on_conflict_do_update(
                    constraint="comparison_pk",
                    set_={column.name: put.excluded[column.name] for column in comparison.c if not column.primary_key},
                    where=put.excluded.compared_at >= comparison.c.compared_at,
                )
            )

    async def functional(self) -> dict[Kind, int]:
        """The balances of the platform's own accounts (fee, in-transit, own funds...) in fen, by kind."""
        rows = await self._rows(
            select(account.c.kind, func.sum(account.c.balance_fen).label("balance_fen"))
            .where(
                account.c.platform == self._platform,
                account.c.owner == "",
                account.c.kind.in_([kind.value for kind in OWN]),
                account.c.has_money,
            )
            .group_by(account.c.kind)
        )
        return {Kind(row["kind"]): int(row["balance_fen"]) for row in rows}
