"""A bank day that is over is loaded, matched and closed: 6103, and the lists 6050, 6048, 6108, 6109."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from jzb.v1 import reconciliation_pb2 as pb
from jzb.v1 import work_pb2, work_pb2_grpc
from jzb.v1.names import OperationKind
from ledger.day import KINDS, UNSEEN_KINDS
from sandbox.records import Trade
from service.inflows import reconciliation
from service.process.demo import run_demo
from service.process.reconcile import reconcile
from tests.world import days
from tests.world.acquiring import acquire, rebook_request, record, share
from tests.world.days import (
    DONE,
    FILE_SERVICE,
    approve,
    breaks,
    day_of,
    day_refused,
    days_ago,
    lines,
    open_breaks,
    proof,
    propose,
    run_day,
    source,
    states,
)
from tests.world.doubts import doubtful_payment
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.verifying import named


async def a_day(shop: Marketplace) -> str:
    """A day with a top-up and a payment, ended at the bank; returns it."""
    buyer, seller = await shop.buyer("buyer", 100_00), await shop.merchant("seller")
    operation = await shop.pay(buyer, seller, 40_00, 4_00)
    await shop.clear()
    return operation.bank_day


def test_every_kind_that_posts_is_shown_by_one_file_or_list_or_is_an_entry_of_our_own() -> None:
    posting_nothing = {
        *("OPEN_MEMBER", "CLOSE_MEMBER", "LINK_SAME_NAME", "CHANGE_MOBILE", "CHECK_CARD_BY_SMS", "CONFIRM_CARD_BY_SMS"),
        *("CHECK_CARD_BY_TRANSFER", "CONFIRM_CARD_BY_TRANSFER", "UNBIND_CARD", "CORRECT_CARD_BRANCH", "REFRESH_CARDS"),
    }
    stored = {kind.value for kind in OperationKind}
    assert set(KINDS) <= stored
    assert UNSEEN_KINDS - {"ADJUSTMENT"} <= stored
    assert stored - set(KINDS) - UNSEEN_KINDS - posting_nothing == set()


def written_to(path: Path) -> list[dict[str, Any]]:
    """The rows of a table."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
async def late_shop(database: str) -> AsyncIterator[Marketplace]:
    """A marketplace whose bank is three days behind, so that its files are due, late, and due again."""
    async with open_marketplace(database, clock=days_ago(3)) as shop:
        yield shop


@pytest.fixture
async def demo_shop(database: str) -> AsyncIterator[Marketplace]:
    """A marketplace whose bank behaves as that of `jzb run`."""
    async with open_marketplace(database, {"any_code": True}) as shop:
        yield shop


async def test_the_days_of_the_demo_close_with_every_posting_matched(demo_shop: Marketplace, tmp_path: Path) -> None:
    shop = demo_shop
    target = f"127.0.0.1:{shop.service.port}"
    assert await run_demo(target, shop.sandbox.url) == 0
    first = shop.sandbox.clock.today() - timedelta(days=2)
    played = [first, first + timedelta(days=1)]
    assert await reconcile(target, played, out=tmp_path, wanted="json") == 0
    for day in map(str, played):
        assert await breaks(shop, first_bank_day=day, last_bank_day=day) == []
        assert set(states(await day_of(shop, day)).values()) <= {"CLEAN", "NONE"}
        members = await proof(shop, day)
        assert len(members) == 5, "four members and the pooled account"
        assert all(row.is_proved for row in members.values())
        del members[""]
        assert all(row.HasField("bank_fen") and row.bank_fen == row.closing_fen for row in members.values())
    named = f"reconciliation-{played[0]}-to-{played[1]}"
    for table, columns in (("days", 13), ("breaks", 20), ("balances", 10), ("lines", 17)):
        rows = written_to(tmp_path / f"{named}-{table}.jsonl")
        assert all(len(row) == columns for row in rows)
        assert bool(rows) == (table != "breaks")


