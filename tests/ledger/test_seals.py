"""Every batch is sealed: a row changed, missing or inserted is found and named, and so is a broken chain."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import (
    Change,
    Finding,
    LedgerCorrupt,
    Member,
    NewOperation,
    State,
    Step,
    Summary,
    audit,
    migrate,
    seals,
    verify,
)
from ledger.accounts import withdrawable
from ledger.names import BankSerial, MemberCode, Serial
from ledger.replay import ALL_SEALED, COMPLETE, KEPT, LINKED, NOTED, SEALED
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    CAT,
    DAY,
    PLATFORM,
    ask,
    doubting,
    execute,
    opening,
    pay,
    posting,
    top_up,
    voiding,
)
from tests.ledger.conftest import Mirror, open_mirror

AS_OWNER = "SET LOCAL session_replication_role = replica"
"""What only the owner of the database can do: switch off what protects the journal."""


async def paid(mirror: Mirror) -> UUID:
    """Ann has 100 and pays Bob 30 with a fee of 3: three batches. The payment's operation."""
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay(ANN, BOB, 30, 3, serial=Serial("S1")))
    await mirror.do(step)
    booked = dataclasses.replace(step.pend[0], bank_serial=BankSerial("B1"))
    done = Change(state=State.DONE, bank_serial=BankSerial("B1"))
    await mirror.do(dataclasses.replace(posting(step), post={1: booked}, change=done))
    return step.operation_id


async def found_by_seals(mirror: Mirror, *tampering: str) -> list[Finding]:
    execute(mirror.dsn, AS_OWNER, *tampering)
    checks = {LINKED, COMPLETE, KEPT, SEALED}
    return [finding for finding in await verify(mirror.engine, PLATFORM) if finding.check in checks]


async def summary_of(mirror: Mirror) -> Summary:
    (summary,) = [found async for found in audit(mirror.engine, PLATFORM) if isinstance(found, Summary)]
    return summary


CHANGED = [
    ("operation", 2, "UPDATE operation SET amount_fen = 31 WHERE id = '{id}'"),
    ("operation", 2, "UPDATE operation SET payee = '1003' WHERE id = '{id}'"),
    ("transaction", 2, "UPDATE transaction SET payee = '1003' WHERE operation_id = '{id}'"),
    ("hold", 2, "UPDATE hold SET amount_fen = 29 WHERE operation_id = '{id}'"),
    ("resolution", 3, "UPDATE resolution SET bank_day = '2026-11-24' WHERE operation_id = '{id}'"),
    ("resolution", 3, "UPDATE resolution SET bank_serial = 'B2' WHERE operation_id = '{id}'"),
    ("resolution", 3, "UPDATE resolution SET bank_serial = '' WHERE operation_id = '{id}'"),
    ("leg", 3, "UPDATE leg SET amount_fen = 31 WHERE operation_id = '{id}' AND leg = 1"),
    ("leg", 3, "UPDATE leg SET credit = 'withdrawable:1003' WHERE operation_id = '{id}' AND leg = 1"),
    ("event", 3, "UPDATE event SET evidence = '\\x00' WHERE operation_id = '{id}' AND state = 'done'"),
    ("event", 2, "UPDATE event SET state = 'unknown' WHERE operation_id = '{id}' AND state = 'reserved'"),
]


@pytest.mark.parametrize(("table", "batch", "tampering"), CHANGED)
async def test_a_changed_row_is_found_and_named(mirror: Mirror, table: str, batch: int, tampering: str) -> None:
    operation_id = await paid(mirror)
    (finding,) = await found_by_seals(mirror, tampering.format(id=operation_id))
    assert finding.check == KEPT
    assert finding.where.startswith(f"batch {batch} of ")
    assert finding.where.endswith(f", {table} of operation {operation_id}")
    assert finding.found.startswith("changed: ")


DELETED = [
    ("operation", 2, "DELETE FROM operation WHERE id = '{id}'", "missing: no row"),
    ("transaction", 2, "DELETE FROM transaction WHERE operation_id = '{id}'", "missing: no row"),
    ("hold", 2, "DELETE FROM hold WHERE operation_id = '{id}'", "missing: no row"),
    ("resolution", 3, "DELETE FROM resolution WHERE operation_id = '{id}'", "missing: no row"),
    ("leg", 3, "DELETE FROM leg WHERE operation_id = '{id}' AND leg = 4", "missing: 3 rows, "),
    ("event", 3, "DELETE FROM event WHERE operation_id = '{id}' AND state = 'done'", "missing: no row"),
]


