"""Transfers into the pooled account (6050), and money of suspense brought to a member and back (6139, 6140), seen from
outside.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import grpc
import psycopg
import pytest

from bankclient import OpenMember, TransfersInRow, TrialTransfer
from jzb.v1 import balance_pb2, clearing_pb2, core_pb2, suspense_pb2, withdrawal_pb2
from ledger import Member
from ledger.names import MemberCode, Serial, SubAccount
from sandbox.clock import BankClock
from service.inflows.transfers import ProblemReason, Skip, problem_of, skip_of
from tests.sandbox.choices import BankChoices
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_day, bank_says, open_marketplace
from tests.world.process import until
from tests.world.returns import LIST as RETURNS
from tests.world.returns import collect as collect_returns
from tests.world.returns import send_back
from tests.world.suspense import PAYER, clear, clearing, collect, come_in, in_suspense
from tests.world.withdrawals import withdraw_to_the_end as withdraw


async def suspended(shop: Marketplace) -> dict[str, tuple[int, int]]:
    """What can still be cleared, and what is held, by transfer."""
    answer = await shop.suspense.ListSuspense(suspense_pb2.ListSuspenseRequest(), timeout=TIMEOUT_S)
    return {entry.transfer_bank_serial: (entry.remaining_fen, entry.held_fen) for entry in answer.entries}


async def clear_refused(shop: Marketplace, *args: Any, **more: Any) -> tuple[str, dict[str, int]]:
    told = await shop.refusal(shop.suspense.AllocateSuspense(clearing(shop, *args, **more), timeout=TIMEOUT_S))
    assert told.outcome == core_pb2.OUTCOME_NO_EFFECT
    return told.reason, told.amounts


def undoing(
    shop: Marketplace, allocation_serial: str, fen: int, fee_fen: int = 0, remark: str = ""
) -> suspense_pb2.ReverseSuspenseAllocationRequest:
    return suspense_pb2.ReverseSuspenseAllocationRequest(
        request_id=shop.request_id(),
        allocation_serial=allocation_serial,
        amount_fen=fen,
        fee_fen=fee_fen,
        remark=remark,
    )


async def undo(shop: Marketplace, *args: Any, **more: Any) -> core_pb2.Operation:
    answer = await shop.suspense.ReverseSuspenseAllocation(undoing(shop, *args, **more), timeout=TIMEOUT_S)
    operation: core_pb2.Operation = answer.operation
    return operation


async def undo_refused(shop: Marketplace, *args: Any, **more: Any) -> tuple[str, dict[str, int]]:
    told = await shop.refusal(shop.suspense.ReverseSuspenseAllocation(undoing(shop, *args, **more), timeout=TIMEOUT_S))
    assert told.outcome == core_pb2.OUTCOME_NO_EFFECT
    return told.reason, told.amounts


async def left(shop: Marketplace, allocation_serial: str) -> tuple[int, int]:
    """What of a clearing, and of its fee, can still be put back."""
    request = suspense_pb2.GetSuspenseAllocationRequest(allocation_serial=allocation_serial)
    answer = await shop.suspense.GetSuspenseAllocation(request, timeout=TIMEOUT_S)
    return answer.remaining_fen, answer.remaining_fee_fen


# Transfers come in.


async def test_a_transfer_of_a_member_is_its_own_and_one_of_a_stranger_lies_in_suspense(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    strange, own = await come_in(shop, 50_00, remark="货款"), await come_in(shop, 30_00, "buyer")
    page = await collect(shop)
    assert (page.entered, list(page.skipped), list(page.problems), page.next_page_token) == (2, [], [], "")
    assert [
        (one.transfer_bank_serial, one.operation.payee_member_id, one.operation.amount_fen) for one in page.transfers
    ] == [
        (strange, "", 50_00),
        (own, "buyer", 30_00),
    ]
    for one in page.transfers:
        assert (one.operation.kind, one.operation.state, one.operation.outcome) == (
            core_pb2.OPERATION_KIND_TRANSFER_IN,
            core_pb2.OPERATION_STATE_DONE,
            core_pb2.OUTCOME_DONE,
        )
        assert (one.operation.request_id, one.operation.bank_day) == ("", str(bank_day(shop)))
        assert (one.payer_name, one.payer_account, one.payer_bank_name) == (PAYER[1], PAYER[0], PAYER[2])
    assert [one.payer_note for one in page.transfers] == ["货款", ""]
    balance = await shop.balance("buyer")
    assert (balance.uncleared_fen, balance.withdrawable_fen) == (30_00, 0)
    assert await suspended(shop) == {strange: (50_00, 0)}
    await shop.assert_agrees()
    await shop.clear()
    assert (await shop.balance("buyer")).withdrawable_fen == 30_00
    await shop.assert_agrees()


async def test_money_that_was_not_collected_yet_shows_as_a_difference(shop: Marketplace) -> None:
    await come_in(shop, 50_00)
    request = balance_pb2.CompareWithBankRequest()
    rows = [one.comparison async for one in shop.balances.CompareWithBank(request, timeout=TIMEOUT_S)]
    (row,) = [one for one in rows if one.account_kind == balance_pb2.ACCOUNT_KIND_SUSPENSE]
    assert (row.agrees, row.difference.available_fen) == (False, 50_00)
    await collect(shop)
    await shop.assert_agrees()


async def test_who_paid_is_told_and_not_kept(shop: Marketplace) -> None:
    await come_in(shop, 50_00, remark="kein Geheimnis")
    page = await collect(shop)
    assert page.transfers[0].payer_note == "kein Geheimnis"
    again = await collect(shop)
    assert (again.entered, again.transfers[0].payer_name) == (0, PAYER[1])
    with psycopg.connect(shop.dsn) as connection:
        kept = [str(row) for table in ("operation", "event") for row in connection.execute(f"TABLE {table}".encode())]
    assert len(kept) >= 2
    for told in (*PAYER, "kein Geheimnis"):
        assert not [row for row in kept if told in row]


async def test_a_transfer_is_entered_once_however_often_and_by_how_many_it_is_asked_for(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await come_in(shop, 30_00, "buyer")
    await come_in(shop, 50_00)
    pages = await asyncio.gather(*(collect(shop) for _ in range(5)))
    assert sum(page.entered for page in pages) == 2
    assert len({tuple(one.operation.operation_id for one in page.transfers) for page in pages}) == 1
    await shop.assert_agrees()


async def test_many_transfers_come_in_pages_over_the_days(database: str) -> None:
    began = datetime.now(UTC) - timedelta(days=5)
    async with open_marketplace(database, clock=BankClock(lambda: began)) as shop:
        first, serials = bank_day(shop), []
        for number in range(27):
            serials.append(await come_in(shop, 1_00 + number))
            if number in (3, 24):
                shop.sandbox.bank.move_clock(1)
        last = bank_day(shop)
        shop.sandbox.bank.move_clock(1)
        seen, token, pages = [], "", 0
        while True:
            page = await collect(shop, first, last, page_size=4, page_token=token)
            assert page.entered == len(page.transfers) <= 4
            seen += [one.transfer_bank_serial for one in page.transfers]
            pages, token = pages + 1, page.next_page_token
            if not token:
                break
        assert (seen, pages) == (serials, 7)
        await shop.assert_agrees()


async def test_days_that_are_none_or_too_many_are_refused(shop: Marketplace) -> None:
    today = bank_day(shop)
    for first, last in ((today, today - timedelta(days=1)), (today - timedelta(days=31), today)):
        assert (await shop.refusal(collect(shop, first, last))).reason == "BANK_DAY_INVALID"
    for edge in (date.max, date.min):
        refusal = await shop.refusal(collect(shop, edge))
        assert (refusal.reason, list(refusal.violations)) == ("BANK_DAY_INVALID", ["first_bank_day"])
    assert (await shop.refusal(collect(shop, page_token="x"))).reason == "PAGE_TOKEN_INVALID"
    assert shop.calls_received("CommonTransferRechargeQuery") == 0


async def test_a_day_is_asked_for_as_the_present_one_or_as_history_and_never_listed_twice(database: str) -> None:
    began = datetime.now(UTC) - timedelta(days=1)
    async with open_marketplace(database, clock=BankClock(lambda: began)) as shop:
        yesterday = bank_day(shop)
        first = await come_in(shop, 10_00)
        shop.sandbox.bank.move_clock(1)
        second = await come_in(shop, 20_00)
        present = await collect(shop)
        assert [one.transfer_bank_serial for one in present.transfers] == [second]
        # The bank's day is over before ours.
        shop.sandbox.bank.move_clock(1)
        both = await collect(shop, yesterday, yesterday + timedelta(days=1))
        assert [(one.transfer_bank_serial, both.entered) for one in both.transfers] == [(first, 1), (second, 1)]
        assert (await collect(shop, bank_day(shop) + timedelta(days=1))).entered == 0
        await shop.assert_agrees()


async def test_a_bank_that_does_not_answer_leaves_nothing_half_entered(shop: Marketplace) -> None:
    await come_in(shop, 50_00)
    shop.sandbox.faults.add("http500", code="6050")
    told = await shop.refusal(collect(shop))
    assert (told.reason, told.outcome) == ("BANK_UNAVAILABLE", core_pb2.OUTCOME_NO_EFFECT)
    assert (await collect(shop)).entered == 1
    await shop.assert_agrees()


async def test_what_enters_by_another_door_is_skipped_and_counted(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    withdrawal = await withdraw(shop, "seller", 40_00)
    send_back(shop, withdrawal)
    page = await collect(shop)
    assert {(one.reason, one.count, one.amount_fen) for one in page.skipped} == {
        (suspense_pb2.TRANSFER_SKIP_REASON_WITHDRAWAL_RETURN, 1, 40_00)
    }
    cleared = await collect(shop, bank_day(shop) - timedelta(days=1))
    assert {(one.reason, one.count, one.amount_fen) for one in cleared.skipped} == {
        (suspense_pb2.TRANSFER_SKIP_REASON_CLEARING_PRINCIPAL, 1, 100_00)
    }
    assert (page.entered, cleared.entered) == (0, 0)
    today = str(bank_day(shop))
    returns = withdrawal_pb2.CollectReturnsRequest(first_bank_day=today, last_bank_day=today)
    assert (await shop.withdrawals.CollectReturns(returns, timeout=TIMEOUT_S)).entered == 1
    assert (await collect(shop)).entered == 0
    await shop.assert_agrees()


async def test_credits_of_acquired_orders_are_left_to_acquiring(shop: Marketplace) -> None:
    await shop.merchant("seller")
    await come_in(shop, 30_00, "seller", remark="见证+收单充值,ORDER")
    page = await collect(shop)
    assert [(one.reason, one.count) for one in page.skipped] == [(suspense_pb2.TRANSFER_SKIP_REASON_ACQUIRING, 1)]
    assert (page.entered, (await shop.balance("seller")).available_fen) == (0, 0)


async def test_a_credit_of_a_member_that_is_not_ours_is_told_until_it_is_known(shop: Marketplace) -> None:
    request = OpenMember(FunctionFlag="1", TranNetMemberCode="stranger", MemberProperty="00")
    opened = await shop.service.components.bank.call(request, "X28550" + "2" * 16)
    assert opened.reply is not None
    serial = shop.sandbox.bank.transfer_in(opened.reply.SubAcctNo, 30_00, PAYER, "").front_seq_no
    await come_in(shop, 50_00)
    for entered in (1, 0):
        page = await collect(shop)
        (problem,) = page.problems
        assert (page.entered, problem.reason, problem.transfer_bank_serial, problem.amount_fen, problem.bank_type) == (
            entered,
            suspense_pb2.TRANSFER_PROBLEM_REASON_MEMBER_UNKNOWN,
            serial,
            30_00,
            "02",
        )
        assert (problem.sub_account, problem.bank_day) == (opened.reply.SubAcctNo, str(bank_day(shop)))


def row(**changed: Any) -> TransfersInRow:
    """A row of 6050 with an amount of 1.00 to a member."""
    fields = {
        "InAcctType": "02",
        "TranNetMemberCode": "m",
        "SubAcctNo": "1001",
        "TranAmt": 100,
        "Ccy": "RMB",
        "AccountingDate": "20261123",
        "FrontSeqNo": "2611230000000001",
        **changed,
    }
    return TransfersInRow.model_construct(**fields)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"InAcctType": "03", "SubAcctNo": "9930000000000002"}, None),
        ({"InAcctType": "1"}, ProblemReason.TYPE_UNKNOWN),
        ({"InAcctType": ""}, ProblemReason.TYPE_UNKNOWN),
        ({"SubAcctNo": "1002"}, ProblemReason.MEMBER_UNKNOWN),
        ({"TranAmt": 0}, ProblemReason.AMOUNT_INVALID),
        ({"TranAmt": -1}, ProblemReason.AMOUNT_INVALID),
        ({"TranAmt": 100_000_000_000_000}, ProblemReason.AMOUNT_INVALID),
        ({"FrontSeqNo": ""}, ProblemReason.SERIAL_MISSING),
        ({"FrontSeqNo": "1e5"}, ProblemReason.SERIAL_MISSING),
        ({"FrontSeqNo": "2613990000000001"}, ProblemReason.SERIAL_MISSING),
        ({"FrontSeqNo": "2611230000000001 "}, ProblemReason.SERIAL_MISSING),
    ],
)
def test_a_row_that_cannot_be_entered_says_why(changed: dict[str, Any], fault: ProblemReason | None) -> None:
    found = row(**changed)
    member = (
        Member(member_id=MemberCode("m"), sub_account=SubAccount("1001"), property="00")
        if found.SubAcctNo == "1001"
        else None
    )
    assert problem_of(found, member, None) is fault


@pytest.mark.parametrize(
    ("changed", "skip"),
    [
        ({}, None),
        ({"InAcctType": "03", "Remark": "跨行支付本金清算"}, Skip.CLEARING_PRINCIPAL),
        ({"InAcctType": "02", "Remark": "跨行支付本金清算"}, None),
        ({"Remark": "见证+收单充值,ORDER"}, Skip.ACQUIRING),
        ({"InAcctType": "03", "Remark": "见证+收单充值"}, Skip.ACQUIRING),
        ({"Remark": "T1,ORDER"}, Skip.ACQUIRING),
        ({"Remark": "ORDER 17"}, None),
        ({"FrontSeqNo": "2611230000000009"}, Skip.WITHDRAWAL_RETURN),
    ],
)
def test_only_what_is_marked_enters_by_another_door(changed: dict[str, Any], skip: Skip | None) -> None:
    assert skip_of(row(**changed), {"2611230000000009"}) is skip


async def test_a_row_that_changes_after_it_was_entered_is_told_and_moves_nothing(shop: Marketplace) -> None:
    (transfer_bank_serial,) = await in_suspense(shop, 50_00)
    known = (await collect(shop)).transfers[0].operation
    found = await shop.service.components.reads.operation(serial=Serial(known.serial))
    changed = row(InAcctType="03", FrontSeqNo=transfer_bank_serial, TranAmt=60_00)
    assert problem_of(changed, None, found) is ProblemReason.CHANGED
    assert problem_of(row(InAcctType="03", FrontSeqNo=transfer_bank_serial, TranAmt=50_00), None, found) is None


async def test_transferred_money_is_withdrawable_at_once_where_the_bank_is_so(database: str) -> None:
    chosen: BankChoices = {"transferred_money": "withdrawable"}
    async with open_marketplace(database, chosen, rules=chosen) as shop:
        await shop.buyer("buyer")
        await come_in(shop, 30_00, "buyer")
        await collect(shop)
        assert (await shop.balance("buyer")).withdrawable_fen == 30_00
        await shop.assert_agrees()


async def test_the_last_days_are_collected_without_being_asked(database: str) -> None:
    async with open_marketplace(database, transfers={"poll_s": 0.1, "days": 1}) as shop:
        serial = await come_in(shop, 50_00)

        async def is_there() -> bool:
            return serial in await suspended(shop)

        await until(is_there, "the transfer is collected")
        await shop.assert_agrees()


async def test_play_money_of_the_test_environment_is_found_in_suspense(shop: Marketplace) -> None:
    play = TrialTransfer(
        RecvAcctNo=shop.service.components.settings.bank.fund_summary_acct_no,
        ApplyTakeCashAmt=80_00,
        MarketChargeCommission=0,
    )
    assert (await shop.service.components.bank.call(play, "X28550" + "3" * 16)).reply is not None
    assert (await collect(shop)).entered == 1
    assert list((await suspended(shop)).values()) == [(80_00, 0)]
    await shop.assert_agrees()


# Suspense is cleared.


async def test_money_of_suspense_is_cleared_to_its_owners_in_parts_and_withdrawable_at_once(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await shop.merchant("seller")
    first, second = await in_suspense(shop, 100_00, 20_00)
    operation = await clear(shop, first, "buyer", 60_00, 1_00)
    entered = (await collect(shop)).transfers[0].operation
    assert (operation.kind, operation.state, operation.original_serial) == (
        core_pb2.OPERATION_KIND_ALLOCATE_SUSPENSE,
        core_pb2.OPERATION_STATE_DONE,
        entered.serial,
    )
    assert (operation.payee_member_id, operation.amount_fen, operation.fee_fen) == ("buyer", 60_00, 1_00)
    assert [(part.serial, part.amount_fen) for part in operation.parts] == [(operation.serial, 60_00)]
    await clear(shop, first, "seller", 40_00)
    buyer, seller = await shop.balance("buyer"), await shop.balance("seller")
    assert (buyer.withdrawable_fen, buyer.uncleared_fen, seller.withdrawable_fen) == (59_00, 0, 40_00)
    assert await suspended(shop) == {second: (20_00, 0)}
    await shop.assert_agrees()


async def test_a_transfer_gives_no_more_than_came_in_though_the_bank_has_other_money(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    first, _ = await in_suspense(shop, 100_00, 900_00)
    assert await clear_refused(shop, first, "buyer", 100_01) == (
        "SUSPENSE_INSUFFICIENT",
        {"needed": 100_01, "left": 100_00},
    )
    await clear(shop, first, "buyer", 70_00)
    assert await clear_refused(shop, first, "buyer", 30_01, 30_01) == (
        "SUSPENSE_INSUFFICIENT",
        {"needed": 30_01, "left": 30_00},
    )
    assert shop.calls_received("RegisterBillSupportWithdraw") == 1
    await shop.assert_agrees()


async def test_what_is_no_clearing_is_refused_and_nothing_is_sent(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    own = await come_in(shop, 30_00, "buyer")
    (strange,) = await in_suspense_beside(shop, 50_00)
    for transfer_bank_serial in (own, "2611230000009999"):
        assert (await clear_refused(shop, transfer_bank_serial, "buyer", 1_00))[0] == "TRANSFER_NOT_FOUND"
    assert (await clear_refused(shop, strange, "nobody", 1_00))[0] == "MEMBER_NOT_FOUND"
    assert (await clear_refused(shop, strange, "buyer", 1_00, 1_01))[0] == "FEE_EXCEEDS_AMOUNT"
    assert shop.calls_received("RegisterBillSupportWithdraw") == 0
    await clear(shop, strange, "buyer", 1_00, order_no="S1")
    assert (await clear_refused(shop, strange, "buyer", 1_00, order_no="S1"))[0] == "ORDER_EXISTS"
    assert await suspended(shop) == {strange: (49_00, 0)}
    await shop.assert_agrees()


async def in_suspense_beside(shop: Marketplace, fen: int) -> list[str]:
    """A transfer without a member, collected with what else came in."""
    serial = await come_in(shop, fen)
    await collect(shop)
    return [serial]


async def test_a_clearing_whose_answer_is_lost_holds_until_it_is_resolved(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    (transfer_bank_serial,) = await in_suspense(shop, 100_00)
    request = clearing(shop, transfer_bank_serial, "buyer", 60_00, 1_00, remark="[[lose_after]]")
    lost = await shop.refusal(shop.suspense.AllocateSuspense(request, timeout=TIMEOUT_S))
    assert (lost.reason, lost.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert await suspended(shop) == {transfer_bank_serial: (40_00, 60_00)}
    assert (await shop.balance("buyer")).available_fen == 0
    assert await clear_refused(shop, transfer_bank_serial, "buyer", 40_01) == (
        "SUSPENSE_INSUFFICIENT",
        {"needed": 40_01, "left": 40_00},
    )
    assert (await undo_refused(shop, lost.operation.serial, 1_00))[0] == "SUSPENSE_ALLOCATION_IN_DOUBT"
    found = await shop.resolve(lost.operation.operation_id)
    assert found.state == core_pb2.OPERATION_STATE_DONE
    assert (await shop.balance("buyer")).withdrawable_fen == 59_00
    assert await suspended(shop) == {transfer_bank_serial: (40_00, 0)}
    await shop.assert_agrees()


async def test_a_clearing_that_never_arrived_leaves_the_money_in_suspense(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    (transfer_bank_serial,) = await in_suspense(shop, 100_00)
    shop.sandbox.faults.add("lose_before", code="6139")
    lost = await shop.refusal(
        shop.suspense.AllocateSuspense(clearing(shop, transfer_bank_serial, "buyer", 60_00), timeout=TIMEOUT_S)
    )
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    assert await suspended(shop) == {transfer_bank_serial: (100_00, 0)}
    assert (await undo_refused(shop, lost.operation.serial, 1_00))[0] == "SUSPENSE_ALLOCATION_NOT_FOUND"
    await shop.assert_agrees()


async def test_a_refusal_of_the_bank_leaves_the_money_in_suspense(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    (transfer_bank_serial,) = await in_suspense(shop, 100_00)
    reason, _ = await clear_refused(shop, transfer_bank_serial, "buyer", 60_00, remark="[[refuse:ERR044]]")
    assert (reason, await suspended(shop)) == ("BANK_REFUSED", {transfer_bank_serial: (100_00, 0)})
    await shop.assert_agrees()


async def test_clearings_at_once_stay_within_their_transfer(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    first, second = await in_suspense(shop, 100_00, 500_00)
    results = await asyncio.gather(*(clear(shop, first, "buyer", 22_00) for _ in range(8)), return_exceptions=True)
    done = [one for one in results if isinstance(one, core_pb2.Operation)]
    refusals = [one for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert (len(done), len(refusals)) == (4, 4)
    assert await suspended(shop) == {first: (12_00, 0), second: (500_00, 0)}
    await shop.assert_agrees()


async def test_open_entries_are_listed_in_pages_oldest_first(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    serials = await in_suspense(shop, 10_00, 20_00, 30_00, 40_00, 50_00)
    await clear(shop, serials[1], "buyer", 20_00)
    seen, token = [], ""
    while True:
        request = suspense_pb2.ListSuspenseRequest(page_size=2, page_token=token)
        page = await shop.suspense.ListSuspense(request, timeout=TIMEOUT_S)
        seen += [(one.transfer_bank_serial, one.amount_fen, one.remaining_fen) for one in page.entries]
        assert {one.bank_day for one in page.entries} == {str(bank_day(shop))}
        token = page.next_page_token
        if not token:
            break
    assert seen == [(serials[number], fen, fen) for number, fen in ((0, 10_00), (2, 30_00), (3, 40_00), (4, 50_00))]
    bad = suspense_pb2.ListSuspenseRequest(page_token="!")
    assert (await shop.refusal(shop.suspense.ListSuspense(bad, timeout=TIMEOUT_S))).reason == "PAGE_TOKEN_INVALID"


# A clearing is undone.


async def test_a_clearing_is_undone_in_parts_until_nothing_is_left_and_can_be_cleared_anew(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await shop.merchant("seller")
    transfer_bank_serial, other = await in_suspense(shop, 100_00, 5_00)
    cleared = await clear(shop, transfer_bank_serial, "buyer", 60_00, 1_00)
    undone = await undo(shop, cleared.serial, 20_00, 60)
    assert (undone.kind, undone.state, undone.original_serial) == (
        core_pb2.OPERATION_KIND_REVERSE_SUSPENSE_ALLOCATION,
        core_pb2.OPERATION_STATE_DONE,
        cleared.serial,
    )
    assert (undone.payer_member_id, undone.order_no) == ("buyer", cleared.order_no)
    assert (await shop.balance("buyer")).withdrawable_fen == 39_60
    assert await left(shop, cleared.serial) == (40_00, 40)
    assert await suspended(shop) == {transfer_bank_serial: (60_00, 0), other: (5_00, 0)}
    await shop.assert_agrees()
    await undo(shop, cleared.serial, 40_00, 40)
    assert await left(shop, cleared.serial) == (0, 0)
    await clear(shop, transfer_bank_serial, "seller", 100_00)
    assert ((await shop.balance("buyer")).available_fen, await suspended(shop)) == (0, {other: (5_00, 0)})
    await shop.assert_agrees()


async def test_no_more_is_undone_than_was_cleared_and_no_more_fee_than_was_taken(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    transfer_bank_serial, _ = await in_suspense(shop, 100_00, 900_00)
    cleared = await clear(shop, transfer_bank_serial, "buyer", 60_00, 1_00)
    await clear(shop, transfer_bank_serial, "buyer", 40_00)
    assert await undo_refused(shop, cleared.serial, 60_01) == (
        "REVERSAL_EXCEEDS_ALLOCATION",
        {"needed": 60_01, "left": 60_00},
    )
    await undo(shop, cleared.serial, 30_00, 70)
    assert await undo_refused(shop, cleared.serial, 30_01) == (
        "REVERSAL_EXCEEDS_ALLOCATION",
        {"needed": 30_01, "left": 30_00},
    )
    assert await undo_refused(shop, cleared.serial, 30_00, 31) == (
        "FEE_REVERSAL_EXCEEDS_FEE",
        {"needed": 31, "left": 30},
    )
    assert (await undo_refused(shop, cleared.serial, 1_00, 1_01))[0] == "FEE_EXCEEDS_AMOUNT"
    assert shop.calls_received("RevRegisterBillSupportWithdraw") == 1
    await shop.assert_agrees()


async def test_only_money_the_member_could_withdraw_goes_back(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await shop.merchant("seller")
    (transfer_bank_serial,) = await in_suspense(shop, 100_00)
    cleared = await clear(shop, transfer_bank_serial, "buyer", 100_00)
    await shop.pay("buyer", "seller", 70_00)
    await shop.top_up("buyer", 500_00)
    assert await undo_refused(shop, cleared.serial, 30_01) == (
        "WITHDRAWABLE_INSUFFICIENT",
        {"needed": 30_01, "left": 30_00},
    )
    await undo(shop, cleared.serial, 30_00)
    await shop.assert_agrees()


async def test_an_undoing_whose_answer_is_lost_holds_until_it_is_resolved(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    (transfer_bank_serial,) = await in_suspense(shop, 100_00)
    cleared = await clear(shop, transfer_bank_serial, "buyer", 60_00, 1_00)
    request = undoing(shop, cleared.serial, 20_00, 50, remark="[[lose_after]]")
    lost = await shop.refusal(shop.suspense.ReverseSuspenseAllocation(request, timeout=TIMEOUT_S))
    assert (lost.reason, lost.outcome) == ("BANK_OUTCOME_UNKNOWN", core_pb2.OUTCOME_UNKNOWN)
    assert (await shop.balance("buyer")).held_fen == 19_50
    assert (await left(shop, cleared.serial), await suspended(shop)) == (
        (40_00, 50),
        {transfer_bank_serial: (40_00, 0)},
    )
    found = await shop.resolve(lost.operation.operation_id)
    assert found.state == core_pb2.OPERATION_STATE_DONE
    assert await suspended(shop) == {transfer_bank_serial: (60_00, 0)}
    await shop.assert_agrees()


async def test_an_undoing_that_never_arrived_can_be_done_again(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    (transfer_bank_serial,) = await in_suspense(shop, 100_00)
    cleared = await clear(shop, transfer_bank_serial, "buyer", 60_00)
    shop.sandbox.faults.add("lose_before", code="6140")
    lost = await shop.refusal(
        shop.suspense.ReverseSuspenseAllocation(undoing(shop, cleared.serial, 60_00), timeout=TIMEOUT_S)
    )
    assert (await shop.until_final(lost.operation.operation_id)).state == core_pb2.OPERATION_STATE_REFUSED
    await undo(shop, cleared.serial, 60_00)
    assert await suspended(shop) == {transfer_bank_serial: (100_00, 0)}
    await shop.assert_agrees()


async def test_undoings_at_once_stay_within_their_clearing(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    transfer_bank_serial, _ = await in_suspense(shop, 100_00, 500_00)
    cleared = await clear(shop, transfer_bank_serial, "buyer", 60_00)
    await clear(shop, transfer_bank_serial, "buyer", 40_00)
    results = await asyncio.gather(*(undo(shop, cleared.serial, 13_00) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, core_pb2.Operation) for one in results) == 4
    assert await left(shop, cleared.serial) == (8_00, 0)
    await shop.assert_agrees()


async def test_what_is_no_clearing_cannot_be_undone(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    top_up = await shop.top_up("buyer", 100_00)
    for serial in (top_up.serial, "X285502611230000009999"):
        assert (await undo_refused(shop, serial, 1_00))[0] == "SUSPENSE_ALLOCATION_NOT_FOUND"
    assert shop.calls_received("RevRegisterBillSupportWithdraw") == 0


async def test_a_request_acts_once_and_a_dry_run_never(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    (transfer_bank_serial,) = await in_suspense(shop, 100_00)
    request = clearing(shop, transfer_bank_serial, "buyer", 60_00)
    request.validate_only = True
    assert (await shop.suspense.AllocateSuspense(request, timeout=TIMEOUT_S)).operation.operation_id == ""
    assert (shop.calls_received("RegisterBillSupportWithdraw"), await suspended(shop)) == (
        0,
        {transfer_bank_serial: (100_00, 0)},
    )
    request.validate_only = False
    answers = [await shop.suspense.AllocateSuspense(request, timeout=TIMEOUT_S) for _ in range(2)]
    assert answers[0] == answers[1]
    request.amount_fen = 61_00
    again = await shop.refusal(shop.suspense.AllocateSuspense(request, timeout=TIMEOUT_S))
    assert again.reason == "REQUEST_ID_REUSED"
    back = undoing(shop, answers[0].operation.serial, 60_01)
    back.validate_only = True
    told = await shop.refusal(shop.suspense.ReverseSuspenseAllocation(back, timeout=TIMEOUT_S))
    assert (told.reason, told.amounts) == ("REVERSAL_EXCEEDS_ALLOCATION", {"needed": 60_01, "left": 60_00})
    assert shop.calls_received("RegisterBillSupportWithdraw") == 1
    await shop.assert_agrees()


# What comes back is in both lists of the bank, and is entered by one of them.


def unlisted(answer: dict[str, Any]) -> None:
    answer.update(TranItemArray=[], ResultNum="0")


async def test_what_6050_lists_before_6048_does_is_entered_once(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    send_back(shop, await withdraw(shop, "seller", 40_00))
    with bank_says(shop.sandbox, RETURNS, unlisted):
        assert (await collect(shop)).entered == 1
    for _ in range(2):
        late = await collect_returns(shop)
        assert (late.entered, list(late.returns)) == (0, [])
        assert [one.reason for one in late.problems] == [withdrawal_pb2.RETURN_PROBLEM_REASON_ENTERED_AS_TRANSFER]
    assert (await collect(shop)).entered == 0
    assert (await shop.balance("seller")).available_fen == 100_00
    await shop.assert_agrees()


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_was_entered_as_a_return_is_no_transfer_whatever_6048_lists_now(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    send_back(shop, await withdraw(shop, "seller", 40_00))
    assert (await collect_returns(shop)).entered == 1
    if at_once:
        # Both were about to enter it: what is known was read before.
        monkeypatch.setattr(shop.service.components.reads, "operations_by_request", AsyncMock(return_value={}))
    with bank_says(shop.sandbox, RETURNS, unlisted):
        page = await collect(shop)
    assert (page.entered, list(page.problems)) == (0, [])
    assert [(one.reason, one.amount_fen) for one in page.skipped] == [
        (suspense_pb2.TRANSFER_SKIP_REASON_WITHDRAWAL_RETURN, 40_00)
    ]
    assert (await shop.balance("seller")).available_fen == 100_00
    await shop.assert_agrees()


# Payments that crossed with what came in.


async def test_what_was_paid_before_a_transfer_was_found_took_of_it_as_at_the_bank(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.merchant("seller")
    await come_in(shop, 50_00, "buyer")
    await shop.pay("buyer", "seller", 30_00)
    assert (await collect(shop)).entered == 1
    buyer = await shop.balance("buyer")
    assert (buyer.uncleared_fen, buyer.withdrawable_fen) == (20_00, 100_00)
    await shop.assert_agrees()


async def test_a_transfer_after_a_night_that_is_not_heard_of_is_not_taken_for_what_was_cleared(database: str) -> None:
    async with open_marketplace(database, {"clear_same_day": False}) as shop:
        first = (await shop.top_up(await shop.buyer("buyer"), 100_00)).bank_day
        shop.sandbox.bank.move_clock(1)
        await come_in(shop, 50_00, "buyer")
        assert (await collect(shop)).entered == 1
        request = clearing_pb2.ClearDayRequest(request_id=shop.request_id(), bank_day=first)
        await shop.clearing.ClearDay(request, timeout=TIMEOUT_S)
        buyer = await shop.balance("buyer")
        assert (buyer.uncleared_fen, buyer.withdrawable_fen) == (50_00, 100_00)
        await shop.assert_agrees()
