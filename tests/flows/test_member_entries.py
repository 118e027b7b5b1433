"""Statements and balances of the past, from the mirror and seen from outside."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bankclient import BANK_ZONE, yuan
from jzb.v1 import balance_pb2, core_pb2, payment_pb2
from service.process import balances
from tests.world.callers import OPERATOR, given, locked
from tests.world.cli import jzb
from tests.world.freezes import freeze
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_day
from tests.world.orders import confirm, prepay
from tests.world.refunds import refund
from tests.world.withdrawals import withdraw

LABELS = {"shop": "north=1", "campaign": "winter"}
POCKETS = ("available_fen", "withdrawable_fen", "uncleared_fen", "frozen_fen", "escrow_fen")


async def statement(shop: Marketplace, member_id: str, **wanted: Any) -> list[balance_pb2.ListMemberEntriesResponse]:
    request = balance_pb2.ListMemberEntriesRequest(member_id=member_id, **wanted)
    return [message async for message in shop.balances.ListMemberEntries(request, timeout=TIMEOUT_S)]


async def entries(shop: Marketplace, member_id: str, **wanted: Any) -> list[balance_pb2.MemberEntry]:
    return [message.entry for message in await statement(shop, member_id, **wanted)]


async def balance_of(shop: Marketplace, member_id: str, **as_of: Any) -> balance_pb2.Balance:
    request = balance_pb2.GetBalanceRequest(member_id=member_id, **as_of)
    found: balance_pb2.Balance = (await shop.balances.GetBalance(request, timeout=TIMEOUT_S)).balance
    return found


async def trial(shop: Marketplace, **as_of: Any) -> balance_pb2.GetTrialBalanceResponse:
    request = balance_pb2.GetTrialBalanceRequest(**as_of)
    found: balance_pb2.GetTrialBalanceResponse = await shop.balances.GetTrialBalance(request, timeout=TIMEOUT_S)
    return found


def amounts(found: balance_pb2.PocketAmounts | balance_pb2.Balance) -> tuple[int, ...]:
    return tuple(getattr(found, name) for name in POCKETS)


async def busy(shop: Marketplace) -> core_pb2.Operation:
    """A day of a buyer and a seller; returns the direct payment."""
    await shop.buyer("buyer", 100_00, withdrawable=True)
    await shop.merchant("seller", 5_00)
    request = shop.pay_request("buyer", "seller", 10_00, 1_00)
    request.tags.reference = "invoice 17"
    for key, value in LABELS.items():
        request.tags.labels.add(key=key, value=value)
    paid: core_pb2.Operation = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
    order_no = await prepay(shop, "buyer", "seller", 40_00)
    await confirm(shop, order_no, 40_00, 4_00)
    await refund(shop, paid.parts[0].serial, 2_00)
    await freeze(shop, "buyer", 5_00)
    await shop.until_final((await withdraw(shop, "buyer", 20_00, 1_00)).operation_id)
    return paid


async def test_a_statement_has_each_posting_with_what_was_left_after_it(shop: Marketplace) -> None:
    paid = await busy(shop)
    found = await entries(shop, "buyer")
    left: tuple[int, ...] = (0, 0, 0, 0, 0)
    for entry in found:
        assert entry.member_id == "buyer"
        left = tuple(before + moved for before, moved in zip(left, amounts(entry.change), strict=True))
        assert amounts(entry.after) == left
    assert left == amounts(await shop.balance("buyer"))
    kinds = [core_pb2.OperationKind.Name(entry.kind).removeprefix("OPERATION_KIND_") for entry in found]
    assert kinds[:4] == ["TOP_UP", "CLEARING", "PAY_T1", "PREPAY_ORDER"]
    (payment,) = (entry for entry in found if entry.operation_id == paid.operation_id)
    assert amounts(payment.change) == (-10_00, -10_00, 0, 0, 0)
    assert (payment.amount_fen, payment.fee_fen, payment.counterparty_member_id) == (10_00, 1_00, "seller")
    assert (payment.request_id, payment.serial, payment.part) == (paid.request_id, paid.serial, 1)
    assert (payment.bank_serial, payment.bank_day) == (paid.parts[0].bank_serial, paid.bank_day)
    assert payment.reference == "invoice 17"
    assert [(one.key, one.value) for one in payment.labels] == sorted(LABELS.items())
    assert payment.labels == paid.tags.labels
    assert payment.post_time.ToDatetime(UTC) >= paid.create_time.ToDatetime(UTC)
    (received,) = (entry for entry in await entries(shop, "seller") if entry.operation_id == paid.operation_id)
    assert amounts(received.change) == (9_00, 0, 9_00, 0, 0)
    assert received.counterparty_member_id == "buyer"
    await shop.assert_agrees()


async def test_a_statement_goes_on_where_it_was_left(shop: Marketplace) -> None:
    await busy(shop)
    whole = await statement(shop, "buyer")
    pages, cursor = [], ""
    while page := await statement(shop, "buyer", cursor=cursor, limit=3):
        pages += page
        cursor = page[-1].cursor
    assert pages == whole
    await shop.top_up("buyer", 1_00)
    (new,) = await entries(shop, "buyer", cursor=cursor)
    assert new.kind == core_pb2.OPERATION_KIND_TOP_UP
    first, *_, last = whole
    after_first = {"start_time": whole[1].entry.post_time, "end_time": last.entry.post_time}
    assert await statement(shop, "buyer", **after_first) == whole[1:-1]
    assert first not in await statement(shop, "buyer", **after_first)


async def test_a_statement_of_bank_days_has_their_postings_alone(shop: Marketplace) -> None:
    await busy(shop)
    cleared, today = str(bank_day(shop) - timedelta(1)), str(bank_day(shop))
    found = await statement(shop, "buyer")
    assert {message.entry.bank_day for message in found} == {cleared, today}
    for day in (cleared, today):
        of_day = [message for message in found if message.entry.bank_day == day]
        assert await statement(shop, "buyer", first_bank_day=day, last_bank_day=day) == of_day
    assert await statement(shop, "buyer", first_bank_day=cleared, last_bank_day=today) == found
    assert await statement(shop, "buyer", last_bank_day=str(bank_day(shop) - timedelta(2))) == []


async def test_a_balance_of_the_past_is_what_it_was(shop: Marketplace) -> None:
    await busy(shop)
    seen = await entries(shop, "buyer")
    for entry in seen:
        found = await balance_of(shop, "buyer", as_of_time=entry.post_time)
        assert amounts(found) == amounts(entry.after)
        assert found.as_of_time == entry.post_time
    before = Timestamp()
    before.FromDatetime(seen[0].post_time.ToDatetime(UTC) - timedelta(hours=1))
    assert amounts(await balance_of(shop, "buyer", as_of_time=before)) == (0, 0, 0, 0, 0)
    today = bank_day(shop)
    at_end = await balance_of(shop, "buyer", as_of_bank_day=str(today))
    assert amounts(at_end) == amounts(await shop.balance("buyer"))
    assert at_end.sub_account == seen[0].sub_account
    # The clearing of a day counts in it.
    cleared = await balance_of(shop, "buyer", as_of_bank_day=str(today - timedelta(1)))
    assert amounts(cleared) == (100_00, 100_00, 0, 0, 0)
    assert amounts(await balance_of(shop, "buyer", as_of_bank_day=str(today - timedelta(2)))) == (0, 0, 0, 0, 0)


async def test_money_that_is_held_is_in_the_balance_of_the_past(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    lost = shop.pay_request("buyer", "seller", 60_00, remark="[[lose_before]]")
    await shop.refusal(shop.payments.Pay(lost, timeout=TIMEOUT_S))
    now = await shop.balance("buyer")
    assert (now.available_fen, now.held_fen) == (40_00, 60_00)
    past = await balance_of(shop, "buyer", as_of_time=now.as_of_time)
    assert (past.available_fen, past.held_fen) == (100_00, 0)


async def test_the_trial_balance_of_the_past_sums_to_zero_and_stays_as_it_was(shop: Marketplace) -> None:
    await busy(shop)
    now = await trial(shop)
    moments = [entry.post_time for entry in await entries(shop, "buyer")]
    earlier = [await trial(shop, as_of_time=at) for at in moments]
    await shop.top_up("buyer", 3_00)
    for at, before in zip(moments, earlier, strict=True):
        again = await trial(shop, as_of_time=at)
        assert again == before
        assert again.debit_fen == again.credit_fen > 0
        assert sum(row.balance_fen for row in again.rows) == 0
    assert await trial(shop, as_of_time=now.as_of_time) == now
    today = bank_day(shop)
    assert (await trial(shop, as_of_bank_day=str(today))).rows == (await trial(shop)).rows
    kinds = {row.account_kind: row.balance_fen for row in (await trial(shop, as_of_bank_day=str(today))).rows}
    assert kinds[balance_pb2.ACCOUNT_KIND_FROZEN] == 5_00
    before = await trial(shop, as_of_bank_day=str(today - timedelta(1)))
    kinds = {row.account_kind: row.balance_fen for row in before.rows}
    assert kinds[balance_pb2.ACCOUNT_KIND_WITHDRAWABLE] == 100_00
    assert balance_pb2.ACCOUNT_KIND_FROZEN not in kinds
    assert list((await trial(shop, as_of_bank_day=str(today - timedelta(9)))).rows) == []


@pytest.mark.parametrize(
    ("request_of", "field", "reason"),
    [
        (lambda: {"as_of_bank_day": "2026-02-30"}, "as_of_bank_day", "BANK_DAY_INVALID"),
        (lambda: {"as_of_time": _stamp(datetime.now(UTC) + timedelta(hours=2))}, "as_of_time", "REQUEST_INVALID"),
        (lambda: {"as_of_time": Timestamp(seconds=10**15)}, "as_of_time", "REQUEST_INVALID"),
        (lambda: {"as_of_time": _stamp(datetime(1999, 12, 31, tzinfo=BANK_ZONE))}, "as_of_time", "REQUEST_INVALID"),
    ],
)
async def test_a_balance_of_no_moment_is_refused(shop: Marketplace, request_of: Any, field: str, reason: str) -> None:
    await shop.buyer("buyer")
    asked = request_of()
    for call in (
        shop.balances.GetBalance(balance_pb2.GetBalanceRequest(member_id="buyer", **asked), timeout=TIMEOUT_S),
        shop.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(**asked), timeout=TIMEOUT_S),
    ):
        refusal = await shop.refusal(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert list(refusal.violations) == [field]


@pytest.mark.parametrize(
    ("wanted", "field", "reason"),
    [
        ({"first_bank_day": "2026-02-02", "last_bank_day": "2026-02-01"}, "last_bank_day", "BANK_DAY_INVALID"),
        ({"cursor": "MTcg"}, "cursor", "PAGE_TOKEN_INVALID"),
        ({"cursor": "!"}, "cursor", "PAGE_TOKEN_INVALID"),
        ({"start_time": Timestamp(seconds=-(10**15))}, "start_time", "REQUEST_INVALID"),
        ({"end_time": Timestamp(seconds=-(10**10))}, "end_time", "REQUEST_INVALID"),
    ],
)
async def test_a_statement_that_cannot_be_is_refused(
    shop: Marketplace, wanted: dict[str, Any], field: str, reason: str
) -> None:
    await shop.buyer("buyer")
    refusal = await shop.refusal(_first(shop, member_id="buyer", **wanted))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert list(refusal.violations) == [field]
    refusal = await shop.refusal(_first(shop, member_id="nobody"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")


async def test_a_caller_has_the_statements_of_its_members_without_the_names_of_others(
    database: str, tmp_path: Path
) -> None:
    ours = "spiffe://test/ours"
    policy = given(ours, "money.pay", "read.own", members=["A"], namespace="a")
    async with locked(database, tmp_path, policy) as service:
        operator, limited = await service.shop(OPERATOR), await service.shop(ours)
        await operator.buyer("A1", 100_00)
        await operator.merchant("A2")
        await operator.merchant("B2")
        own, others = [
            (await shop.payments.Pay(labelled(shop, "A1", payee, fen), timeout=TIMEOUT_S)).operation
            for shop, payee, fen in ((limited, "A2", 10_00), (operator, "B2", 20_00))
        ]
        found = await entries(limited, "A1")
        shown = [(entry.operation_id, entry.counterparty_member_id, entry.request_id) for entry in found]
        assert shown == [("", "", ""), (own.operation_id, "A2", own.request_id), ("", "", "")]
        assert [entry.change.available_fen for entry in found] == [100_00, -10_00, -20_00]
        assert [len(entry.labels) for entry in found] == [0, 1, 0]
        assert [(entry.serial, entry.bank_serial, entry.order_no, entry.part) for entry in found][2] == ("", "", "", 0)
        assert [entry.operation_id for entry in await entries(operator, "A1")][1:] == [
            own.operation_id,
            others.operation_id,
        ]
        past = await balance_of(limited, "A1", as_of_time=found[0].post_time)
        assert past.available_fen == 100_00
        for hidden in ("B2", "nobody"):
            refusal = await limited.refusal(_first(limited, member_id=hidden))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")
            asked = balance_pb2.GetBalanceRequest(member_id=hidden, as_of_bank_day=str(bank_day(operator)))
            refusal = await limited.refusal(limited.balances.GetBalance(asked, timeout=TIMEOUT_S))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")


@pytest.mark.soak
async def test_a_statement_is_written_by_a_command(shop: Marketplace, tmp_path: Path) -> None:
    await busy(shop)
    target = ("--target", f"127.0.0.1:{shop.service.port}")
    today = str(bank_day(shop))
    written = await jzb("statement", "buyer", "--from", today, "--format", "csv", "--out", str(tmp_path), *target)
    assert (written.status, written.error) == (0, "")
    rows = list(csv.DictReader((tmp_path / "statement-buyer-entries.csv").read_text("utf-8-sig").splitlines()))
    of_today = [entry for entry in await entries(shop, "buyer") if entry.bank_day == today]
    assert f"{len(of_today)} entries" in written.out
    assert [row["available_after"] for row in rows] == [yuan(entry.after.available_fen) for entry in of_today]
    assert ("invoice 17", "campaign=winter, shop=north=1") in {(row["reference"], row["labels"]) for row in rows}


async def test_balances_and_statements_are_printed(shop: Marketplace) -> None:
    await busy(shop)
    target, today = f"127.0.0.1:{shop.service.port}", bank_day(shop)
    title, table = await balances.balance(target, None, "buyer", balances.moment(today, None))
    assert title.startswith("member buyer, sub-account ")
    assert f"at the end of {today}" in title
    held = await shop.balance("buyer")
    assert list(table.columns[1].cells) == [yuan(fen) for fen in (*amounts(held), held.held_fen)]
    now = await trial(shop)
    _, table = await balances.trial_balance(target, None, balances.moment(None, datetime.now(BANK_ZONE)))
    assert list(table.columns[1].cells) == [yuan(fen) for fen in (*(row.debit_fen for row in now.rows), now.debit_fen)]
    assert list(table.columns[3].cells)[-1] == "0.00"
    table, is_cut = await balances.statement(target, None, "buyer", None, today)
    assert not is_cut
    found = await entries(shop, "buyer")
    assert "invoice 17 campaign=winter, shop=north=1" in list(table.columns[10].cells)
    assert list(table.columns[4].cells) == [yuan(entry.after.available_fen) for entry in found]
    with patch.object(balances, "SHOWN_MAX", 3):
        table, is_cut = await balances.statement(target, None, "buyer", None, None)
    assert (table.row_count, is_cut) == (3, True)


def labelled(shop: Marketplace, payer: str, payee: str, fen: int) -> payment_pb2.PayRequest:
    request = shop.pay_request(payer, payee, fen)
    request.tags.labels.add(key="shop", value="north")
    return request


async def _first(shop: Marketplace, **wanted: Any) -> object:
    request = balance_pb2.ListMemberEntriesRequest(**wanted)
    return await shop.balances.ListMemberEntries(request, timeout=TIMEOUT_S).read()


def _stamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