@pytest.mark.parametrize(("table", "batch", "tampering", "found"), DELETED)
async def test_a_missing_row_is_found_and_named(
    mirror: Mirror, table: str, batch: int, tampering: str, found: str
) -> None:
    operation_id = await paid(mirror)
    findings = await found_by_seals(mirror, tampering.format(id=operation_id))
    (finding,) = [one for one in findings if one.where.endswith(f", {table} of operation {operation_id}")]
    assert finding.check == KEPT
    assert finding.where.startswith(f"batch {batch} of ")
    assert finding.found.startswith(found)


OTHER = "00000000-0000-7000-8000-000000000001"
INSERTED = [
    (
        "operation",
        OTHER,
        SEALED,
        "INSERT INTO operation SELECT platform, '{other}', 'another', fingerprint, kind, 'another', state, payer,"
        " payee, order_no, amount_fen, fee_fen, reason, message, breach, bank_code, bank_message, bank_serial,"
        " bank_day, trace_id, plan, asks, not_found, {at}, updated_at FROM operation WHERE id = '{id}'",
    ),
    (
        "transaction",
        OTHER,
        SEALED,
        "INSERT INTO transaction SELECT platform, '{other}', part, serial, payer, payee, amount_fen, fee_fen, corrects,"
        " {at_reserved}, order_no FROM transaction WHERE operation_id = '{id}'",
    ),
    ("hold", "{id}", KEPT, "INSERT INTO hold VALUES ('9930', '{id}', 1, 'withdrawable:1002', 1)"),
    (
        "resolution",
        OTHER,
        SEALED,
        "INSERT INTO resolution SELECT platform, '{other}', part, verdict, bank_day, {at} FROM resolution"
        " WHERE operation_id = '{id}'",
    ),
    ("leg", "{id}", KEPT, "INSERT INTO leg VALUES ('9930', '{id}', 1, 5, 'pooled', 'withdrawable:1002', 1)"),
    (
        "event",
        OTHER,
        SEALED,
        "INSERT INTO event (platform, operation_id, state, reason, bank_code, bank_message, evidence, at)"
        " SELECT platform, '{other}', state, reason, bank_code, bank_message, evidence, {at} FROM event"
        " WHERE operation_id = '{id}' AND state = 'done'",
    ),
]


@pytest.mark.parametrize("hidden", [True, False], ids=["under a sealed time", "at a time of its own"])
@pytest.mark.parametrize(("table", "operation_id", "check", "tampering"), INSERTED)
async def test_an_inserted_row_is_found_and_named(
    mirror: Mirror, table: str, operation_id: str, check: str, tampering: str, hidden: bool
) -> None:
    payment = str(await paid(mirror))
    ((at,),) = ask(mirror.dsn, "SELECT at::text FROM seal WHERE batch = 3")
    time = f"'{at}'::timestamptz" if hidden else "now()"
    statement = tampering.format(id=payment, other=OTHER, at=time, at_reserved=time)
    (finding,) = await found_by_seals(mirror, statement)
    assert finding.check == check
    assert finding.where.endswith(f"{table} of operation {operation_id.format(id=payment)}")
    assert finding.found.startswith("inserted: ")


async def test_events_in_another_order_are_found(mirror: Mirror) -> None:
    step = opening(top_up(ANN, 5))
    await mirror.together(step, doubting(step))
    (finding,) = await found_by_seals(
        mirror,
        "UPDATE event SET state = CASE state WHEN 'reserved' THEN 'unknown' ELSE 'reserved' END",
    )
    assert finding.check == KEPT
    assert finding.found.startswith("changed: 2 rows, ")


