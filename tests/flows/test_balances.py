"""Balances, the trial balance, and the comparison with the bank (6010, 6037), seen from outside."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import structlog.testing

from jzb.v1 import balance_pb2, core_pb2, member_pb2
from sandbox.clock import BankClock
from service.process.anchor import anchored
from service.rpc.balances import Balances
from service.rpc.facts import MemberFacts
from tests.ledger.bookkeeping import ask, execute
from tests.world.freezes import freeze, freeze_request
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_says, open_marketplace
from tests.world.orders import confirm, prepay, prepay_request
from tests.world.process import until
from tests.world.refunds import refund
from tests.world.topups import split_request
from tests.world.withdrawals import withdraw


async def trial(shop: Marketplace) -> balance_pb2.GetTrialBalanceResponse:
    answer: balance_pb2.GetTrialBalanceResponse = await shop.balances.GetTrialBalance(
        balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S
    )
    return answer


async def compared(shop: Marketplace, member_id: str = "") -> list[balance_pb2.Comparison]:
    request = balance_pb2.CompareWithBankRequest(member_id=member_id)
    return [row.comparison async for row in shop.balances.CompareWithBank(request, timeout=TIMEOUT_S)]


async def test_available_is_withdrawable_and_waiting_together(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.top_up("buyer", 7_00)
    await shop.merchant("seller")
    await freeze(shop, "buyer", 3_00)
    await prepay(shop, "buyer", "seller", 2_00)
    balance = await shop.balance("buyer")
    assert balance.available_fen == balance.withdrawable_fen + balance.uncleared_fen == 102_00
    assert (balance.uncleared_fen, balance.frozen_fen, balance.escrow_fen) == (2_00, 3_00, 2_00)
    assert balance.HasField("as_of_time")
    await shop.assert_agrees()


async def test_several_balances_come_in_the_order_asked_and_one_unknown_member_fails_all(shop: Marketplace) -> None:
    for number, member_id in enumerate(("c", "a", "b"), start=1):
        await shop.merchant(member_id, number * 100)
    request = balance_pb2.BatchGetBalancesRequest(member_ids=["b", "c", "a", "b"])
    answer = await shop.balances.BatchGetBalances(request, timeout=TIMEOUT_S)
    assert [(one.member_id, one.available_fen) for one in answer.balances] == [
        ("b", 300),
        ("c", 100),
        ("a", 200),
        ("b", 300),
    ]
    request.member_ids.append("nobody")
    refusal = await shop.refusal(shop.balances.BatchGetBalances(request, timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")


async def test_after_a_day_of_everything_the_trial_balance_sums_to_zero(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.merchant("seller", 50_00)
    order_no = await prepay(shop, "buyer", "seller", 40_00)
    payment = await confirm(shop, order_no, 40_00, 4_00)
    await refund(shop, payment.serial, 10_00, 1_00)
    await freeze(shop, "buyer", 5_00)
    await shop.until_final((await withdraw(shop, "buyer", 20_00, 1_00)).operation_id)
    answer = await trial(shop)
    assert answer.debit_fen == answer.credit_fen > 0
    assert sum(row.balance_fen for row in answer.rows) == 0
    kinds = {row.account_kind: row.balance_fen for row in answer.rows}
    assert kinds[balance_pb2.ACCOUNT_KIND_CONTROL] == 0
    assert kinds[balance_pb2.ACCOUNT_KIND_FROZEN] == 5_00
    assert kinds[balance_pb2.ACCOUNT_KIND_FEE] == 5_00
    await shop.assert_agrees()


async def test_the_comparison_shows_what_is_in_doubt_and_what_is_simply_wrong(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 60_00, remark="[[lose_before]]")
    await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    (row,) = await compared(shop, "buyer")
    assert (row.mirror.available_fen, row.bank.available_fen, row.difference.available_fen) == (40_00, 100_00, 60_00)
    assert row.in_doubt_fen == 60_00
    assert (row.agrees, row.result) == (True, balance_pb2.COMPARISON_RESULT_UNDER_WAY)
    # What the bank has credited, and the mirror does not know for sure yet.
    other = shop.top_up_request("seller", 5_00, remark="[[lose_after]]")
    lost = await shop.refusal(shop.top_ups.TopUp(other, timeout=TIMEOUT_S))
    (row,) = await compared(shop, "seller")
    assert (row.agrees, row.difference.available_fen, row.in_doubt_fen) == (True, 5_00, 65_00)
    await shop.until_final(lost.operation.operation_id)
    # A credit at the bank that the mirror knows nothing of.
    with bank_says(shop.sandbox, "CustAcctIdBalanceQuery", lambda told: more_by(told, 60_01)):
        (row,) = await compared(shop, "seller")
    assert (row.agrees, row.difference.available_fen, row.in_doubt_fen) == (False, 60_01, 60_00)
    assert row.result == balance_pb2.COMPARISON_RESULT_DIFFERS
    (row,) = await compared(shop, "seller")
    assert (row.agrees, row.result) == (True, balance_pb2.COMPARISON_RESULT_EQUAL)


def more_by(told: dict[str, Any], fen: int) -> None:
    """6010 says that so much more is available."""
    for row in told["AcctArray"]:
        row["AcctAvailBal"] = f"{round(float(row['AcctAvailBal']) * 100 + fen) / 100:.2f}"


@pytest.mark.parametrize("fault", ["[[lose_before]]", "[[lose_after]]"])
async def test_doubt_about_frozen_and_prepaid_money_and_every_share_explains_a_difference(
    shop: Marketplace, fault: str
) -> None:
    await shop.buyer("buyer", 100_00)
    for name in ("seller", "other"):
        await shop.merchant(name)
    lost = [
        await shop.refusal(shop.freezes.Freeze(freeze_request(shop, "buyer", 10_00, remark=fault), timeout=TIMEOUT_S)),
        await shop.refusal(
            shop.payments.PrepayOrder(prepay_request(shop, "buyer", "seller", "P1", 10_00, fault), timeout=TIMEOUT_S)
        ),
    ]
    shop.sandbox.faults.add(fault.strip("[]"), code="6216")
    lost.append(
        await shop.refusal(
            shop.top_ups.SplitTopUp(
                split_request(shop, ("seller", 10_00, 1_00), ("other", 10_00, 1_00)), timeout=TIMEOUT_S
            )
        )
    )
    assert all(one.operation.state == core_pb2.OPERATION_STATE_UNKNOWN for one in lost)
    for row in await compared(shop):
        assert row.agrees, row
    for one in lost:
        await shop.until_final(one.operation.operation_id)
    assert {row.result for row in await compared(shop)} == {balance_pb2.COMPARISON_RESULT_EQUAL}


@pytest.mark.soak
async def test_no_comparison_is_wrong_while_payments_go_on_and_a_true_difference_is_seen(shop: Marketplace) -> None:
    await shop.buyer("buyer", 1000_00)
    await shop.merchant("seller")
    stop = asyncio.Event()

    async def payer() -> int:
        paid = 0
        while not stop.is_set():
            await shop.pay("buyer", "seller", 2, 1)
            paid += 1
        return paid

    payers = [asyncio.ensure_future(payer()) for _ in range(4)]
    rows = [row for _ in range(12) for row in await compared(shop)]
    with bank_says(shop.sandbox, "CustAcctIdBalanceQuery", lambda told: more_by(told, 5_00)):
        tampered = [*await compared(shop, "buyer"), *await compared(shop, "seller")]
    stop.set()
    paid = sum(await asyncio.gather(*payers))
    assert paid > 20
    assert [row for row in rows if not row.agrees] == []
    # As it was, most of them would have been called different.
    assert any(row.result == balance_pb2.COMPARISON_RESULT_UNDER_WAY for row in rows)
    assert [row.agrees for row in tampered] == [False, False]
    assert {row.result for row in await compared(shop)} == {balance_pb2.COMPARISON_RESULT_EQUAL}


async def test_a_clearing_that_only_the_bank_has_made_is_named_and_no_difference(database: str) -> None:
    clock = BankClock(lambda: datetime.now(UTC) - timedelta(days=1))
    async with open_marketplace(database, {"clear_same_day": False}, clock=clock) as shop:
        await shop.merchant("seller", 100_00)
        shop.sandbox.bank.move_clock(1)
        (row,) = await compared(shop, "seller")
        assert (row.agrees, row.difference.withdrawable_fen) == (True, 100_00)
        assert row.result == balance_pb2.COMPARISON_RESULT_CLEARING


async def test_a_balance_comes_with_its_last_comparison(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    assert not (await shop.balance("buyer")).HasField("last_comparison")
    (first,) = await compared(shop, "buyer")
    assert (await shop.balance("buyer")).last_comparison == first
    with bank_says(shop.sandbox, "CustAcctIdBalanceQuery", lambda told: more_by(told, 1)):
        (second,) = await compared(shop, "buyer")
    batch = balance_pb2.BatchGetBalancesRequest(member_ids=["buyer"])
    (kept,) = (await shop.balances.BatchGetBalances(batch, timeout=TIMEOUT_S)).balances
    assert (kept.last_comparison, kept.last_comparison.agrees) == (second, False)
    assert kept.last_comparison.compare_time.ToDatetime() > first.compare_time.ToDatetime()


async def test_the_comparison_covers_every_open_member_and_the_platforms_own_accounts(shop: Marketplace) -> None:
    for number in range(3):
        await shop.merchant(f"m_{number}", 1_00, withdrawable=False)
    rows = await compared(shop)
    assert [row.member_id for row in rows if row.member_id] == ["m_0", "m_1", "m_2"]
    kinds = {row.account_kind for row in rows if not row.member_id}
    assert kinds >= {
        balance_pb2.ACCOUNT_KIND_FEE,
        balance_pb2.ACCOUNT_KIND_IN_TRANSIT,
        balance_pb2.ACCOUNT_KIND_OWN_FUNDS,
        balance_pb2.ACCOUNT_KIND_WITHDRAWAL_IN_TRANSIT,
    }
    assert all(row.agrees for row in rows)


@pytest.mark.parametrize("code", ["6010", "6037"])
async def test_a_bank_that_does_not_answer_ends_the_comparison_and_says_so(shop: Marketplace, code: str) -> None:
    await shop.merchant("seller", 1_00)
    shop.sandbox.faults.add("http500", code=code, times=None)
    refusal = await shop.refusal(compared(shop, "seller"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "BANK_UNAVAILABLE")
    assert refusal.retry_after_s is not None


@pytest.mark.parametrize("interface", ["CustAcctIdBalanceQuery", "QueryCustAcctId"])
async def test_the_balances_of_another_sub_account_are_not_compared(shop: Marketplace, interface: str) -> None:
    await shop.merchant("seller", 1_00)

    def of_another(answer: dict[str, Any]) -> None:
        for told in (answer, *answer.get("AcctArray", ())):
            told["SubAcctNo"] = "9930000000009999"

    bank_balances = shop.balances.GetBankBalances(
        balance_pb2.GetBankBalancesRequest(member_id="seller"), timeout=TIMEOUT_S
    )
    with bank_says(shop.sandbox, interface, of_another):
        for question in (compared(shop, "seller"), bank_balances):
            assert (await shop.refusal(question)).reason == "BANK_UNAVAILABLE"
    await shop.assert_agrees()


async def verified(shop: Marketplace, noted: str = "") -> list[balance_pb2.VerifyBooksResponse]:
    request = balance_pb2.VerifyBooksRequest(noted_digest=noted)
    return [message async for message in shop.balances.VerifyBooks(request, timeout=TIMEOUT_S)]


async def test_whole_books_are_verified_with_a_summary_whose_digest_stays_in_the_chain(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    (first,) = await verified(shop)
    assert first.summary.batches > first.summary.unsealed_batches == 0
    assert (first.summary.findings, first.summary.operations) == (0, 3)
    assert first.summary.HasField("last_seal_time")
    await shop.top_up("buyer", 1_00)
    (later,) = await verified(shop, first.summary.last_digest)
    assert later.summary.last_digest != first.summary.last_digest
    strange, _ = await verified(shop, "0" * 64)
    assert strange.finding.expected == "0" * 64
    refusal = await shop.refusal(shop.balances.VerifyBooks(balance_pb2.VerifyBooksRequest(noted_digest="0")).read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")


async def test_seals_that_are_missing_from_the_first_on_are_a_finding_unless_it_is_said_how_many(
    shop: Marketplace, database: str
) -> None:
    await shop.buyer("buyer", 100_00)
    execute(
        database,
        "SET LOCAL session_replication_role = replica",
        "DELETE FROM seal",
        "DELETE FROM membership",
        "INSERT INTO membership (platform, member_id, sub_account, property, is_open, same_name)"
        " SELECT platform, member_id, sub_account, property, true, '' FROM member",
        "UPDATE platform SET unsealed = batches",
    )
    missed, end = await verified(shop)
    assert missed.finding.check == "no more batches are from before there were seals than was said"
    assert end.summary.unsealed_members == 1
    known = balance_pb2.VerifyBooksRequest(unsealed_batches=end.summary.batches)
    (only,) = [message async for message in shop.balances.VerifyBooks(known, timeout=TIMEOUT_S)]
    assert only.summary.findings == 0


async def test_a_reader_who_stops_reading_does_not_keep_the_replay_open(shop: Marketplace, database: str) -> None:
    await shop.buyer("buyer", 100_00)
    execute(database, "UPDATE account SET balance_fen = balance_fen + 1")
    parts, members = shop.service.components, MemberFacts(shop.service.components.reads)
    servicer: Any = Balances(
        reads=parts.reads,
        entries=parts.entries,
        bank=parts.bank,
        clearing=parts.clearing,
        members=members,
        rules=parts.settings.rules,
        verify_s=parts.settings.verify_s,
    )
    reading = servicer.VerifyBooks(balance_pb2.VerifyBooksRequest(), None)
    await anext(reading)
    open_for_long = "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"

    async def is_over() -> bool:
        return ask(database, f"{open_for_long} AND datname = current_database()") == [(0,)]

    await until(is_over, "the replay is over")
    assert len([message async for message in reading]) > 1


async def test_a_replay_that_takes_too_long_is_ended(database: str) -> None:
    async with open_marketplace(database, verify_s=0.001) as shop:
        await shop.buyer("buyer", 100_00)
        refusal = await shop.refusal(shop.balances.VerifyBooks(balance_pb2.VerifyBooksRequest()).read())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_PASSED")
        assert "JZB_VERIFY_S" in refusal.message


async def test_the_end_of_the_chain_is_noted_in_the_log(shop: Marketplace, database: str) -> None:
    await shop.buyer("buyer", 100_00)
    with structlog.testing.capture_logs() as noted:
        async with anchored(shop.service.components.reads):

            async def is_noted() -> bool:
                return any(note["event"] == "sealed" for note in noted)

            await until(is_noted, "the end is noted at the beginning")
            await shop.top_up("buyer", 1_00)
    ((batch, digest),) = ask(database, "SELECT batch, encode(digest, 'hex') FROM seal ORDER BY batch DESC LIMIT 1")
    notes = [(note["batch"], note["digest"], note["log_level"]) for note in noted if note["event"] == "sealed"]
    assert notes[-1] == (batch, digest, "info")
    assert len(notes) == 2


async def test_tampering_is_streamed_as_findings_before_the_summary(shop: Marketplace, database: str) -> None:
    await shop.buyer("buyer", 100_00)
    execute(
        database,
        "SET LOCAL session_replication_role = replica",
        "UPDATE leg SET amount_fen = amount_fen + 1 WHERE credit LIKE 'w%'",
    )
    *findings, end = await verified(shop)
    assert {message.WhichOneof("result") for message in findings} == {"finding"}
    assert "sealed rows are as they were written" in [message.finding.check for message in findings]
    assert end.summary.findings == len(findings)


async def test_of_a_closed_member_the_bank_is_not_asked_and_not_said_to_be_away(shop: Marketplace) -> None:
    await shop.merchant("seller")
    request = member_pb2.CloseMemberRequest(request_id=shop.request_id(), member_id="seller")
    await shop.members.CloseMember(request, timeout=TIMEOUT_S)
    asked = len(shop.sandbox.requests)
    question = balance_pb2.GetBankBalancesRequest(member_id="seller")
    for call in (compared(shop, "seller"), shop.balances.GetBankBalances(question, timeout=TIMEOUT_S)):
        assert (await shop.refusal(call)).reason == "MEMBER_CLOSED"
    assert len(shop.sandbox.requests) == asked
