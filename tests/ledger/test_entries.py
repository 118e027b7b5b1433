"""Statements and balances of the past are what a replay of the journal comes to, at any moment, for any bank day."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Any, LiteralString, NamedTuple
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import (
    Entries,
    Entry,
    Kind,
    LedgerError,
    LedgerUnavailable,
    Member,
    Place,
    Pockets,
    Step,
    connect,
    open_pool,
    verify,
)
from ledger import entries as module
from ledger.accounts import withdrawable
from ledger.entry_statements import ENTRIES
from ledger.lookups import fetched
from ledger.names import MemberCode, SubAccount
from ledger.session import Pool
from ledger.writer import Writer
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    DAY,
    DAY_AFTER,
    DAY_BEFORE,
    PLATFORM,
    OneByOne,
    ask,
    confirm,
    execute,
    freeze,
    money,
    opening,
    pay,
    pay_today,
    posting,
    prepay,
    top_up,
    voiding,
)
from tests.ledger.choosing import choices, days, step_of
from tests.ledger.conftest import Mirror

MICROSECOND = timedelta(microseconds=1)
POCKETS = ("withdrawable", "waiting", "frozen", "escrow")
ANNS, BOBS = MemberCode("ann"), MemberCode("bob")


class Leg(NamedTuple):
    """A posted leg of the journal."""

    at: datetime
    operation_id: UUID
    part: int
    bank_day: date
    debit: str
    credit: str
    fen: int


class Replay:
    """The journal, read as it is and added up here."""

    def __init__(self, dsn: str, platform: str) -> None:
        self.legs = [
            Leg(*row)
            for row in ask(
                dsn,
                "SELECT r.at, l.operation_id, l.part, r.bank_day, l.debit, l.credit, l.amount_fen FROM leg l"
                " JOIN resolution r USING (platform, operation_id, part) WHERE platform = %s"
                " ORDER BY r.at, l.operation_id, l.part, l.leg",
                platform,
            )
        ]
        self.batches = [at for (at,) in ask(dsn, "SELECT at FROM seal WHERE platform = %s ORDER BY at", platform)]

    def pockets(self, sub_account: SubAccount, at: datetime | None = None, bank_day: date | None = None) -> Pockets:
        sums = dict.fromkeys(POCKETS, 0)
        for leg in self._upto(at, bank_day):
            for name, fen in ((leg.debit, -leg.fen), (leg.credit, leg.fen)):
                kind, _, rest = name.partition(":")
                if kind in sums and rest.partition(":")[0] == sub_account:
                    sums[kind] += fen
        return Pockets(*sums.values())

    def totals(self, at: datetime | None = None, bank_day: date | None = None) -> dict[Kind, tuple[int, int]]:
        sums: dict[Kind, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for leg in self._upto(at, bank_day):
            debit, credit = Kind(leg.debit.partition(":")[0]), Kind(leg.credit.partition(":")[0])
            sums[debit] = sums[debit][0] + leg.fen, sums[debit][1]
            sums[credit] = sums[credit][0], sums[credit][1] + leg.fen
        return dict(sums)

    def places(self, sub_account: SubAccount) -> list[Place]:
        """The parts that have moved something on a sub-account, in order."""
        found = dict.fromkeys(
            Place(leg.at, leg.operation_id, leg.part, sub_account)
            for leg in self.legs
            if any(name.split(":")[:2] in ([kind, sub_account] for kind in POCKETS) for name in (leg.debit, leg.credit))
        )
        return list(found)

    def after(self, place: Place) -> Pockets:
        """What there was once this part was posted."""
        whole, self.legs = self.legs, [leg for leg in self.legs if leg[:3] <= place[:3]]
        try:
            return self.pockets(place.sub_account)
        finally:
            self.legs = whole

    def _upto(self, at: datetime | None, bank_day: date | None) -> list[Leg]:
        return [
            leg for leg in self.legs if (at is None or leg.at <= at) and (bank_day is None or leg.bank_day <= bank_day)
        ]


def opened(*names: tuple[MemberCode, SubAccount]) -> Step:
    members = tuple(Member(member_id=code, sub_account=sub, property="00") for code, sub in names)
    return opening(kind="OPEN_MEMBER", members=members)


@asynccontextmanager
async def reading(dsn: str, platform: str = PLATFORM) -> AsyncIterator[Entries]:
    async with open_pool(dsn) as pool:
        yield Entries(pool, platform)


@pytest.fixture
async def entries(mirror: Mirror) -> Entries:
    """What Ann and Bob have."""
    await mirror.do(opened((ANNS, ANN), (BOBS, BOB)))
    return mirror.entries


async def all_of(entries: Entries, member_id: MemberCode, **values: Any) -> list[Entry]:
    return [entry async for entry in entries.entries(member_id, **values)]


_platforms = itertools.count(1)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(st.tuples(choices, days), min_size=5, max_size=25),
    st.sampled_from([1, 3, 256]),
    st.lists(st.integers(1, 9), max_size=5),
    st.sampled_from([2, 5, 1024]),
)
def test_what_there_was_at_any_moment_and_on_any_bank_day_is_what_a_replay_comes_to(
    database: str, chosen: list[tuple[tuple[str, object], date]], batch_max: int, runs: list[int], events: int
) -> None:
    """Filled now and then, while it goes on; bank days come in any order, as when the bank answers late."""
    platform = f"e{next(_platforms)}"
    model, steps, begun = OneByOne(), [opened((ANNS, ANN), (BOBS, BOB))], list[Step]()
    beginning = [top_up(ANN, 80, 2), top_up(BOB, 50), money(withdrawable(ANN), 30), money(withdrawable(BOB), 30)]
    for choice, day in [(("enter", beginning), DAY_BEFORE), *chosen]:
        step = step_of(choice, day, begun, model)
        if step is None:
            continue
        steps.append(step)
        # Refusals are no matter here.
        with contextlib.suppress(LedgerError):
            model.judge(step)
        if choice[0] == "pend":
            begun.append(step)

    async def play() -> None:
        async with (
            Writer(database, platform, batch_max=batch_max).running() as writer,
            reading(database, platform) as past,
        ):
            left = iter(steps)
            for size in [*runs, len(steps)]:
                run = list(itertools.islice(left, size))
                await asyncio.gather(*(writer.submit(step) for step in run), return_exceptions=True)
                await compare_around(past)
                await past.fill()
            await compare(past)
        engine = connect(database, 1)
        try:
            assert await verify(engine, platform) == []
        finally:
            await engine.dispose()

    async def compare_around(past: Entries) -> None:
        """Where the last filling ended, while there is more to fill; the last of these moments fills it."""
        journal = Replay(database, platform)
        for (end,) in ask(database, "SELECT max(at) FROM filled WHERE platform = %s HAVING count(*) > 0", platform):
            for at in (end - MICROSECOND, end, end + MICROSECOND):
                for code, sub in ((ANNS, ANN), (BOBS, BOB)):
                    assert (await past.balance(code, at=at)).pockets == journal.pockets(sub, at)
                assert (await past.totals(at=at)).by_kind == journal.totals(at)

    async def compare(past: Entries) -> None:
        journal = Replay(database, platform)
        for at in (moment for batch in journal.batches for moment in (batch - MICROSECOND, batch)):
            for code, sub in ((ANNS, ANN), (BOBS, BOB)):
                assert (await past.balance(code, at=at)).pockets == journal.pockets(sub, at)
            assert (await past.totals(at=at)).by_kind == journal.totals(at)
        for bank_day in (DAY_BEFORE - timedelta(1), DAY_BEFORE, DAY, DAY_AFTER):
            for code, sub in ((ANNS, ANN), (BOBS, BOB)):
                assert (await past.balance(code, bank_day=bank_day)).pockets == journal.pockets(sub, bank_day=bank_day)
            assert (await past.totals(bank_day=bank_day)).by_kind == journal.totals(bank_day=bank_day)
        for code, sub in ((ANNS, ANN), (BOBS, BOB)):
            found = await all_of(past, code)
            assert [entry.place for entry in found] == journal.places(sub)
            assert [entry.after for entry in found] == [journal.after(entry.place) for entry in found]
            on_day = await all_of(past, code, first_day=DAY, last_day=DAY)
            assert on_day == [entry for entry in found if entry.bank_day == DAY]

    with patch.object(module, "EVENTS", events):
        asyncio.run(play())


async def test_a_late_posting_moves_the_end_of_its_bank_day_and_no_moment_before(
    mirror: Mirror, entries: Entries
) -> None:
    await mirror.give(withdrawable(ANN), 100)
    late = opening(pay_today(ANN, BOB, 30), bank_day=DAY)
    await mirror.do(late)
    await mirror.do(opening(enter=[pay_today(ANN, BOB, 5)], bank_day=DAY_AFTER))
    before = await entries.balance(ANNS)
    assert (await entries.balance(ANNS, bank_day=DAY)).pockets.withdrawable_fen == 100
    await mirror.do(posting(late, bank_day=DAY))
    assert (await entries.balance(ANNS, bank_day=DAY)).pockets.withdrawable_fen == 70
    assert (await entries.balance(ANNS, bank_day=DAY_AFTER)).pockets.withdrawable_fen == 65
    assert await entries.balance(ANNS, at=before.at) == before
    assert before.pockets.withdrawable_fen == 95
    assert [entry.bank_day for entry in await all_of(entries, ANNS)] == [DAY, DAY_AFTER, DAY]


async def test_what_is_held_is_still_where_it_is_held(mirror: Mirror, entries: Entries) -> None:
    await mirror.give(withdrawable(ANN), 100)
    await mirror.do(opening(pay_today(ANN, BOB, 30)))
    assert (await entries.balance(ANNS)).pockets == Pockets(100, 0, 0, 0)


async def test_an_entry_says_what_moved_and_what_was_there_after_it(mirror: Mirror, entries: Entries) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(
        pay(ANN, BOB, 40, 1), request_id="r-40", order_no="O40", payer=ANN, payee=BOB, amount_fen=40, bank_day=DAY
    )
    await mirror.do(step)
    await mirror.do(posting(step))
    await mirror.do(opening(enter=[freeze(ANN, "F1", 10)], kind="FREEZE"))
    await mirror.do(opening(enter=[prepay(ANN, "O1", 20)], kind="PREPAY_ORDER"))
    _, paid, frozen, prepaid = await all_of(entries, ANNS)
    assert (paid.moved, paid.after) == (Pockets(-40, 0, 0, 0), Pockets(60, 0, 0, 0))
    assert (paid.request_id, paid.order_no) == ("r-40", "O40")
    assert (paid.payer, paid.payee) == (MemberCode(ANN), MemberCode(BOB))
    assert (paid.amount_fen, paid.fee_fen, paid.kind, paid.bank_day) == (40, 1, "PAY_T1", DAY)
    assert (frozen.moved, frozen.after) == (Pockets(-10, 0, 10, 0), Pockets(50, 0, 10, 0))
    assert (prepaid.moved, prepaid.after) == (Pockets(-20, 0, 0, 20), Pockets(30, 0, 10, 20))
    (received,) = await all_of(entries, BOBS)
    assert (received.moved, received.after) == (Pockets(0, 39, 0, 0), Pockets(0, 39, 0, 0))


async def test_the_places_of_entries_stay_while_others_come(mirror: Mirror, entries: Entries) -> None:
    await mirror.give(withdrawable(ANN), 1000)
    waiting = [opening(pay_today(ANN, BOB, 1 + n)) for n in range(6)]
    for step in waiting:
        await mirror.do(step)
    seen: list[Entry] = []
    # The oldest operation ends last.
    for step in reversed(waiting):
        await mirror.do(posting(step, bank_day=DAY_BEFORE))
        found = await all_of(entries, BOBS)
        assert found[: len(seen)] == seen
        seen = found
    with patch.object(module, "PAGE", 2):
        for read in range(len(seen)):
            assert await all_of(entries, BOBS, after=seen[read].place) == seen[read + 1 :]
        assert await all_of(entries, BOBS, until=seen[3].place.at) == seen[:4]


async def test_so_many_are_read_as_are_asked_for(mirror: Mirror, entries: Entries) -> None:
    await mirror.give(withdrawable(ANN), 1000)
    for _ in range(7):
        await mirror.do(opening(enter=[pay_today(ANN, BOB, 1)]))
    every = await all_of(entries, BOBS)
    read: list[int] = []

    async def counting(pool: Pool, query: LiteralString, values: Mapping[str, Any], **how: bool) -> list[Any]:
        rows = await fetched(pool, query, values, **how)
        if query is ENTRIES:
            read.append(len(rows))
        return rows

    with patch.object(module, "PAGE", 3), patch.object(module, "fetched", counting):
        for limit in (1, 2, 3, 4, 6, 7, 8):
            read.clear()
            assert await all_of(entries, BOBS, limit=limit) == every[:limit]
            assert sum(read) == min(limit, len(every)), limit


LONG = (
    "INSERT INTO entry SELECT '9930', sub, timestamptz '2000-01-01Z' + n * interval '1 s', md5(n::text)::uuid, 1,"
    " '2000-01-01', 1, 0, 0, 0, n, 0, 0, 0"
    f" FROM (SELECT n, CASE WHEN n % 2 = 0 THEN '{ANN}' ELSE 'S' || n % 399 END AS sub"
    " FROM generate_series(1, 60000) n) made",
    "ANALYZE entry",
)
"""30,000 entries of Ann's, and of two hundred others a hundred and fifty each."""