async def test_a_seal_made_to_fit_a_changed_row_breaks_the_chain(mirror: Mirror) -> None:
    await paid(mirror)
    findings = await found_by_seals(mirror, "UPDATE seal SET leaves = set_byte(leaves, 20, 9) WHERE batch = 2")
    linked = [finding for finding in findings if finding.check == LINKED]
    assert [finding.where[:11] for finding in linked] == ["batch 2 of "]
    assert {finding.check for finding in findings} == {LINKED, KEPT}
    ((before, leaves, at),) = ask(
        mirror.dsn,
        "SELECT b.digest, s.leaves, s.at FROM seal s JOIN seal b ON b.batch = s.batch - 1 WHERE s.batch = 2",
    )
    again = seals.follow(seals.Seal(1, at, before), PLATFORM, at, leaves).digest
    findings = await found_by_seals(mirror, f"UPDATE seal SET digest = '\\x{again.hex()}' WHERE batch = 2")
    assert [finding.where[:11] for finding in findings if finding.check == LINKED] == ["batch 3 of "]


async def test_a_missing_seal_is_found_and_so_are_the_rows_it_sealed(mirror: Mirror) -> None:
    await paid(mirror)
    findings = await found_by_seals(mirror, "DELETE FROM seal WHERE batch = 2")
    missing = [finding for finding in findings if finding.check == COMPLETE]
    assert [(finding.expected, finding.found) for finding in missing] == [("batch 2", "batch 3")]
    assert {finding.check for finding in findings} == {COMPLETE, SEALED}


async def test_no_seal_at_all_is_found(mirror: Mirror) -> None:
    await paid(mirror)
    findings = await found_by_seals(mirror, "DELETE FROM seal")
    assert (COMPLETE, "the last batch", "batch 3", "batch 0") in {
        (finding.check, finding.where, finding.expected, finding.found) for finding in findings
    }


async def test_the_first_seals_cannot_be_left_out(mirror: Mirror) -> None:
    await paid(mirror)
    findings = await found_by_seals(mirror, "DELETE FROM seal WHERE batch = 1", "UPDATE platform SET unsealed = 1")
    assert {finding.check for finding in findings} == {LINKED}


