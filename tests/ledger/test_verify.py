"""Whole books give no finding; each way of tampering with them gives the finding that names it."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from ledger import OPEN_STATES, Change, Member, NewOperation, State, audit, verify
from ledger.accounts import withdrawable
from ledger.names import BankSerial, MemberCode, Serial, SubAccount
from ledger.verify import CHECKS
from tests.ledger.bookkeeping import (
    ANN,
    BOB,
    DAY,
    DAY_BEFORE,
    PLATFORM,
    again,
    clearing,
    doubting,
    execute,
    money,
    opening,
    pay,
    pay_today,
    posting,
    prepay,
    refund,
    top_up,
    voiding,
)
from tests.ledger.conftest import Mirror


async def busy_day(mirror: Mirror) -> None:
    """Something of everything: posted, voided, pending, refused, entered, swept and released."""
    await mirror.give(withdrawable(ANN), 100)
    await mirror.do(
        opening(
            enter=[top_up(ANN, 50, 5)], members=(Member(member_id=MemberCode("ann"), sub_account=ANN, property="00"),)
        )
    )
    paid, lost, back = (
        opening(pay(ANN, BOB, 30, 3, serial=Serial("S1"))),
        opening(pay(ANN, BOB, 20)),
        opening(pay(ANN, BOB, 9)),
    )
    for step in (paid, lost, back, opening(pay_today(ANN, BOB, 9999)), opening(prepay(ANN, "O1", 7))):
        await mirror.together(step)
    await mirror.do(posting(paid))
    await mirror.do(doubting(lost))
    given_back = opening(refund(Serial("S1"), ANN, BOB, 5), kind="REFUND")
    await mirror.do(given_back)
    await mirror.do(posting(given_back))
    await mirror.do(opening(refund(Serial("S1"), ANN, BOB, 10, 1)))
    await mirror.do(clearing(paid.bank_day))
    await mirror.do(voiding(back, state=State.RELEASED))
    await mirror.entries.fill()


TAMPERED: dict[str, str] = {
    "balance equals the sum of legs": "UPDATE account SET balance_fen = 1000 WHERE name = 'withdrawable:1001'",
    "held equals the sum of pending holds": "UPDATE account SET held_fen = held_fen - 1 WHERE held_fen > 0",
    "no account is below its floor": "UPDATE account SET balance_fen = -1 WHERE name = 'withdrawable:1001'",
    "no account was ever below its floor": "UPDATE resolution SET at = at + interval '1 day'"
    " WHERE at = (SELECT min(at) FROM resolution)",
    "all balances sum to zero": "UPDATE account SET balance_fen = balance_fen - 1 WHERE name = 'fee'",
    "a posted transaction takes exactly what it held": "DELETE FROM hold WHERE amount_fen = 30",
    "a voided transaction moves nothing": "UPDATE resolution SET verdict = 'voided' WHERE verdict = 'posted'",
    "every row names what is there": "DELETE FROM operation WHERE kind = 'PAY_T1'",
    "a final operation has no pending part": "UPDATE operation SET state = 'done'",
    "an operation is asked about until it is final": "DELETE FROM due",
    "the last event tells an operation's state": "UPDATE event SET state = 'refused' WHERE state = 'unknown'",
    "an operation has the bank's last code and words": "UPDATE operation SET bank_code = 'ERR020'",
    "what was given back is no more than what it was given back of": "UPDATE transaction SET amount_fen = 31"
    " WHERE amount_fen = 5",
    "what refuses changes to the journal is in force": "ALTER TABLE leg DISABLE TRIGGER leg_append_only",
    "an operation is found by all that its parts and the bank name": "DELETE FROM booking",
    "a member is as it was written last": "UPDATE member SET sub_account = '1003'",
    "an account has the name and the floor of its kind": "UPDATE account SET floor_fen = -9 WHERE name = 'order:O1'",
    "days are cleared as far as a clearing was posted": "UPDATE platform SET cleared_through = '2026-12-31'",
    "an operation has the serial and the plan that it was opened with": "UPDATE operation SET plan = '{\"legs\": []}'",
    "an operation was approved as its proposal says": "UPDATE operation"
    """ SET plan = '{"approval": {"proposal": "none", "caller": "somebody", "person": ""}}'""",
    "an adjustment moves between an account and a difference, and nothing else moves a difference": "UPDATE leg"
    " SET debit = 'difference:B-1' WHERE debit = 'in-transit:20261123'",
    "a break that was adjusted names an adjustment of it that is done, and whoever approved that": "INSERT INTO"
    " break_event (platform, break_id, kind, caller, person, note, reason, operation_id, mac)"
    " VALUES ('9930', gen_random_uuid(), 'closed', 'somebody', '', '', 'adjusted', gen_random_uuid(), '')",
    "an entry is what its part has moved, after all that was before": "UPDATE entry SET frozen_after_fen = 1",
    "a bank day's balances are moved by its entries": "UPDATE balance_day SET entries = 0",
    "a bank day's totals are those of its legs": "UPDATE kind_day SET credit_fen = credit_fen + 1",
    "totals are those of all legs before": "UPDATE filled SET event = event - 1",
    "a proposal and its decision have the names of the audit trail": "INSERT INTO proposal"
    " VALUES ('9930', gen_random_uuid(), 'r', '', 'm', '', '', 5, '', '', '', '', 'somebody', '', now(), now())",
}


async def test_whole_books_give_no_finding(mirror: Mirror) -> None:
    await busy_day(mirror)
    assert await verify(mirror.engine, PLATFORM) == []


async def test_empty_books_are_whole(mirror: Mirror) -> None:
    assert await verify(mirror.engine, PLATFORM) == []


def test_every_check_is_seen_to_fire() -> None:
    assert set(TAMPERED) == set(CHECKS)


@pytest.mark.parametrize("check", list(CHECKS))
async def test_tampering_is_found(mirror: Mirror, check: str) -> None:
    await busy_day(mirror)
    execute(
        mirror.dsn,
        # What only the owner of the database can do: switch off what protects the journal.
        "ALTER TABLE account DROP CONSTRAINT account_above_floor",
        "SET LOCAL session_replication_role = replica",
        TAMPERED[check],
    )
    findings = await verify(mirror.engine, PLATFORM)
    assert check in {finding.check for finding in findings}
    assert all(finding.expected != finding.found for finding in findings)


async def test_a_part_whose_member_or_order_no_list_would_find_is_named(mirror: Mirror) -> None:
    step = opening(dataclasses.replace(top_up(BOB, 5), payee=MemberCode("bob"), order_no="O9"), order_no="O1")
    await mirror.do(step)
    check = "an operation is found by all that its parts and the bank name"
    assert sorted(await found_after(mirror, "DELETE FROM reference")) == [
        (check, f"{step.operation_id} {named}", "a reference", "none") for named in ("member bob", "order O9")
    ]


async def test_a_callers_own_reference_and_labels_that_no_list_would_find_are_named(mirror: Mirror) -> None:
    tags = {"reference": "I-7", "labels": {"shop": "north"}}
    step = opening(money(withdrawable(BOB), 5), plan={"tags": tags})
    assert isinstance(step.operation, NewOperation)
    named = (("reference", "I-7"), ("label", "shop=north"))
    await mirror.do(dataclasses.replace(step, operation=dataclasses.replace(step.operation, found_by=named)))
    await mirror.assert_whole()
    check = "an operation is found by all that its parts and the bank name"
    assert sorted(await found_after(mirror, "DELETE FROM reference")) == [
        (check, f"{step.operation_id} {kind} {value}", "a reference", "none") for kind, value in sorted(named)
    ]


async def test_a_part_whose_serial_finds_no_operation_is_named(mirror: Mirror) -> None:
    step = opening(top_up(BOB, 5))
    await mirror.do(step)
    booked = dataclasses.replace(step.pend[0], bank_serial=BankSerial("B1"))
    done = Change(state=State.DONE, bank_serial=BankSerial("B1"))
    await mirror.do(dataclasses.replace(posting(step), post={1: booked}, change=done))
    await mirror.assert_whole()
    check = "an operation is found by all that its parts and the bank name"
    moved = await found_after(mirror, "UPDATE booking SET bank_serial = 'B2'")
    assert (check, f"{step.operation_id}/1 B1", "a booking", "none") in moved


async def found_after(mirror: Mirror, *tampering: str) -> list[tuple[str, str, str, str]]:
    execute(mirror.dsn, "SET LOCAL session_replication_role = replica", *tampering)
    # What the seals say of it is in test_seals.
    return [dataclasses.astuple(found) for found in await verify(mirror.engine, PLATFORM) if found.check in CHECKS]


async def test_a_finding_says_where_and_by_how_much(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    findings = await found_after(mirror, "UPDATE account SET balance_fen = 130 WHERE name = 'withdrawable:1001'")
    assert findings == [
        ("balance equals the sum of legs", "withdrawable:1001", "100", "130"),
        ("all balances sum to zero", "all accounts", "0", "30"),
    ]


async def test_money_taken_without_a_hold_is_found(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay_today(ANN, BOB, 30))
    await mirror.do(step)
    await mirror.do(posting(step))
    findings = await found_after(
        mirror,
        f"UPDATE leg SET amount_fen = 31 WHERE operation_id = '{step.operation_id}'",
        "UPDATE account SET balance_fen = 69 WHERE name = 'withdrawable:1001'",
        "UPDATE account SET balance_fen = 31 WHERE name = 'withdrawable:1002'",
    )
    assert findings == [
        (
            "a posted transaction takes exactly what it held",
            f"{step.operation_id}/1 withdrawable:1001",
            "30",
            "31",
        )
    ]


@pytest.mark.parametrize(
    ("tampering", "where", "expected"),
    [
        ("DELETE FROM operation", "{id}/1", "an operation"),
        ("DELETE FROM operation", "{id} event ", "an operation"),
        ("UPDATE transaction SET corrects = 7", "{id}/1", "part 7"),
        ("DELETE FROM transaction", "{id}/1 hold", "a transaction"),
        ("DELETE FROM transaction", "{id}/1 resolution", "a transaction"),
        ("DELETE FROM resolution", "{id}/1 leg 1", "a resolution"),
        ("DELETE FROM account", "{id}/1 leg 1", "withdrawable:1002"),
        ("DELETE FROM account", "{id}/1 hold", "withdrawable:1001"),
    ],
)
async def test_a_row_that_names_what_is_gone_is_found(
    mirror: Mirror, tampering: str, where: str, expected: str
) -> None:
    await mirror.give(withdrawable(ANN), 100)
    step = opening(pay_today(ANN, BOB, 30))
    await mirror.do(step)
    await mirror.do(posting(step))
    findings = await found_after(mirror, tampering)
    place = where.format(id=step.operation_id)
    assert any(found[1].startswith(place) and found[2] == expected and found[3] == "none" for found in findings)


@pytest.mark.parametrize(
    "tampering",
    ["kind = 'frozen'", "owner = '1002'", "ref = 'O1'", "floor_fen = -50", "floor_fen = NULL", "floor_fen = 1"],
)
async def test_an_account_that_is_not_what_its_name_says_is_found(mirror: Mirror, tampering: str) -> None:
    await mirror.give(withdrawable(ANN), 100)
    findings = await found_after(mirror, f"UPDATE account SET {tampering} WHERE name = 'withdrawable:1001'")
    assert [found[:2] for found in findings] == [
        ("an account has the name and the floor of its kind", "withdrawable:1001")
    ]


@pytest.mark.parametrize("through", ["NULL", "'2026-11-22'", "'2026-11-24'"])
async def test_another_day_than_the_last_that_was_cleared_is_found(mirror: Mirror, through: str) -> None:
    await mirror.do(clearing(DAY_BEFORE))
    await mirror.do(clearing(DAY))
    ((check, _, expected, _),) = await found_after(mirror, f"UPDATE platform SET cleared_through = {through}")
    assert (check, expected) == ("days are cleared as far as a clearing was posted", "2026-11-23")


async def test_what_the_bank_said_last_is_the_operations_until_it_is_opened_anew(mirror: Mirror) -> None:
    step = opening(top_up(ANN, 5))
    await mirror.do(step)
    said = Change(state=State.UNKNOWN, bank_code="E10001", bank_message="系统繁忙", next_ask_in_s=1.0)
    await mirror.do(dataclasses.replace(doubting(step), change=said))
    silent = Change(state=State.UNKNOWN, reason="stopped", next_ask_in_s=1.0)
    await mirror.do(dataclasses.replace(doubting(step), change=silent, expects=OPEN_STATES))
    await mirror.assert_whole()
    findings = await found_after(mirror, "UPDATE operation SET bank_message = '', reason = 'floor'")
    assert [found[2:] for found in findings] == [
        ("unknown stopped", "unknown floor"),
        ("E10001 系统繁忙", "E10001 "),
    ]
    execute(mirror.dsn, "UPDATE operation SET bank_message = '系统繁忙', reason = 'stopped'")
    await mirror.do(voiding(step, state=State.RELEASED))
    await mirror.do(again(step))
    await mirror.assert_whole()


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("UPDATE transaction SET fee_fen = 4 WHERE amount_fen = 5", [("S1", "30 at most, with fee 3", "5 with fee 4")]),
        ("DELETE FROM hold WHERE account = 'refundable:S1'", [("nothing", "0 at most, with fee 0", "5 with fee 0")]),
        (
            "UPDATE transaction SET amount_fen = 4, fee_fen = 0 WHERE serial = 'S1'",
            [("S1", "4 at most, with fee 0", "5 with fee 0")],
        ),
    ],
)
async def test_more_given_back_than_was_given_is_found_without_the_account_of_the_limit(
    mirror: Mirror, tampering: str, found: list[tuple[str, str, str]]
) -> None:
    await mirror.give(withdrawable(ANN), 100)
    for step in (
        opening(pay(ANN, BOB, 30, 3, serial=Serial("S1"))),
        opening(refund(Serial("S1"), ANN, BOB, 5), kind="REFUND"),
    ):
        await mirror.do(step)
        await mirror.do(posting(step))
    findings = await found_after(mirror, tampering)
    check = "what was given back is no more than what it was given back of"
    assert [finding[1:] for finding in findings if finding[0] == check] == found


@pytest.mark.parametrize(
    ("tampering", "table"),
    [
        ("ALTER TABLE event DISABLE TRIGGER event_append_only", "event"),
        ("ALTER TABLE hold ENABLE REPLICA TRIGGER hold_append_only", "hold"),
        ("DROP TRIGGER operation_kept ON operation", "operation"),
        (
            "CREATE OR REPLACE TRIGGER seal_append_only BEFORE UPDATE OR DELETE ON seal"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
            "seal",
        ),
        (
            "CREATE OR REPLACE TRIGGER leg_append_only BEFORE UPDATE OF amount_fen OR DELETE OR TRUNCATE ON leg"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
            "leg",
        ),
    ],
)
async def test_a_journal_that_does_not_refuse_is_found(mirror: Mirror, tampering: str, table: str) -> None:
    ((check, where, _, _),) = await found_after(mirror, tampering)
    assert (check, where) == ("what refuses changes to the journal is in force", table)


async def test_a_refusal_that_was_made_harmless_is_found(mirror: Mirror) -> None:
    harmless = "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    assert len(await found_after(mirror, harmless)) == 20


async def test_an_operation_without_an_event_is_found(mirror: Mirror) -> None:
    step = opening(top_up(ANN, 5))
    await mirror.do(dataclasses.replace(step, change=Change(state=State.UNKNOWN, next_ask_in_s=1.0)))
    findings = await found_after(mirror, "DELETE FROM event")
    assert findings == [("the last event tells an operation's state", str(step.operation_id), "no event", "unknown ")]


async def test_another_platforms_books_are_not_looked_at(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    execute(mirror.dsn, "UPDATE account SET balance_fen = 130 WHERE name = 'withdrawable:1001'")
    execute(mirror.dsn, "INSERT INTO platform (platform, batches) VALUES ('8888', 0)")
    assert await verify(mirror.engine, "8888") == []


async def test_books_that_are_not_there_do_not_agree_when_others_are(mirror: Mirror) -> None:
    await mirror.give(withdrawable(ANN), 100)
    (finding,) = await verify(mirror.engine, "8888")
    assert (finding.check, finding.where) == ("the platform has books", "platform 8888")
    assert finding.found == "none; there are those of 9930"


async def test_of_very_many_findings_the_first_are_told_and_that_there_may_be_more(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mirror.together(*(opening(enter=[money(withdrawable(SubAccount(str(member))), 1)]) for member in range(30)))
    execute(mirror.dsn, "UPDATE account SET balance_fen = 7 WHERE kind = 'withdrawable'")
    monkeypatch.setattr(sys.modules[audit.__module__], "FINDINGS_MAX", 10)
    *findings, more = await verify(mirror.engine, PLATFORM)
    assert [finding.check for finding in findings] == ["balance equals the sum of legs"] * 10
    assert more.check == "all findings are told"