async def test_a_page_of_a_long_statement_reads_what_it_shows(mirror: Mirror, entries: Entries) -> None:
    execute(mirror.dsn, *LONG)
    read: list[int] = []

    async def explained(pool: Pool, query: LiteralString, values: Mapping[str, Any], **how: bool) -> list[Any]:
        if query is ENTRIES:
            ((plan,),) = await fetched(pool, f"EXPLAIN (ANALYZE, FORMAT JSON) {ENTRIES}", values, **how)
            read.append(entries_read(plan[0]["Plan"]))
        return await fetched(pool, query, values, **how)

    async with open_pool(mirror.dsn, size=1) as pool:
        on_one = Entries(pool, PLATFORM)
        # Planned for these values, then for any.
        for mode in ("force_custom_plan", "force_generic_plan"):
            async with pool.connection() as connection:
                await connection.execute(f"SET plan_cache_mode = {mode}".encode())
            with patch.object(module, "fetched", explained):
                await all_of(on_one, ANNS, limit=500)
    assert read == [500, 500]


def entries_read(plan: dict[str, Any]) -> int:
    """How many rows of the table a plan has gone through."""
    own = int(plan["Actual Rows"]) if plan.get("Relation Name") == "entry" else 0
    return own + sum(entries_read(below) for below in plan.get("Plans", []))