async def test_an_end_cut_off_is_told_by_the_digest_that_was_noted(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    kept = await summary_of(mirror)
    await mirror.give(withdrawable(BOB), 7)
    noted = await summary_of(mirror)
    at = "(SELECT at FROM seal WHERE batch = 2)"
    execute(
        mirror.dsn,
        AS_OWNER,
        f"DELETE FROM leg USING resolution r WHERE r.operation_id = leg.operation_id AND r.at = {at}",
        f"DELETE FROM hold USING transaction t WHERE t.operation_id = hold.operation_id AND t.reserved_at = {at}",
        f"DELETE FROM transaction WHERE reserved_at = {at}",
        f"DELETE FROM resolution WHERE at = {at}",
        f"DELETE FROM event WHERE at = {at}",
        f"DELETE FROM operation WHERE created_at = {at}",
        "DELETE FROM account WHERE name = 'withdrawable:1002'",
        "UPDATE account SET balance_fen = -100 WHERE name = 'pooled'",
        "DELETE FROM seal WHERE batch = 2",
        "UPDATE platform SET batches = 1",
    )
    # Nothing inside the database tells of it: only who kept the digest elsewhere knows.
    assert await verify(mirror.engine, PLATFORM) == []
    assert (await summary_of(mirror)).digest == kept.digest != noted.digest
    (finding,) = [one async for one in audit(mirror.engine, PLATFORM, noted.digest) if isinstance(one, Finding)]
    assert finding == Finding(
        NOTED, "the chain of seals", noted.digest.hex(), f"no seal has it; the last is {kept.digest.hex()}"
    )


async def test_a_digest_that_was_noted_is_still_there_when_the_books_have_grown(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    noted = (await summary_of(mirror)).digest
    await mirror.give(withdrawable(ANN), 1)
    assert not [one async for one in audit(mirror.engine, PLATFORM, noted) if isinstance(one, Finding)]


async def test_the_summary_counts_and_names_the_end_of_the_chain(mirror: Mirror) -> None:
    await paid(mirror)
    summary = await summary_of(mirror)
    ((digest, until),) = ask(mirror.dsn, "SELECT digest, at FROM seal ORDER BY batch DESC LIMIT 1")
    assert (summary.batches, summary.operations, summary.transactions, summary.legs) == (3, 2, 2, 5)
    assert (summary.digest, summary.sealed_until, summary.findings) == (digest, until, 0)


async def test_what_was_written_before_there_were_seals_is_no_finding_but_said(empty_database: str) -> None:
    migrate(empty_database)
    async with open_mirror(empty_database) as mirror:
        await mirror.give(withdrawable(ANN), 100)
    # As the migration leaves a database that was in use before it.
    execute(empty_database, AS_OWNER, "DELETE FROM seal", "UPDATE platform SET unsealed = batches")
    async with open_mirror(empty_database) as mirror:
        assert await verify(mirror.engine, PLATFORM, unsealed=1) == []
        await mirror.give(withdrawable(BOB), 1)
        assert await verify(mirror.engine, PLATFORM, unsealed=1) == []
        summary = await summary_of(mirror)
        assert (summary.batches, summary.batches_unsealed) == (2, 1)
        assert ask(mirror.dsn, "SELECT batch, at FROM seal") == [(2, summary.sealed_since)]


async def test_seals_taken_away_as_if_there_had_never_been_any_are_missed(mirror: Mirror) -> None:
    await paid(mirror)
    execute(mirror.dsn, AS_OWNER, "DELETE FROM seal", "UPDATE platform SET unsealed = batches")
    (finding,) = await verify(mirror.engine, PLATFORM)
    assert finding == Finding(ALL_SEALED, "the first batches", "0", "3 of 3")


async def test_no_batch_is_written_behind_one_whose_seal_is_missing(database: str) -> None:
    async with open_mirror(database) as mirror:
        await paid(mirror)
    execute(database, AS_OWNER, "DELETE FROM seal WHERE batch = 3")
    async with open_mirror(database) as mirror:
        with pytest.raises(LedgerCorrupt, match="batch 3 has no seal"):
            await mirror.give(withdrawable(ANN), 1)
        assert ask(database, "SELECT batches FROM platform") == [(3,)]


async def test_two_processes_in_turn_keep_one_chain(database: str) -> None:
    async with open_mirror(database) as one, open_mirror(database) as other:
        for _ in range(5):
            await asyncio.gather(*(mirror.give(withdrawable(ANN), 1) for mirror in (one, other)))
        await one.assert_whole()
        assert (await summary_of(one)).batches == 10


async def test_a_connection_cut_in_mid_batch_keeps_the_chain(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 1)
    # Who has the platform's turn is in the middle of it.
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    )
    cuts = 0
    for _ in range(5):
        giving = [asyncio.create_task(mirror.give(withdrawable(ANN), 1)) for _ in range(400)]
        await asyncio.sleep(0.002)
        cuts += len(await asyncio.to_thread(ask, mirror.dsn, cut))
        await asyncio.gather(*giving)
    assert cuts
    assert mirror.standing()[withdrawable(ANN).name] == (2001, 0)
    await mirror.assert_whole()


async def test_a_clock_set_back_does_not_make_two_batches_one(mirror: Mirror) -> None:
    execute(mirror.dsn, "INSERT INTO platform (platform, batches) VALUES ('9930', 1)")
    later = datetime.now(UTC) + timedelta(hours=1)
    seal = seals.follow(seals.Seal(0, later, seals.BEGINNING), PLATFORM, later, b"")
    execute(mirror.dsn, f"INSERT INTO seal VALUES ('9930', 1, '{later}', '', '\\x{seal.digest.hex()}')")
    await mirror.give(withdrawable(ANN), 1)
    await mirror.give(withdrawable(ANN), 1)
    times = [at for (at,) in ask(mirror.dsn, "SELECT at FROM seal ORDER BY batch")]
    assert times == [later, later + timedelta(microseconds=1), later + timedelta(microseconds=2)]
    await mirror.assert_whole()


@pytest.mark.parametrize(
    "words", ["\0", "\\u0000", "\ud800", '"]]\n[["', "]\n[", "\x1f\x7f\u2028", "农业银行𠮷", "\\", ""]
)
async def test_whatever_the_bank_says_is_sealed_as_it_is_kept(mirror: Mirror, words: str) -> None:
    change = Change(state=State.UNKNOWN, next_ask_in_s=1.0, bank_message=words, evidence=b"\0\xff")
    step = opening(top_up(ANN, 5))
    await mirror.do(step)
    await mirror.do(Step(operation=step.operation_id, change=change, bank_day=DAY))
    await mirror.assert_whole()


PLAN = "an operation has the serial and the plan that it was opened with"


@pytest.mark.parametrize(
    "tampering", ["plan = replace(plan::text, '1002', '1003')::json", "serial = 'another'", "plan = '{}'"]
)
async def test_another_plan_or_serial_is_found_and_not_carried_on(mirror: Mirror, tampering: str) -> None:
    step = opening(top_up(ANN, 5), plan={"payee": BOB})
    await mirror.do(step)
    execute(mirror.dsn, f"UPDATE operation SET {tampering}")
    (finding,) = await verify(mirror.engine, PLATFORM)
    assert (finding.check, finding.where) == (PLAN, str(step.operation_id))
    tampered = await mirror.reads.operation(operation_id=step.operation_id)
    assert tampered is not None
    with pytest.raises(LedgerCorrupt, match=str(step.operation_id)):
        await mirror.reads.plan(tampered)


async def test_an_event_made_to_fit_another_plan_contradicts_its_seal(mirror: Mirror) -> None:
    step = opening(top_up(ANN, 5), plan={"payee": BOB})
    await mirror.do(step)
    digest = "sha256(convert_to(serial || chr(10) || '{}', 'UTF8'))"
    (finding,) = await found_by_seals(
        mirror, "UPDATE operation SET plan = '{}'", f"UPDATE event SET evidence = {digest} FROM operation"
    )
    assert (finding.check, finding.where.partition(", ")[2]) == (KEPT, f"event of operation {step.operation_id}")


@pytest.mark.parametrize("fen", [5, 500], ids=["reserved again", "refused by a floor"])
async def test_an_operation_opened_anew_has_its_new_plan_and_serial(mirror: Mirror, fen: int) -> None:
    await mirror.give(withdrawable(ANN), 100)
    first = opening(pay(ANN, BOB, fen % 100 or 100), plan={"try": 1})
    await mirror.do(first)
    await mirror.do(voiding(first, state=State.RELEASED))
    assert isinstance(first.operation, NewOperation)
    second = opening(pay(ANN, BOB, fen), plan={"try": 2}, request_id=first.operation.request_id)
    await mirror.together(second)
    await mirror.assert_whole()
    found = await mirror.reads.operation(operation_id=first.operation_id)
    assert found is not None
    assert await mirror.reads.plan(found) == {"try": 2}
    execute(mirror.dsn, "UPDATE operation SET plan = '{\"try\": 1}' WHERE plan::text = '{\"try\": 2}'")
    assert [finding.check for finding in await verify(mirror.engine, PLATFORM)] == [PLAN]


@pytest.mark.parametrize("words", ["\0", "\ud800", "农业银行𠮷", '\\"'])
async def test_a_plan_is_sealed_as_it_is_kept(mirror: Mirror, words: str) -> None:
    await mirror.do(opening(top_up(ANN, 5), plan={"words": words}))
    await mirror.assert_whole()


async def test_what_was_opened_before_plans_were_sealed_is_whole(mirror: Mirror) -> None:
    step = opening(top_up(ANN, 5))
    await mirror.do(step)
    # The event contradicts its seal here, as it did not then.
    execute(mirror.dsn, AS_OWNER, "UPDATE event SET evidence = ''")
    assert PLAN not in {finding.check for finding in await verify(mirror.engine, PLATFORM)}
    found = await mirror.reads.operation(operation_id=step.operation_id)
    assert found is not None
    assert await mirror.reads.plan(found) == {}


OWNED = "a member is as it was written last"
EARLIER = "INSERT INTO membership (platform, member_id, sub_account, property, is_open, same_name"


async def two_members(mirror: Mirror) -> UUID:
    """Ann and Bob, opened by one operation; Ann is closed and opened again, with another sub-account, by others."""
    ann, bob = (
        Member(member_id=MemberCode(name), sub_account=sub, property="00") for name, sub in (("ann", ANN), ("bob", BOB))
    )
    step = opening(state=State.DONE, members=(bob, ann))
    await mirror.do(step)
    await mirror.do(opening(state=State.DONE, members=(dataclasses.replace(ann, is_open=False),)))
    await mirror.do(opening(state=State.DONE, members=(dataclasses.replace(ann, sub_account=CAT),)))
    await mirror.do(opening(state=State.DONE, members=(dataclasses.replace(bob, same_name=MemberCode("ann")),)))
    await mirror.do(opening(state=State.DONE, members=(bob,)))
    return step.operation_id


@pytest.mark.parametrize(
    ("tampering", "expected", "found"),
    [
        ("UPDATE member SET sub_account = '1009' WHERE member_id = 'bob'", "1002 00 open ann", "1009 00 open ann"),
        ("UPDATE member SET property = 'SH' WHERE member_id = 'bob'", "1002 00 open ann", "1002 SH open ann"),
        ("UPDATE member SET closed_at = now() WHERE member_id = 'bob'", "1002 00 open ann", "1002 00 closed ann"),
        ("UPDATE member SET same_name = 'eve' WHERE member_id = 'ann'", "1003 00 open ", "1003 00 open eve"),
        ("DELETE FROM member WHERE member_id = 'bob'", "1002 00 open ann", "no member"),
        ("INSERT INTO member VALUES ('9930', 'eve', '1009', '00', now())", "no member", "1009 00 open "),
    ],
)
async def test_a_member_who_is_another_than_was_written_is_found(
    mirror: Mirror, tampering: str, expected: str, found: str
) -> None:
    await two_members(mirror)
    await mirror.assert_whole()
    execute(mirror.dsn, tampering)
    (finding,) = await verify(mirror.engine, PLATFORM)
    assert (finding.check, finding.expected, finding.found) == (OWNED, expected, found)


@pytest.mark.parametrize(
    ("tampering", "check", "found"),
    [
        ("UPDATE membership SET sub_account = '1009' WHERE sub_account = '1002'", KEPT, "changed: 2 rows"),
        ("DELETE FROM membership WHERE member_id = 'bob'", KEPT, "missing: 1 row"),
        ("INSERT INTO membership SELECT * FROM again", KEPT, "inserted: 3 rows"),
    ],
)
async def test_what_was_written_of_a_member_is_sealed(mirror: Mirror, tampering: str, check: str, found: str) -> None:
    operation_id = await two_members(mirror)
    again = (
        f"CREATE TEMP TABLE again ON COMMIT DROP AS SELECT * FROM membership WHERE operation_id = '{operation_id}'"
        " AND member_id = 'bob'"
    )
    more = "UPDATE again SET seq = 99, sub_account = '1009'"
    findings = await found_by_seals(mirror, again, more, tampering.replace("SELECT", "OVERRIDING SYSTEM VALUE SELECT"))
    named = [finding for finding in findings if finding.where.endswith(f"membership of operation {operation_id}")]
    assert [(finding.check, finding.found.partition(",")[0]) for finding in named] == [(check, found)]


async def test_members_from_before_are_counted_and_cannot_take_the_place_of_a_sealed_one(mirror: Mirror) -> None:
    await two_members(mirror)
    execute(mirror.dsn, f"{EARLIER}) VALUES ('9930', 'bob', '1009', '00', true, '')")
    await mirror.assert_whole()
    assert (await summary_of(mirror)).members_unsealed == 1
    execute(mirror.dsn, f"{EARLIER}, at) VALUES ('9930', 'bob', '1009', '00', true, '', now())")
    assert SEALED in {finding.check for finding in await verify(mirror.engine, PLATFORM)}


VALUES: st.SearchStrategy[Any] = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(), st.none())


