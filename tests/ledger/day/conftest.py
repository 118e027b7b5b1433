"""Fixtures of the tests of reconciliation: a mirror with postings of a bank day, and that day's files."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pytest
from psycopg.conninfo import make_conninfo

from bankclient import LineReader
from ledger import Account, AdjustedBreak, Member, NewOperation, connect
from ledger.accounts import POOLED, difference, withdrawable
from ledger.day import Break, BreakFilter, BreakState, Days, FileType, Loaded, NewFile
from ledger.names import MemberCode, Serial
from ledger.roles import SERVICE
from ledger.rules import Draft, Leg
from tests.ledger.bookkeeping import ANN, BOB, CAT, DAY, PLATFORM, opening, pay
from tests.ledger.conftest import Mirror, open_mirror

NAMES = {ANN: "ann", BOB: "bob", CAT: "cat"}


def sealed(digest: bytes, content: bytes) -> tuple[str, bytes]:
    """Stands for the vault: what is kept is not what came."""
    return "key", bytes(byte ^ 0x5A for byte in content)


def signed(content: str) -> bytes:
    """Stands for the vault's MAC over a decision."""
    return hashlib.sha256(b"key" + content.encode()).digest()


@dataclass(frozen=True, slots=True)
class Bank:
    """A mirror that has members with money, and the bank's files of its days."""

    mirror: Mirror
    days: Days

    async def posted(self, serial: str, fen: int = 1000, fee_fen: int = 0, day: date = DAY) -> str:
        """A payment of ann to bob that the bank has booked on that day; its serial."""
        draft = pay(ANN, BOB, fen, fee_fen, Serial(serial))
        named = Draft(draft.legs, draft.serial, MemberCode("ann"), MemberCode("bob"), fen, fee_fen)
        await self.mirror.do(opening(enter=[named], serial=Serial(f"{serial}-call"), bank_day=day, kind="PAY_T1"))
        return serial

    async def load(
        self, *lines: str, type_: FileType = FileType.TRANSACTIONS, day: date = DAY, stated: int | None = None
    ) -> Loaded:
        """Load a file of these lines."""
        content = "".join(f"{line}\n" for line in lines).encode("gb18030")
        return await self.load_bytes(content, type_, day, stated)

    async def load_bytes(
        self, content: bytes, type_: FileType = FileType.TRANSACTIONS, day: date = DAY, stated: int | None = None
    ) -> Loaded:
        new = NewFile(bank_day=day, type=type_, name="file.txt", stated_rows=stated)
        chunks = [content[at : at + 1000] for at in range(0, len(content), 1000)]
        return await self.days.load(new, lambda: iter(chunks), LineReader(type_.value))

    async def adjusted(self, found: Break, account: Account, fen: int, day: date) -> None:
        """An adjustment of a break that was approved, posted on that day: more for an account, or less."""
        break_id = str(found.break_id)
        sides = (difference(break_id), account) if fen > 0 else (account, difference(break_id))
        moved = Draft((Leg(*sides, abs(fen)),), amount_fen=abs(fen))
        adjusts = AdjustedBreak(found.break_id, "head", "", "the bank's amount stands")
        step = opening(enter=[moved], kind="ADJUSTMENT", bank_day=day, adjusts=adjusts)
        assert isinstance(step.operation, NewOperation)
        await self.mirror.do(replace(step, operation=replace(step.operation, found_by=(("break", break_id),))))

    async def breaks(self, *states: BreakState, day: date | None = None) -> list[Break]:
        """What is not closed, or is in one of these states."""
        wanted = states or (BreakState.OPEN, BreakState.CARRIED, BreakState.HELD)
        return await self.days.breaks(BreakFilter(states=wanted, first_day=day, last_day=day))


@pytest.fixture
async def bank(database: str) -> AsyncIterator[Bank]:
    """Ann has 1,000.00; nothing else is booked."""
    async with open_mirror(database) as mirror:
        for number, (sub_account, code) in enumerate(NAMES.items()):
            member = Member(member_id=MemberCode(code), sub_account=sub_account, property="00")
            await mirror.do(opening(kind="OPEN_MEMBER", serial=Serial(f"M{number}"), members=(member,)))
        before = Draft((Leg(POOLED, withdrawable(ANN), 100_000),), amount_fen=100_000)
        await mirror.do(opening(enter=[before], kind="OPENING_BALANCE", bank_day=DAY - timedelta(days=10)))
        # With the rights of a service, which may not change what a line says.
        service = make_conninfo(database, options=f"-c role={SERVICE}")
        engine = connect(service, 2)
        yield Bank(mirror, Days(service, engine, PLATFORM, encrypt=sealed, sign=signed))
        await engine.dispose()
