"""Lists of operations by every combination of filters, page by page, against the same picked by hand."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from datetime import date
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest

from ledger import (
    OPEN_STATES,
    Change,
    Draft,
    Filter,
    FloorBroken,
    Kind,
    Match,
    Member,
    NewOperation,
    Number,
    State,
    Step,
    lists,
)
from ledger.accounts import withdrawable
from ledger.lookups import fetched
from ledger.names import NO_MEMBER_CODE, BankSerial, MemberCode, RequestId, SubAccount
from ledger.reads.payments import ORDERED
from ledger.session import Pool
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    DAY,
    DAY_AFTER,
    DAY_BEFORE,
    execute,
    money,
    opening,
    pay,
    posting,
    top_up,
    voiding,
)
from tests.ledger.conftest import Mirror

MEMBERS = ("ann", "bob", "cat")
NUMBERS = {"cat": "1003"}
KINDS = ("PAY_T1", "TOP_UP", "BATCH_CONFIRM")
TAGS = (("reference", "I-1"), ("reference", "I-2"), ("label", "shop=north"), ("label", "shop="), ("label", "a=b"))
DAYS = (DAY_BEFORE, DAY, DAY_AFTER)


@dataclasses.dataclass
class Made:
    """What was done with an operation, as whoever did it remembers."""

    id: UUID
    state: State
    kind: str
    members: set[str]
    order_nos: set[str]
    bank_day: date | None
    bank_serials: set[str]
    channel_no: str
    tags: set[tuple[str, str]]

    def meets(self, wanted: Filter) -> bool:
        return bool(
            (not wanted.states or self.state in wanted.states)
            and (not wanted.kinds or self.kind in wanted.kinds)
            and wanted.member_id in ("", *self.members)
            and wanted.sub_account in ("", *(NUMBERS[member] for member in self.members if member in NUMBERS))
            and wanted.order_no in ("", *self.order_nos)
            and (wanted.days is None or (self.bank_day and wanted.days[0] <= self.bank_day <= wanted.days[1]))
            and wanted.bank_serial in ("", *self.bank_serials)
            and wanted.channel_no in ("", self.channel_no)
            and set(wanted.tags) <= self.tags
        )


def share(payee: SubAccount, order_no: str) -> Draft:
    return dataclasses.replace(top_up(BOB, 1), payee=MemberCode(payee), order_no=order_no)


async def make(mirror: Mirror, dice: random.Random, number: int) -> Made:
    """An operation of one member or several, in any state."""
    kind = dice.choice(KINDS)
    shares = [
        (dice.choice(MEMBERS), dice.choice(("", f"O{dice.randrange(4)}"))) for _ in range(dice.choice((1, 1, 2, 3)))
    ]
    payer, order_no = dice.choice(("", *MEMBERS)), dice.choice(("", f"O{dice.randrange(4)}"))
    channel_no = f"C{dice.randrange(4)}" if kind == "TOP_UP" else ""
    drafts = [share(SubAccount(payee), order) for payee, order in shares]
    if dice.random() < 0.1:
        # More than there is: the floor refuses it.
        drafts.append(dataclasses.replace(pay(ANN, BOB, 10**9), payer=NO_MEMBER_CODE, payee=MemberCode("cat")))
        shares.append(("cat", ""))
    step = opening(*drafts, kind=kind, payer=SubAccount(payer), order_no=order_no, request_id=f"r{number}")
    assert isinstance(step.operation, NewOperation)
    tags = tuple(dict.fromkeys(dice.choice(TAGS) for _ in range(dice.randrange(4))))
    channel = (("channel", channel_no),) if channel_no else ()
    step = dataclasses.replace(step, operation=dataclasses.replace(step.operation, found_by=(*channel, *tags)))
    made = Made(
        step.operation_id,
        State.RESERVED,
        kind,
        {payer, *(payee for payee, _ in shares)} - {""},
        {order_no, *(order for _, order in shares)} - {""},
        None,
        set(),
        channel_no,
        set(tags),
    )
    try:
        await mirror.do(step)
    except FloorBroken:
        made.state = State.REFUSED
        return made
    match dice.randrange(6):
        case 0:
            pass
        case 1:
            await mirror.do(voiding(step))
            made.state = State.REFUSED
        case 2:
            await mirror.do(voiding(step, state=State.RELEASED))
            made.state = State.RELEASED
        case _:
            made.state, made.bank_day = State.DONE, dice.choice(DAYS)
            serials = tuple(f"B{number}-{part}" for part in range(len(drafts)))
            made.bank_serials = set(serials)
            change = Change(
                state=State.DONE, bank_serial=BankSerial(serials[0]), bank_serials=tuple(map(BankSerial, serials))
            )
            await mirror.do(dataclasses.replace(posting(step, bank_day=made.bank_day), change=change))
    return made


async def pages(mirror: Mirror, wanted: Filter, limit: int) -> list[UUID]:
    """All pages one behind the other."""
    found: list[UUID] = []
    behind: UUID | None = None
    while True:
        page, further, _ = await mirror.lists.page(wanted, behind=behind, limit=limit)
        assert len(page) <= limit
        found += [one.operation.id for one in page]
        if further is None:
            return found
        gets_on = behind is None or (further > behind if wanted.oldest_first else further < behind)
        assert gets_on, "a page that does not get on"
        behind = further


def only(state: State) -> frozenset[State]:
    return frozenset({state})


FILTERS: dict[str, tuple[Any, ...]] = {
    "states": (frozenset(), *map(only, State), OPEN_STATES, frozenset({State.REFUSED, State.UNKNOWN})),
    "kinds": (frozenset(), *(frozenset({kind}) for kind in KINDS), frozenset(KINDS[:2])),
    "member_id": ("", "cat"),
    "order_no": ("", "O1"),
    "days": (None, (DAY, DAY), (DAY_BEFORE, DAY)),
}


async def test_every_combination_of_filters_finds_what_meets_all_once_in_order(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "EXAMINED_MAX", 7)
    dice = random.Random(17)
    cat = Member(member_id=MemberCode("cat"), sub_account=SubAccount(NUMBERS["cat"]), property="00")
    opened = opening(state=State.DONE, kind="OPEN_MEMBER", members=(cat,))
    await mirror.do(opened)
    made = [Made(opened.operation_id, State.DONE, "OPEN_MEMBER", set(), set(), DAY, set(), "", set())]
    made += [await make(mirror, dice, number) for number in range(48)]
    wanted = [Filter(**dict(zip(FILTERS, values, strict=True))) for values in itertools.product(*FILTERS.values())]
    wanted += [
        Filter(bank_serial=BankSerial(next(iter(made[-1].bank_serials or {"B50-0"})))),
        Filter(bank_serial=BankSerial("B41-1")),
    ]
    wanted += [
        Filter(channel_no=f"C{number}", states=states)
        for number in range(5)
        for states in (frozenset(), only(State.DONE))
    ]
    wanted += [
        Filter(tags=tags, states=states, kinds=kinds)
        for tags in [(one,) for one in TAGS] + list(itertools.combinations(TAGS, 2))
        for states in (frozenset(), only(State.DONE), only(State.REFUSED))
        for kinds in (frozenset[str](), frozenset({"TOP_UP"}))
    ]
    wanted += [
        Filter(sub_account=SubAccount(number), member_id=MemberCode(member), states=states)
        for number in (NUMBERS["cat"], "9999")
        for member in ("", "cat", "ann")
        for states in (frozenset(), only(State.DONE), only(State.RESERVED))
    ]
    seen = 0
    for one in wanted:
        limit = dice.choice((3, 50))
        if dice.random() < 0.3:
            one = dataclasses.replace(one, oldest_first=True)
        found = await pages(mirror, one, limit)
        in_order = made if one.oldest_first else reversed(made)
        assert found == [operation.id for operation in in_order if operation.meets(one)], one
        seen += bool(found)
    assert seen > 50


async def test_a_page_is_of_one_moment_whatever_was_asked_for(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []

    async def counted(pool: Pool, query: LiteralString, values: Any) -> list[Any]:
        statements.append(query)
        return await fetched(pool, query, values)

    monkeypatch.setattr(lists, "fetched", counted)
    assert await mirror.lists.page(Filter(), limit=1) == ([], None, 0)
    step = opening(share(SubAccount("bob"), ""))
    await mirror.do(step)
    for wanted in (
        Filter(),
        Filter(member_id=MemberCode("bob")),
        Filter(member_id=MemberCode("bob"), states=only(State.RESERVED), kinds=frozenset({"PAY_T1"})),
    ):
        statements.clear()
        page = await mirror.lists.page(wanted, limit=1)
        assert len(statements) == 1
        assert page.last_event == await mirror.reads.last_event()
        assert page.full_operations == list((await mirror.reads.full_operations([step.operation_id])).values())


async def test_an_operation_of_several_is_found_by_each_of_its_members_orders_and_serials(mirror: Mirror) -> None:
    split = opening(
        share(SubAccount("bob"), "O-b"), share(SubAccount("cat"), "O-c"), kind="SPLIT_TOP_UP", order_no="O-whole"
    )
    await mirror.do(split)
    serials = ("B-b", "B-c")
    await mirror.do(
        dataclasses.replace(
            posting(split),
            change=Change(
                state=State.DONE, bank_serial=BankSerial("B-b"), bank_serials=tuple(map(BankSerial, serials))
            ),
        )
    )
    for wanted in (
        *(Filter(member_id=MemberCode(member)) for member in ("bob", "cat")),
        *(Filter(order_no=order_no) for order_no in ("O-whole", "O-b", "O-c")),
        *(Filter(bank_serial=BankSerial(serial)) for serial in serials),
    ):
        assert await pages(mirror, wanted, 10) == [split.operation_id], wanted
    assert await pages(mirror, Filter(member_id=MemberCode("ann")), 10) == []


async def test_what_a_floor_refused_is_found_by_the_members_it_was_for(mirror: Mirror) -> None:
    batch = opening(
        *(
            dataclasses.replace(pay(ANN, BOB, 5), payer=MemberCode("ann"), payee=MemberCode(payee))
            for payee in ("bob", "cat")
        )
    )
    with pytest.raises(FloorBroken):
        await mirror.do(batch)
    for member in ("ann", "bob", "cat"):
        assert await pages(mirror, Filter(member_id=MemberCode(member)), 10) == [batch.operation_id]


async def test_a_part_that_went_to_another_member_is_found_by_both(mirror: Mirror) -> None:
    step = opening(share(SubAccount("bob"), "O1"), payee=SubAccount("bob"))
    await mirror.do(step)
    elsewhere = dataclasses.replace(share(SubAccount("cat"), "O1"), legs=top_up(SubAccount("1003"), 1).legs)
    await mirror.do(dataclasses.replace(posting(step), post={1: elsewhere}))
    for member in ("bob", "cat"):
        assert await pages(mirror, Filter(member_id=MemberCode(member)), 10) == [step.operation_id]


async def test_an_operation_that_moves_to_another_bank_day_is_listed_under_its_last(mirror: Mirror) -> None:
    step = opening(share(SubAccount("bob"), ""))
    await mirror.do(step)
    accepted = Change(state=State.ACCEPTED, bank_serial=BankSerial("B1"), next_ask_in_s=1.0)
    await mirror.do(Step(operation=step.operation_id, change=accepted, bank_day=DAY))
    assert await pages(mirror, Filter(days=(DAY, DAY)), 10) == [step.operation_id]
    await mirror.do(dataclasses.replace(posting(step, bank_day=DAY_AFTER), expects=frozenset({State.ACCEPTED})))
    assert await pages(mirror, Filter(days=(DAY, DAY)), 10) == []
    assert await pages(mirror, Filter(days=(DAY_AFTER, DAY_AFTER)), 10) == [step.operation_id]
    assert await pages(mirror, Filter(bank_serial=BankSerial("B1")), 10) == [step.operation_id]


async def test_an_operation_that_was_released_twice_is_listed_once(mirror: Mirror) -> None:
    first = opening(share(SubAccount("bob"), ""), request_id="again")
    await mirror.do(first)
    await mirror.do(voiding(first, state=State.RELEASED))
    second = opening(share(SubAccount("bob"), ""), request_id="again")
    again = await mirror.do(second)
    await mirror.do(
        Step(operation=again.operation.id, change=Change(state=State.RELEASED), bank_day=DAY, void=again.pended)
    )
    assert await pages(mirror, Filter(states=only(State.RELEASED)), 10) == [first.operation_id]
    await mirror.do(opening(enter=[money(withdrawable(BOB), 1)]))
    assert await pages(mirror, Filter(states=only(State.DONE), member_id=MemberCode("bob")), 10) == []


async def test_every_number_is_looked_up_by_an_index_however_long_the_history_is(mirror: Mirror) -> None:
    execute(
        mirror.dsn,
        "INSERT INTO operation SELECT '9930', lpad(to_hex(n), 32, '0')::uuid, 'r' || n, '', 'PAY_T1', 's' || n, 'done',"
        " 'a' || n % 999, 'b' || n % 999, 'o' || n, 100, 0, '', '', NULL, '', '', 'x' || n, NULL, '', '{}', 0, 0,"
        " now(), now() FROM generate_series(1, 20000) n",
        "INSERT INTO transaction SELECT platform, id, 1, serial, payer, payee, 100, 0, NULL, now() FROM operation",
        "INSERT INTO resolution SELECT platform, id, 1, 'posted', '2026-11-30', now() FROM operation",
        "INSERT INTO booking SELECT platform, id, '2026-11-30', bank_serial FROM operation",
        "INSERT INTO reference SELECT platform, id, 'channel', 'c' || serial FROM operation",
        "INSERT INTO due SELECT platform, id, now() FROM operation LIMIT 3000",
        "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
        " SELECT platform, id, 'done', '', '', '', '', now() FROM operation",
        "ANALYZE",
    )
    op = "00000000-0000-0000-0000-000000000007"
    for number, matches in (
        (Number(text=op), (Match.OPERATION_ID,)),
        (Number(text="r7", request_ids=(RequestId("r7"), RequestId("shop/r7"))), (Match.REQUEST_ID,)),
        (Number(text="s7"), (Match.SERIAL, Match.PART_SERIAL)),
        (Number(text="x7"), (Match.BANK_SERIAL,)),
        (Number(text="o7"), (Match.ORDER_NO,)),
        (Number(text="cs7"), (Match.CHANNEL_NO,)),
        (Number(text="a7", member_id=MemberCode("a7")), (Match.MEMBER,)),
        (Number(text="1007", owner_id=MemberCode("b7")), (Match.SUB_ACCOUNT,)),
    ):
        wanted = Filter(number=number)
        found = await mirror.lists.found(wanted, limit=50)
        assert set(found.matches) == {matches}, number
        assert {one.operation.serial for one in found.page.full_operations} >= {"s7"}
        with psycopg.connect(mirror.dsn) as connection:
            values = {**wanted.values, "platform": "9930", "behind": lists.NEWEST, "limit": 51}
            rows = connection.execute(f"EXPLAIN {wanted.query}".encode(), values).fetchall()
        plan = "\n".join(line for (line,) in rows)
        assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_a_page_of_orders_and_their_money_are_look_ups_however_long_the_history_is(
    mirror: Mirror, oldest_first: bool
) -> None:
    execute(
        mirror.dsn,
        "INSERT INTO operation SELECT '9930', lpad(to_hex(n), 32, '0')::uuid, 'r' || n, '',"
        " CASE WHEN n % 20 = 0 THEN 'PREPAY_ORDER' WHEN n % 20 = 1 THEN 'CONFIRM_ORDER' ELSE 'PAY_T1' END, 's' || n,"
        " 'done', 'a' || n % 999, 'b' || n % 999, 'o' || n / 20, 100, 0, '', '', NULL, '', '', 'x' || n,"
        " date '2026-11-01' + n / 1000, '', '{}', 0, 0, now(), now() FROM generate_series(1, 20000) n",
        "INSERT INTO transaction SELECT platform, id, 1, serial, payer, payee, 100, 0, NULL, now() FROM operation",
        "INSERT INTO resolution SELECT platform, id, 1, 'posted', bank_day, now() FROM operation",
        "INSERT INTO booking SELECT platform, id, bank_day, bank_serial FROM operation",
        "INSERT INTO reference SELECT platform, id, 'channel', 'c' || serial FROM operation",
        "INSERT INTO leg SELECT platform, id, 1, 0, 'LIMITS', 'escrow:' || payer || ':' || order_no, 100"
        " FROM operation WHERE kind = 'PREPAY_ORDER'",
        "INSERT INTO account"
        " SELECT platform, 'escrow:' || payer || ':' || order_no, 'escrow', payer, order_no, 0, 40, 10"
        " FROM operation WHERE kind = 'PREPAY_ORDER'",
        "INSERT INTO due SELECT platform, id, now() FROM operation LIMIT 3000",
        "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
        " SELECT platform, id, 'done', '', '', '', '', now() FROM operation",
        "INSERT INTO member SELECT '9930', 'm' || n, 'a' || n, '00', now() FROM generate_series(0, 998) n",
        "ANALYZE",
    )
    first = date(2026, 11, 3)
    wanted = Filter(
        kinds=frozenset({"PREPAY_ORDER", "BATCH_PREPAY"}), days=(first, date(2026, 11, 10)), oldest_first=oldest_first
    )
    page = await mirror.lists.page(wanted, limit=50)
    assert [one.operation.bank_day for one in page.full_operations] == [date(2026, 11, 3 if oldest_first else 10)] * 50
    orders = [(one.operation.id, one.operation.order_no) for one in page.full_operations]
    moneys = await mirror.reads.ordered(Kind.ESCROW, orders)
    assert {(one.put_fen, one.balance_fen, one.held_fen) for one in moneys} == {(100, 40, 10)}
    assert [one.member_id for one in moneys] == [f"m{one.operation.payer[1:]}" for one in page.full_operations]
    assert [dict(one.done_fen) for one in moneys] == [{"PREPAY_ORDER": 100, "CONFIRM_ORDER": 100, "PAY_T1": 1800}] * 50
    money = re.sub(r"(?<!:):(ids|numbers|platform|pocket)\b", r"%(\1)s", ORDERED)
    begins = lists.OLDEST if oldest_first else lists.NEWEST
    with psycopg.connect(mirror.dsn) as connection:
        named = {**wanted.values, "platform": "9930", "behind": begins, "limit": 51}
        rows = connection.execute(f"EXPLAIN {wanted.query}".encode(), named).fetchall()
        ids, numbers = ([one[place] for one in orders] for place in (0, 1))
        named = {"platform": "9930", "pocket": "escrow", "ids": ids, "numbers": numbers}
        rows += connection.execute(f"EXPLAIN {money}".encode(), named).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert "Seq Scan" not in plan, plan