async def test_a_clean_day_has_each_line_with_its_operation_and_no_break(shop: Marketplace) -> None:
    day = await a_day(shop)
    found = await run_day(shop, day)
    assert states(found) == {
        "TOP_UPS": "CLEAN",
        "WITHDRAWALS": "NONE",
        "TRANSACTIONS": "CLEAN",
        "BALANCES": "CLEAN",
        # The channels' principal of the clearing is listed there, and belongs to no posting of its own.
        "TRANSFERS_IN": "CLEAN",
        "RETURNS": "NONE",
        "CLEARINGS": "CLEAN",
        "CHARGES": "NONE",
    }
    assert (found.state, found.breaks) == (pb.RECONCILIATION_STATE_CLEAN, 0)
    (line,) = await lines(shop, day, pb.BANK_SOURCE_TRANSACTIONS)
    assert (line.state, line.payer_member_id, line.payee_member_id) == (pb.BANK_LINE_STATE_MATCHED, "buyer", "seller")
    assert (line.amount_fen, line.fee_fen) == (40_00, 4_00)
    assert (await shop.operation(line.operation_id)).serial == line.serial
    members = await proof(shop, day)
    assert {name: (one.opening_fen, one.closing_fen, one.bank_fen) for name, one in members.items() if name} == {
        "buyer": (0, 60_00, 60_00),
        "seller": (0, 36_00, 36_00),
    }
    # The clearing of the day has brought and taken nothing.
    assert {name: (one.credit_fen, one.debit_fen) for name, one in members.items() if name} == {
        "buyer": (100_00, 40_00),
        "seller": (36_00, 0),
    }
    assert all(one.is_proved for one in members.values())


async def test_a_day_that_is_run_again_stays_as_it_is(shop: Marketplace) -> None:
    day = await a_day(shop)
    before = await run_day(shop, day)
    after = await run_day(shop, day)
    assert [one.file.file_id for one in before.sources] == [one.file.file_id for one in after.sources]
    assert states(after) == states(before)


async def test_a_charge_of_the_bank_is_outside_of_the_books_and_no_break(shop: Marketplace) -> None:
    shop.sandbox.bank.charge("1", 1_50)
    day = await a_day(shop)
    found = await run_day(shop, day)
    (line,) = await lines(shop, day, pb.BANK_SOURCE_CHARGES)
    assert (line.state, line.amount_fen) == (pb.BANK_LINE_STATE_OUTSIDE, 1_50)
    assert states(found)["CHARGES"] == "CLEAN"


async def test_a_list_that_has_emptied_is_a_new_version_and_not_the_old_one(shop: Marketplace) -> None:
    shop.sandbox.bank.charge("1", 1_50)
    day = await a_day(shop)
    assert source(await run_day(shop, day), pb.BANK_SOURCE_CHARGES).file.rows == 1
    shop.sandbox.faults.days.add("row_missing", source="6109", day=date.fromisoformat(day))
    file = source(await run_day(shop, day), pb.BANK_SOURCE_CHARGES).file
    assert (file.version, file.rows) == (2, 0)


async def test_a_parked_order_is_no_members_in_file_and_journal_until_it_is_moved(shop: Marketplace) -> None:
    for name in ("right", "other"):
        await named(shop, name, collects=True)
    for number in ("S1", "S2"):
        await record(shop, await acquire(shop, share("right", 60_00, 1_00, number), booked_to="parking"))
    # What stays parked for the night, and what is with its member by then.
    await shop.acquiring.RebookOrder(rebook_request(shop, "S2", "right"), timeout=TIMEOUT_S)
    day = await a_day(shop)
    assert (await run_day(shop, day)).state == pb.RECONCILIATION_STATE_CLEAN
    parked = [one for one in await lines(shop, day, pb.BANK_SOURCE_TOP_UPS) if one.order_no in ("S1", "S2")]
    assert [(one.state, one.payee_member_id) for one in parked] == [(pb.BANK_LINE_STATE_MATCHED, "")] * 2
    for fault, type_, fen in (("row_amount", "AMOUNT", 7), ("row_side", "MEMBER", 0)):
        for seed in range(3):
            # All three rows of the file: a top-up, and both orders.
            shop.sandbox.faults.days.add(fault, source="CZ", day=date.fromisoformat(day), seed=seed, amount_fen=7)
        await run_day(shop, day)
        assert await open_breaks(shop, day) == [(type_, "OPEN", fen)] * 3
        shop.sandbox.faults.days.clear()
    assert (await run_day(shop, day)).state == pb.RECONCILIATION_STATE_CLEAN