async def test_what_was_voided_is_in_no_statement(mirror: Mirror, entries: Entries) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay_today(ANN, BOB, 30))
    await mirror.do(step)
    await mirror.do(voiding(step))
    assert len(await all_of(entries, ANNS)) == 1
    assert await all_of(entries, BOBS) == []


async def test_several_processes_fill_each_part_once(mirror: Mirror, entries: Entries) -> None:
    await mirror.give(withdrawable(ANN), 1000)
    async with reading(mirror.dsn) as other, reading(mirror.dsn) as third:
        with patch.object(module, "EVENTS", 3):
            for _ in range(5):
                await mirror.together(*(opening(enter=[pay_today(ANN, BOB, 1)]) for _ in range(10)))
                await asyncio.gather(entries.fill(), other.fill(), third.fill())
    assert len(await all_of(entries, BOBS)) == 50
    await mirror.assert_whole()


async def test_a_member_with_a_new_sub_account_has_one_statement(mirror: Mirror, entries: Entries) -> None:
    await mirror.give(withdrawable(ANN), 10)
    await mirror.do(opening(enter=[pay_today(ANN, BOB, 10)]))
    await mirror.do(opened((ANNS, SubAccount("1009"))))
    await mirror.give(withdrawable(SubAccount("1009")), 7)
    found = await all_of(entries, ANNS)
    assert [(entry.place.sub_account, entry.after.withdrawable_fen) for entry in found] == [
        (ANN, 10),
        (ANN, 0),
        ("1009", 7),
    ]
    assert (await entries.balance(ANNS)).pockets.available_fen == 7


