"""GetTimeline and ListHolds: what happened to a payment, and what keeps a member from its money."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from jzb.v1 import balance_pb2, core_pb2, operation_pb2, payment_pb2
from service.bankday import bank_today
from tests.world.approvals import approve, asking, proposed
from tests.world.callers import OPERATOR, given, locked
from tests.world.doubts import IMPATIENT, REST_S, doubtful_payment
from tests.world.freezes import freeze
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace

Get = operation_pb2.GetTimelineRequest
Key = operation_pb2.OperationKey
OURS = "spiffe://test/ours"


async def timeline(shop: Marketplace, request: Get) -> list[operation_pb2.TimelineEntry]:
    """Every page of it."""
    found: list[operation_pb2.TimelineEntry] = []
    while True:
        page = await shop.operations.GetTimeline(request, timeout=TIMEOUT_S)
        assert bool(page.operations) == (not request.page_token)
        found += page.entries
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def kinds(entries: list[operation_pb2.TimelineEntry]) -> list[str]:
    return [operation_pb2.TimelineKind.Name(one.kind).removeprefix("TIMELINE_KIND_") for one in entries]


async def test_a_payment_whose_answer_was_lost_shows_who_asked_what_was_held_and_each_query(
    shop: Marketplace,
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00, 1_00, remark="[[lose_after]]")
    request.order_no = shop.order_no()
    await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    paid = await shop.until_final(
        (
            await shop.operations.GetOperation(
                operation_pb2.GetOperationRequest(key=Key(request_id=request.request_id)), timeout=TIMEOUT_S
            )
        ).operation.operation_id
    )
    entries = await timeline(shop, Get(key=Key(serial=paid.serial), page_size=2))
    assert [one.time.ToDatetime() for one in entries] == sorted(one.time.ToDatetime() for one in entries)
    assert {one.operation_id for one in entries} == {paid.operation_id}
    states = [one for one in entries if one.kind == operation_pb2.TIMELINE_KIND_STATE]
    assert [one.state for one in states] == [
        core_pb2.OPERATION_STATE_RESERVED,
        core_pb2.OPERATION_STATE_UNKNOWN,
        core_pb2.OPERATION_STATE_DONE,
    ]
    assert [(one.caller, one.after_query) for one in states] == [("local", False), ("", False), ("", True)]
    queries = [one for one in entries if one.kind == operation_pb2.TIMELINE_KIND_QUERY]
    assert len(queries) == paid.query_attempts - 1
    held = [one for one in entries if one.kind == operation_pb2.TIMELINE_KIND_HOLD]
    sub_account = (await shop.balance("buyer")).sub_account
    assert sum(one.amount_fen for one in held if one.account.sub_account == sub_account) == 30_00
    postings = [one for one in entries if one.kind == operation_pb2.TIMELINE_KIND_POSTING]
    moved = {(one.account.account_kind, one.credited_account.account_kind): one.amount_fen for one in postings}
    assert moved[balance_pb2.ACCOUNT_KIND_UNCLEARED, balance_pb2.ACCOUNT_KIND_FEE] == 1_00
    assert {one.bank_day for one in postings} == {paid.bank_day}
    assert {one.bank_serial for one in postings} == {paid.parts[0].bank_serial}
    assert paid.parts[0].bank_serial
    assert not any(one.bank_serial for one in entries if one not in postings)
    assert kinds(entries).index("POSTING") > kinds(entries).index("HOLD")
    # The order is the same, and a second payment under it comes behind.
    assert await timeline(shop, Get(order_no=request.order_no)) == entries


async def test_an_order_shows_all_its_operations_in_the_order_of_time(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    order_no = shop.order_no()
    prepay = payment_pb2.PrepayOrderRequest(
        request_id="prepay", payer_member_id="buyer", payee_member_id="seller", order_no=order_no, amount_fen=10_00
    )
    await shop.payments.PrepayOrder(prepay, timeout=TIMEOUT_S)
    await shop.payments.ConfirmOrder(
        payment_pb2.ConfirmOrderRequest(request_id="confirm", order_no=order_no, amount_fen=10_00), timeout=TIMEOUT_S
    )
    page = await shop.operations.GetTimeline(Get(order_no=order_no, page_size=200), timeout=TIMEOUT_S)
    assert [one.request_id for one in page.operations] == ["prepay", "confirm"]
    seen = list(dict.fromkeys(one.operation_id for one in page.entries))
    assert seen == [one.operation_id for one in page.operations]


async def test_who_proposed_and_who_approved_is_in_the_timeline_and_audited_calls_for_who_may_see_them(
    database: str, tmp_path: Path
) -> None:
    policy = given(OURS, "money.pay", "read.own", namespace="ours")
    policy += '[[approvals]]\nscopes = ["money.pay"]\namount_above_fen = 5000\ncallers = ["spiffe://test/ours"]\n'
    async with locked(database, tmp_path, policy) as service:
        operator, ours = await service.shop(OPERATOR), await service.shop(OURS)
        await operator.buyer("buyer", 100_00)
        await operator.merchant("seller")
        request = asking(ours, "buyer", "seller", 60_00, "a large order")
        done = await approve(operator, await proposed(ours, request), "agreed")
        key = Key(operation_id=done.operation_id)
        await operator.operations.ResolveOperation(operation_pb2.ResolveOperationRequest(key=key), timeout=TIMEOUT_S)
        seen, seen_by_operator = await timeline(ours, Get(key=key)), await timeline(operator, Get(key=key))
        asked, decided, *_ = seen
        assert kinds(seen)[:3] == ["PROPOSED", "DECIDED", "STATE"]
        assert (asked.caller, asked.note, asked.amount_fen) == (OURS, "a large order", 60_00)
        assert asked.method == "jzb.v1.PaymentService/Pay"
        assert (decided.caller, decided.outcome, decided.note) == (OPERATOR, "approved", "agreed")
        assert seen_by_operator[: len(seen)] == seen
        audited = seen_by_operator[len(seen) :]
        assert set(kinds(audited)) == {"AUDIT"}
        assert (audited[0].caller, audited[0].outcome) == (OPERATOR, "")
        assert audited[0].method.endswith("ResolveOperation")


async def test_what_a_caller_may_not_see_has_no_timeline(database: str, tmp_path: Path) -> None:
    policy = given(OURS, "money.pay", "read.own", namespace="ours", members=["A"])
    async with locked(database, tmp_path, policy) as service:
        operator, ours = await service.shop(OPERATOR), await service.shop(OURS)
        for letter in "AB":
            await operator.buyer(f"{letter}1", 100_00)
            await operator.merchant(f"{letter}2")
        mine = await ours.pay("A1", "A2", 1_00)
        request = operator.pay_request("B1", "B2", 1_00)
        request.order_no = operator.order_no()
        theirs = (await operator.payments.Pay(request, timeout=TIMEOUT_S)).operation
        for theirs_key, no_key in (
            (
                Get(key=Key(operation_id=theirs.operation_id)),
                Get(key=Key(operation_id=f"{mine.operation_id[:-4]}ffff")),
            ),
            (Get(key=Key(serial=theirs.serial)), Get(key=Key(serial="1" * 20))),
            (Get(order_no=theirs.order_no), Get(order_no="nothing")),
        ):
            hidden = await ours.refusal(ours.operations.GetTimeline(theirs_key, timeout=TIMEOUT_S))
            missing = await ours.refusal(ours.operations.GetTimeline(no_key, timeout=TIMEOUT_S))
            assert (hidden.code, hidden.reason, hidden.next_step) == (missing.code, missing.reason, missing.next_step)
            assert await timeline(operator, theirs_key)
        assert "STATE" in kinds(await timeline(ours, Get(key=Key(serial=mine.serial))))
        holds = balance_pb2.ListHoldsRequest(member_id="B1")
        assert (await ours.refusal(ours.balances.ListHolds(holds, timeout=TIMEOUT_S))).reason == "MEMBER_NOT_FOUND"


async def test_what_holds_a_members_money_is_listed_with_when_uncleared_money_should_clear(database: str) -> None:
    async with open_marketplace(database, bank=IMPATIENT, resolver={"ask_after_s": REST_S}) as shop:
        doubtful = await doubtful_payment(shop, "[[lose_after]]")
        order_no = await freeze(shop, "buyer", 20_00)
        await held_and_frozen(shop, doubtful, order_no)


async def held_and_frozen(shop: Marketplace, doubtful: core_pb2.Operation, order_no: str) -> None:
    found = await shop.balances.ListHolds(balance_pb2.ListHoldsRequest(member_id="buyer"), timeout=TIMEOUT_S)
    assert [(one.account_kind, one.amount_fen, one.operation_id, one.order_no) for one in found.holds] == [
        (balance_pb2.ACCOUNT_KIND_UNCLEARED, 30_00, doubtful.operation_id, ""),
        (balance_pb2.ACCOUNT_KIND_FROZEN, 20_00, "", order_no),
    ]
    assert found.holds[0].since == doubtful.create_time
    (pocket,) = found.uncleared
    assert pocket.bank_day == bank_today().isoformat()
    assert pocket.expected_day == (bank_today() + timedelta(days=1)).isoformat()
    assert not pocket.late_since_day
    assert pocket.amount_fen == 80_00
    request = balance_pb2.ListHoldsRequest(member_id="buyer", page_size=1)
    first = await shop.balances.ListHolds(request, timeout=TIMEOUT_S)
    request.page_token = first.next_page_token
    second = await shop.balances.ListHolds(request, timeout=TIMEOUT_S)
    assert [*first.holds, *second.holds] == list(found.holds)
    assert (list(second.uncleared), second.next_page_token) == ([], "")


@pytest.mark.parametrize("token", ["x", "LTE"])
async def test_a_token_of_another_list_is_refused(shop: Marketplace, token: str) -> None:
    timeline_of = Get(order_no="1", page_token=token)
    holds_of = balance_pb2.ListHoldsRequest(member_id="a", page_token=token)
    for call in (
        shop.operations.GetTimeline(timeline_of, timeout=TIMEOUT_S),
        shop.balances.ListHolds(holds_of, timeout=TIMEOUT_S),
    ):
        assert (await shop.refusal(call)).reason == "PAGE_TOKEN_INVALID"