async def test_a_transfer_that_nobody_collected_is_entered_before_its_day_is_matched(shop: Marketplace) -> None:
    shop.sandbox.bank.transfer_in("", 70_00, ("6200000000000000000", "虚构付款人", "虚构银行"), "")
    day = await a_day(shop)
    found = await run_day(shop, day)
    assert states(found)["TRANSFERS_IN"] == "CLEAN"
    assert source(found, pb.BANK_SOURCE_TRANSFERS_IN).matched_lines >= 1


FAULTS = {
    "file_truncated": "DAMAGED",
    "file_wrong_md5": "DAMAGED",
    "file_wrong_password": "DAMAGED",
    "file_two_entries": "DAMAGED",
    "file_wrong_count": "LOADED",
    "file_not_gb18030": "LOADED",
    "file_wrong_draw_code": "EXPECTED",
    "file_refused:EFS0012": "EXPECTED",
    "file_empty_day": "EXPECTED",
    "refuse:ERR007": "EXPECTED",
    "http500": "EXPECTED",
    "file_without_ok": "CLEAN",
    "file_session_lost:1": "CLEAN",
    "file_bad_row": "BREAKS",
}
"""What goes wrong with a file, and how far it gets."""


@pytest.mark.parametrize(("fault", "state"), FAULTS.items())
async def test_a_file_with_a_fault_is_as_far_as_it_can_be_trusted_and_the_next_one_mends_it(
    shop: Marketplace, fault: str, state: str
) -> None:
    day = await a_day(shop)
    shop.sandbox.faults.add(fault, service_id=FILE_SERVICE, times=None)
    found = await run_day(shop, day)
    assert {states(found)[name] for name in ("TOP_UPS", "TRANSACTIONS")} == {state}
    if state in ("DAMAGED", "LOADED", "EXPECTED"):
        refusal = await shop.refusal(
            shop.reconciliation.ProposeSignOff(pb.ProposeSignOffRequest(bank_day=day), timeout=TIMEOUT_S)
        )
        assert refusal.reason == "DAY_NOT_READY"
        assert "CZ is" in refusal.message
    if state == "DAMAGED":
        assert source(found, pb.BANK_SOURCE_TOP_UPS).attempt_reason
        assert not source(found, pb.BANK_SOURCE_TOP_UPS).HasField("file"), "nothing of it was kept"
    shop.sandbox.faults.clear()
    mended = await run_day(shop, day)
    assert mended.state == pb.RECONCILIATION_STATE_CLEAN
    assert await open_breaks(shop, day) == []


async def test_a_line_that_comes_twice_and_one_that_cannot_be_read_are_breaks_of_their_types(shop: Marketplace) -> None:
    day = await a_day(shop)
    shop.sandbox.faults.add("file_bad_row", service_id=FILE_SERVICE, times=None)
    await run_day(shop, day)
    found = {kind for kind, _, _ in await open_breaks(shop, day)}
    assert found <= {"DUPLICATE", "UNREADABLE", "BALANCE"}
    assert found & {"DUPLICATE", "UNREADABLE"}


async def test_a_file_that_the_bank_does_not_have_is_late_after_its_hour_and_then_believed(
    late_shop: Marketplace,
) -> None:
    shop, day = late_shop, await a_day(late_shop)
    shop.sandbox.faults.add("file_empty_day", service_id=FILE_SERVICE, times=None)
    patient = shop.service.components.reconciliation
    settings = patient._settings.model_copy(update={"again_after_s": 7 * 86_400.0})
    object.__setattr__(patient, "_settings", settings)
    late = await run_day(shop, day)
    assert (states(late)["TOP_UPS"], states(late)["WITHDRAWALS"]) == ("LATE", "NONE")
    assert "the journal has bookings" in source(late, pb.BANK_SOURCE_TOP_UPS).attempt_reason
    object.__setattr__(patient, "_settings", settings.model_copy(update={"again_after_s": 60.0}))
    believed = await run_day(shop, day)
    assert states(believed)["TOP_UPS"] == "NONE"
    assert {(kind, fen) for kind, _, fen in await open_breaks(shop, day)} >= {
        ("MISSING_THERE", -100_00),
        ("MISSING_THERE", -40_00),
    }
    shop.sandbox.faults.clear()
    assert (await run_day(shop, day)).state == pb.RECONCILIATION_STATE_CLEAN