@given(st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_leaf_is_the_hash_of_its_rows_in_json_with_a_newline_for_each_comma(values: list[list[Any]]) -> None:
    operation_id = UUID(OTHER)
    (leaf,) = seals.LEAF.iter_unpack(
        seals.leaves(([], [], [], [], [], [(operation_id, *row) for row in values], [])),
    )
    kept = [[value.replace("\0", "?") if isinstance(value, str) else value for value in row] for row in values]
    text = "]\n[".join("\n".join(json.dumps(value, ensure_ascii=False) for value in row) for row in kept)
    assert leaf == (operation_id.bytes, 5, len(values), sha256(text.encode()).digest()[:16])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(("pay", "post", "void", "doubt")), st.integers(2, 60)), max_size=25))
async def test_whatever_is_done_the_seals_hold(mirror: Mirror, acts: list[tuple[str, int]]) -> None:
    await mirror.give(withdrawable(ANN), 50)
    opened = [opening(pay(ANN, BOB, fen, 1)) for act, fen in acts if act == "pay"]
    await mirror.together(*opened)
    steps: list[Step] = []
    for (act, _), step in zip(acts, opened, strict=False):
        if act == "post":
            steps.append(posting(step))
        elif act == "void":
            steps.append(voiding(step))
        elif act == "doubt":
            steps.append(doubting(step))
    await mirror.together(*steps)
    await mirror.assert_whole()