async def test_nothing_is_said_of_a_moment_that_may_still_change(mirror: Mirror, entries: Entries) -> None:
    await mirror.give(withdrawable(ANN), 10)
    ((last,),) = ask(mirror.dsn, "SELECT max(at) FROM event")
    now = last + timedelta(hours=1)
    assert (await entries.balance(ANNS, at=now)).at == (await entries.totals(at=now)).at == last
    await mirror.give(withdrawable(ANN), 10)
    assert (await entries.balance(ANNS, at=last)).pockets.withdrawable_fen == 10
    assert (await entries.balance(ANNS, at=last + MICROSECOND)).at == last + MICROSECOND


async def test_a_reader_does_not_wait_for_ever_for_statements_to_be_made(mirror: Mirror, entries: Entries) -> None:
    await mirror.together(*(opening(enter=[money(withdrawable(ANN), 1)]) for _ in range(20)))
    with patch.object(module, "EVENTS", 1), patch.object(module, "FILL_S", 0.0):
        for n in range(3):
            await mirror.give(withdrawable(BOB), n + 1)
        with pytest.raises(LedgerUnavailable, match="being made"):
            await entries.balance(ANNS)
    assert (await entries.balance(ANNS)).pockets.withdrawable_fen == 20


@pytest.mark.parametrize(
    ("forgery", "check"),
    [
        ("UPDATE entry SET withdrawable_after_fen = withdrawable_after_fen + 1", "an entry is what its part has moved"),
        ("UPDATE entry SET bank_day = bank_day + 1", "an entry is what its part has moved"),
        ("DELETE FROM entry WHERE sub_account = '1002'", "an entry is what its part has moved"),
        ("UPDATE balance_day SET withdrawable_fen = withdrawable_fen - 1", "a bank day's balances are moved by"),
        ("DELETE FROM balance_day", "a bank day's balances are moved by its entries"),
        ("UPDATE kind_day SET debit_fen = debit_fen + 1 WHERE kind = 'fee'", "a bank day's totals are those of its"),
        ("DELETE FROM kind_day", "a bank day's totals are those of its legs"),
        ("UPDATE filled SET credits_fen[1] = credits_fen[1] + 1", "totals are those of all legs before"),
        ("UPDATE filled SET kinds = '{}', debits_fen = '{}', credits_fen = '{}'", "totals are those of all legs"),
        ("UPDATE filled SET event = event - 1", "totals are those of all legs before"),
    ],
)
async def test_a_wrong_statement_or_snapshot_is_found(
    mirror: Mirror, entries: Entries, forgery: str, check: str
) -> None:
    await mirror.give(withdrawable(ANN), 100)
    await entries.fill()
    step = opening(pay(ANN, BOB, 30, 2))
    await mirror.do(step)
    await mirror.do(posting(step))
    await entries.fill()
    await mirror.do(opening(enter=[prepay(ANN, "O1", 20)], kind="PREPAY_ORDER"))
    await mirror.do(opening(enter=[confirm(ANN, BOB, "O1", 20)], kind="CONFIRM_ORDER"))
    await mirror.assert_whole()
    execute(mirror.dsn, forgery)
    found = await verify(mirror.engine, PLATFORM)
    assert any(check in finding.check for finding in found)