NEVER_EARLY = {"files_late_hour": 9}
"""Until files are late, a day without any is asked for again, at some hours of the test's own day."""


async def test_days_are_closed_by_themselves_from_the_hour_of_the_files(database: str) -> None:
    async with open_marketplace(database, clock=days_ago(3), reconciliation=NEVER_EARLY) as shop:
        day = await a_day(shop)
        reconciler = shop.service.components.reconciliation
        await reconciler.run_past_days()
        assert (await day_of(shop, day)).state == pb.RECONCILIATION_STATE_CLEAN
        fetched = shop.calls_received(FILE_SERVICE)
        await reconciler.run_past_days()
        assert shop.calls_received(FILE_SERVICE) == fetched, "what is there is not fetched again before its time"


async def test_what_is_posted_late_on_a_day_that_is_matched_is_set_against_it_by_itself(database: str) -> None:
    slow = {"ask_after_s": 3600.0}
    async with open_marketplace(database, clock=days_ago(3), resolver=slow, reconciliation=NEVER_EARLY) as shop:
        lost = await doubtful_payment(shop, "[[lose_after]]")
        bank_day = shop.sandbox.clock.today()
        shop.sandbox.faults.days.add("row_missing", source="JY", day=bank_day)
        await shop.clear()
        reconciler = shop.service.components.reconciliation
        await reconciler.run_past_days()
        assert {kind for kind, _, _ in await open_breaks(shop, str(bank_day))} == {"BALANCE"}
        found = await shop.resolve(lost.operation_id)
        assert (found.state, found.bank_day) == (DONE, str(bank_day))
        fetched = shop.calls_received(FILE_SERVICE)
        await reconciler.run_past_days()
        assert shop.calls_received(FILE_SERVICE) == fetched
        # By our clock it may be the next day's.
        assert await open_breaks(shop, str(bank_day)) == [("MISSING_THERE", "CARRIED", -30_00)]


async def test_no_day_is_loaded_by_itself_before_the_hour_of_its_files(shop: Marketplace) -> None:
    day = await a_day(shop)
    await shop.service.components.reconciliation.run_past_days()
    assert set(states(await day_of(shop, day)).values()) == {"EXPECTED"}
    assert shop.calls_received(FILE_SERVICE) == 0


async def test_a_changed_file_is_a_new_version_and_the_old_one_stays(database: str) -> None:
    again = {"again_after_s": 0.001}
    async with open_marketplace(database, clock=days_ago(3), reconciliation=again) as shop:
        day = await a_day(shop)
        await shop.service.components.reconciliation.run_past_days()
        (trade,) = (one for one in shop.sandbox.bank.store.all(Trade) if one.amount_fen == 40_00)
        shop.sandbox.bank.store.put(dataclasses.replace(trade, amount_fen=41_00))
        await shop.service.components.reconciliation.run_past_days()
        request = pb.GetReconciledDayRequest(bank_day=day)
        answer = await shop.reconciliation.GetReconciledDay(request, timeout=TIMEOUT_S)
        versions = [one for one in answer.files if one.source == pb.BANK_SOURCE_TRANSACTIONS]
        assert [(one.version, one.is_current, one.amount_fen) for one in versions] == [
            (2, True, 41_00),
            (1, False, 40_00),
        ]
        assert ("AMOUNT", "OPEN", 1_00) in await open_breaks(shop, day)
        (line,) = await lines(shop, day, pb.BANK_SOURCE_TRANSACTIONS, version=1)
        assert line.amount_fen == 40_00


async def test_one_process_at_a_time_closes_days(late_shop: Marketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, day = late_shop, await a_day(late_shop)
    reconciler = shop.service.components.reconciliation
    async with reconciler._turn() as is_mine:
        assert is_mine
        await reconciler.run_past_days()
        with monkeypatch.context() as patched:
            patched.setattr(reconciliation, "WAIT_S", 0.3)
            refusal = await day_refused(shop, day)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DAY_BUSY")
    assert refusal.retry_after_s
    assert shop.calls_received(FILE_SERVICE) == 0
    assert (await run_day(shop, day)).state == pb.RECONCILIATION_STATE_CLEAN


async def test_a_day_that_is_not_over_is_not_run(shop: Marketplace) -> None:
    today = str(shop.sandbox.clock.today())
    refusal = await day_refused(shop, today)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BANK_DAY_INVALID")


async def test_an_operation_in_doubt_that_the_file_shows_is_asked_about_and_ends(shop: Marketplace) -> None:
    buyer, seller = await shop.buyer("buyer", 100_00), await shop.merchant("seller")
    lost = shop.pay_request(buyer, seller, 30_00, remark="[[lose_after]]")
    refusal = await shop.refusal(shop.payments.Pay(lost, timeout=TIMEOUT_S))
    day = refusal.operation.bank_day or str(shop.sandbox.clock.today())
    await shop.clear()
    found = await run_day(shop, day)
    assert (await shop.operation(refusal.operation.operation_id)).state == days.DONE
    assert found.breaks == 0


async def break_of(shop: Marketplace) -> tuple[str, pb.Break]:
    """A day on which the bank has a payment with another amount; the day, and the break."""
    day = await a_day(shop)
    (trade,) = (one for one in shop.sandbox.bank.store.all(Trade) if one.amount_fen == 40_00)
    shop.sandbox.bank.store.put(dataclasses.replace(trade, amount_fen=45_00))
    await run_day(shop, day)
    (found,) = await breaks(shop, type=pb.BREAK_TYPE_AMOUNT)
    return day, found


async def test_a_break_has_both_amounts_the_operation_and_the_next_step(shop: Marketplace) -> None:
    day, found = await break_of(shop)
    assert (found.bank_day, found.source, found.state) == (day, pb.BANK_SOURCE_TRANSACTIONS, pb.BREAK_STATE_OPEN)
    assert (found.bank_fen, found.ledger_fen, found.difference_fen) == (45_00, 40_00, 5_00)
    assert (await shop.operation(found.operation_id)).serial == found.serial
    assert "ask the bank which amount" in found.next_step
    assert (found.line, len(found.line_sha256)) == (1, 64)


async def test_a_break_is_found_by_type_owner_member_day_and_amount(shop: Marketplace) -> None:
    day, found = await break_of(shop)

    async def ids(**wanted: Any) -> set[str]:
        return {one.break_id for one in await breaks(shop, **wanted) if one.type == pb.BREAK_TYPE_AMOUNT}

    assert await ids(first_bank_day=day, last_bank_day=day, source=pb.BANK_SOURCE_TRANSACTIONS) == {found.break_id}
    assert await ids(member_id=found.member_id, min_difference_fen=5_00) == {found.break_id}
    assert await ids(min_difference_fen=5_01) == set()
    assert await ids(owner="wang") == set()
    assert await ids(states=[pb.BREAK_STATE_CLOSED, pb.BREAK_STATE_HELD]) == set()
    assert await ids(last_bank_day=str(date.fromisoformat(day) - timedelta(days=1))) == set()


async def test_a_break_is_assigned_annotated_held_and_closed_each_by_somebody(shop: Marketplace) -> None:
    _, found = await break_of(shop)
    key, service = found.break_id, shop.reconciliation
    until = str(date.today() + timedelta(days=3))  # noqa: DTZ011 - far enough from any midnight
    work = work_pb2_grpc.WorkServiceStub(shop.channel)
    taken = work_pb2.AssignWorkRequest(work_id=f"break:{key}", owner="wang")
    item = (await work.AssignWork(taken, timeout=TIMEOUT_S)).item
    assert (item.break_id, item.owner) == (key, "wang")
    assert list(item.actions) == [
        "jzb.v1.ReconciliationService/HoldBreak",
        "jzb.v1.ReconciliationService/CloseBreak",
        "jzb.v1.AdjustmentService/Adjust",
    ]
    noted = work_pb2.NoteWorkRequest(work_id=f"break:{key}", note="bank ticket 17")
    for _ in range(2):
        await work.NoteWork(noted, timeout=TIMEOUT_S)
    (seen,) = await breaks(shop, owner="wang")
    assert (seen.break_id, seen.owner, seen.note) == (key, "wang", "bank ticket 17"), "said once, seen in both"
    assert seen.update_time.ToNanoseconds() > seen.open_time.ToNanoseconds()
    held = pb.HoldBreakRequest(break_id=key, until_bank_day=until, note="the bank answers on Thursday")
    answer = await service.HoldBreak(held, timeout=TIMEOUT_S)
    assert (answer.current.state, answer.current.hold_until_day) == (pb.BREAK_STATE_HELD, until)
    assert answer.current.HasField("next_step_time")
    closed = await service.CloseBreak(
        pb.CloseBreakRequest(break_id=key, note="the bank has mended it"), timeout=TIMEOUT_S
    )
    assert closed.current.close_reason == pb.BREAK_CLOSE_REASON_DECIDED
    history = await service.GetBreak(pb.GetBreakRequest(break_id=key), timeout=TIMEOUT_S)
    kinds = [pb.BreakEventKind.Name(one.kind).removeprefix("BREAK_EVENT_KIND_") for one in history.events]
    assert kinds == ["OPENED", "ASSIGNED", "NOTED", "HELD", "CLOSED"], "said twice is kept once"
    assert [one.caller for one in history.events] == ["", "local", "local", "local", "local"]
    again = await shop.refusal(service.HoldBreak(held, timeout=TIMEOUT_S))
    assert (again.code, again.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BREAK_CLOSED")


async def test_what_is_said_of_a_break_that_is_not_there_is_refused(shop: Marketplace) -> None:
    request = pb.GetBreakRequest(break_id="0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11")
    refusal = await shop.refusal(shop.reconciliation.GetBreak(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "BREAK_NOT_FOUND")


async def test_a_note_with_what_looks_like_a_card_is_refused(shop: Marketplace) -> None:
    _, found = await break_of(shop)
    request = pb.CloseBreakRequest(break_id=found.break_id, note="card 6222021234567890128")
    refusal = await shop.refusal(shop.reconciliation.CloseBreak(request, timeout=TIMEOUT_S))
    assert (refusal.reason, list(refusal.violations)) == ("REQUEST_INVALID", ["note"])


async def test_breaks_come_in_pages_that_show_each_once(shop: Marketplace) -> None:
    day = await a_day(shop)
    for trade in shop.sandbox.bank.store.all(Trade):
        shop.sandbox.bank.store.put(dataclasses.replace(trade, amount_fen=trade.amount_fen + 1))
    await run_day(shop, day)
    whole = [one.break_id for one in await breaks(shop)]
    assert len(whole) >= 2
    seen, token = [], ""
    while True:
        request = pb.ListBreaksRequest(page_size=1, page_token=token)
        page = await shop.reconciliation.ListBreaks(request, timeout=TIMEOUT_S)
        seen += [one.break_id for one in page.breaks]
        token = page.next_page_token
        if not token:
            break
    assert seen == whole


async def test_reconcile_exits_1_with_a_break_and_shows_it_in_yuan(
    shop: Marketplace, capsys: pytest.CaptureFixture[str]
) -> None:
    day, _ = await break_of(shop)
    target = f"127.0.0.1:{shop.service.port}"
    assert await reconcile(target, [date.fromisoformat(day)]) == 1
    said = capsys.readouterr().out
    assert "45.00" in said
    assert "5.00" in said
    assert f"not clean: {day}" in said


async def test_one_identity_proposes_the_sign_off_and_cannot_approve_it(shop: Marketplace) -> None:
    day = await a_day(shop)
    await run_day(shop, day)
    proposed = await propose(shop, day, "nothing is open")
    (signature,) = proposed.signatures
    assert (signature.caller, signature.note) == ("local", "nothing is open")
    assert (await propose(shop, day)).signatures == proposed.signatures, "to sign twice adds nothing"
    request = pb.ApproveSignOffRequest(bank_day=day, digest=signature.digest)
    refusal = await shop.refusal(shop.reconciliation.ApproveSignOff(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SIGNER_IS_PROPOSER")
    assert (await day_of(shop, day)).state == pb.RECONCILIATION_STATE_CLEAN


async def test_a_day_that_changed_since_it_was_proposed_is_not_approved(shop: Marketplace) -> None:
    day, _ = await break_of(shop)
    (signature,) = (await propose(shop, day)).signatures
    (trade,) = (one for one in shop.sandbox.bank.store.all(Trade) if one.amount_fen == 45_00)
    shop.sandbox.bank.store.put(dataclasses.replace(trade, amount_fen=40_00))
    await run_day(shop, day)
    refusal = await shop.refusal(approve(shop, day, signature.digest))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DAY_NOT_READY")
