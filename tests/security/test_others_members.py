"""A caller that is limited to some members sees and moves nothing of the others: they are not there for it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from jzb.v1 import (
    balance_pb2,
    batch_pb2,
    batch_pb2_grpc,
    card_pb2,
    core_pb2,
    freeze_pb2,
    member_pb2,
    operation_pb2,
    options_pb2,
    payment_pb2,
    refund_pb2,
    statement_pb2,
    statement_pb2_grpc,
    topup_pb2,
    withdrawal_pb2,
)
from jzb.v1.error_reason_pb2 import ERROR_REASON_MEMBER_NOT_FOUND
from service.catalogue.interfaces import facts
from service.contract import methods
from service.path.rights import MEMBER_FIELD, members_in
from tests.world import acquiring, binding, freezes, orders, refunds, revocations, verifying
from tests.world.callers import EVERY_SCOPE, OPERATOR, Locked, given, locked
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal, refusal_of

OURS = "spiffe://test/ours"
"""May do everything, with the members that begin with A."""

CHANGING = [scope for scope in EVERY_SCOPE if scope != "read.all"]

NONE = "000000000000"


class Two:
    """Two parts of one marketplace: A1 and A2 are ours, B1 and B2 are the others'."""

    def __init__(self, service: Locked, operator: Marketplace, ours: Marketplace) -> None:
        self.service = service
        self.operator = operator
        self.ours = ours
        self.theirs: core_pb2.Operation
        self.mine: core_pb2.Operation

    async def same_as_nothing(self, about_theirs: Awaitable[Any], about_nothing: Awaitable[Any], what: str) -> None:
        """The two calls fail alike but for the number that they name."""
        found, missing = await self.ours.refusal(about_theirs), await self.ours.refusal(about_nothing)
        assert found.code is grpc.StatusCode.NOT_FOUND, what
        assert (found.code, found.reason, found.outcome) == (missing.code, missing.reason, missing.outcome), what
        assert found.metadata.keys() == missing.metadata.keys(), what
        assert without_numbers(found) == without_numbers(missing), what
        assert found.next_step == missing.next_step, what
        assert found.operation == core_pb2.Operation(), what


def without_numbers(refusal: Refusal) -> str:
    """What an error says, whatever it is about."""
    text = refusal.message
    for value in refusal.metadata.values():
        text = text.replace(value, "X")
    return text


@pytest.fixture
async def two(database: str, tmp_path: Path) -> AsyncIterator[Two]:
    async with locked(database, tmp_path, given(OURS, *CHANGING, "read.own", members=["A"])) as service:
        operator, ours = await service.shop(OPERATOR), await service.shop(OURS)
        for letter in "AB":
            await operator.buyer(f"{letter}1", 1000_00)
            await operator.merchant(f"{letter}2", 500_00)
        found = Two(service, operator, ours)
        found.mine = await operator.pay("A1", "A2", 10_00)
        found.theirs = await operator.pay("B1", "B2", 10_00)
        yield found


async def test_our_own_members_pay_and_are_seen(two: Two) -> None:
    assert (await two.ours.pay("A1", "A2", 5_00)).state == core_pb2.OPERATION_STATE_DONE
    assert (await two.ours.balance("A1")).available_fen == 985_00
    assert (await two.ours.operation(two.mine.operation_id)).operation_id == two.mine.operation_id
    await refunds.refund(two.ours, two.mine.serial, 10_00)
    await two.operator.assert_agrees()


async def test_a_member_of_others_is_not_there_in_any_place_of_a_request(two: Two) -> None:
    ours, timeout = two.ours, TIMEOUT_S
    calls: dict[str, Callable[[str], Awaitable[Any]]] = {
        "its balance": lambda one: ours.balance(one),
        "one of several balances": lambda one: ours.balances.BatchGetBalances(
            balance_pb2.BatchGetBalancesRequest(member_ids=["A1", one]), timeout=timeout
        ),
        "the payer": lambda one: ours.pay(one, "A2", 1),
        "the payee": lambda one: ours.pay("A1", one, 1),
        "a top-up": lambda one: ours.top_up(one, 1),
        "a share of a top-up": lambda one: ours.top_ups.SplitTopUp(split(ours, "A1", one), timeout=timeout),
        "a freeze": lambda one: ours.freezes.Freeze(
            freeze_pb2.FreezeRequest(
                request_id=ours.request_id(), member_id=one, amount_fen=1, order_no=ours.order_no()
            ),
            timeout=timeout,
        ),
        "a withdrawal": lambda one: ours.withdrawals.Withdraw(
            withdrawal_pb2.WithdrawRequest(
                request_id=ours.request_id(),
                member_id=one,
                amount_fen=1,
                card_number="6222000000000001",
                card_holder_name="Test",
            ),
            timeout=timeout,
        ),
        "a row of a batch": lambda one: batch_pb2_grpc.BatchServiceStub(ours.channel).BatchPrepay(
            batch_pb2.BatchPrepayRequest(
                request_id=ours.request_id(),
                payer_member_id="A1",
                orders=[
                    batch_pb2.OrderToPrepay(payee_member_id=payee, order_no=ours.order_no(), amount_fen=1)
                    for payee in ("A2", one)
                ],
            ),
            timeout=timeout,
        ),
        "an acquired order": lambda one: ours.acquiring.RecordOrder(
            acquiring.record_request(ours, ours.order_no(), acquiring.share(one, 1)), timeout=timeout
        ),
        "itself": lambda one: ours.members.GetMember(member_pb2.GetMemberRequest(member_id=one), timeout=timeout),
        "its closing": lambda one: ours.members.CloseMember(
            member_pb2.CloseMemberRequest(request_id=ours.request_id(), member_id=one), timeout=timeout
        ),
        "its cards": lambda one: ours.cards.ListCards(card_pb2.ListCardsRequest(member_id=one), timeout=timeout),
        "its bookings at the bank": lambda one: (
            statement_pb2_grpc.StatementServiceStub(ours.channel)
            .ListTransactions(
                statement_pb2.ListTransactionsRequest(
                    member_id=one, first_bank_day="2026-11-01", last_bank_day="2026-11-02"
                ),
                timeout=timeout,
            )
            .read()
        ),
    }
    for what, about in calls.items():
        await two.same_as_nothing(about("B2222"), about("A2222"), what)


def split(shop: Marketplace, *members: str) -> topup_pb2.SplitTopUpRequest:
    whole = shop.top_up_request("A1", len(members))
    return topup_pb2.SplitTopUpRequest(
        request_id=whole.request_id,
        order_no=whole.order_no,
        channel=whole.channel,
        shares=[
            topup_pb2.TopUpShare(member_id=member_id, amount_fen=1, order_no=shop.order_no()) for member_id in members
        ],
    )


async def test_a_member_of_others_cannot_be_opened_nor_taken_over(two: Two) -> None:
    refusal = await two.ours.refusal(two.ours.buyer("B9"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMBER_NOT_FOUND")
    refusal = await two.ours.refusal(two.ours.buyer("B1"))
    assert refusal.reason == "MEMBER_NOT_FOUND", "not even that there is one"
    await two.ours.buyer("A9")


async def test_what_others_have_under_a_number_is_not_there(two: Two) -> None:
    ours, operator, timeout = two.ours, two.operator, TIMEOUT_S
    prepaid = payment_pb2.PrepayOrderRequest(
        request_id=operator.request_id(),
        payer_member_id="B1",
        payee_member_id="B2",
        amount_fen=10_00,
        order_no="ORDER000001",
    )
    await operator.payments.PrepayOrder(prepaid, timeout=timeout)
    frozen = freeze_pb2.FreezeRequest(
        request_id=operator.request_id(), member_id="B1", amount_fen=10_00, order_no="FROZEN000001"
    )
    await operator.freezes.Freeze(frozen, timeout=timeout)
    topped = await operator.top_up("B1", 10_00)
    for what, about, theirs in (
        ("a payment refunded", lambda one: refunds.refund(ours, one, 1), two.theirs.serial),
        ("what is refundable", lambda one: refunds.refundable(ours, one), two.theirs.serial),
        (
            "an order",
            lambda one: ours.payments.GetOrder(payment_pb2.GetOrderRequest(order_no=one), timeout=timeout),
            "ORDER000001",
        ),
        (
            "an order confirmed",
            lambda one: ours.payments.ConfirmOrder(
                payment_pb2.ConfirmOrderRequest(request_id=ours.request_id(), order_no=one, amount_fen=10_00),
                timeout=timeout,
            ),
            "ORDER000001",
        ),
        (
            "an order cancelled",
            lambda one: ours.payments.CancelOrder(
                payment_pb2.CancelOrderRequest(request_id=ours.request_id(), order_no=one, amount_fen=10_00),
                timeout=timeout,
            ),
            "ORDER000001",
        ),
        (
            "a freeze",
            lambda one: ours.freezes.GetFreeze(freeze_pb2.GetFreezeRequest(order_no=one), timeout=timeout),
            "FROZEN000001",
        ),
        (
            "a freeze released",
            lambda one: ours.freezes.Release(
                freeze_pb2.ReleaseRequest(request_id=ours.request_id(), order_no=one, amount_fen=1), timeout=timeout
            ),
            "FROZEN000001",
        ),
        (
            "a freeze paid out",
            lambda one: ours.freezes.PayFrozen(
                freeze_pb2.PayFrozenRequest(
                    request_id=ours.request_id(),
                    order_no=one,
                    payees=[freeze_pb2.FrozenPayee(member_id="A2", amount_fen=1)],
                ),
                timeout=timeout,
            ),
            "FROZEN000001",
        ),
        (
            "a top-up revoked",
            lambda one: ours.top_ups.RevokeTopUp(
                topup_pb2.RevokeTopUpRequest(request_id=ours.request_id(), top_up_serial=one, amount_fen=1),
                timeout=timeout,
            ),
            topped.serial,
        ),
        (
            "what is revocable",
            lambda one: ours.top_ups.GetRevocable(topup_pb2.GetRevocableRequest(top_up_serial=one), timeout=timeout),
            topped.serial,
        ),
        ("an operation", lambda one: looked_up(ours, serial=one), two.theirs.serial),
    ):
        missing = theirs.replace("0", "9") if theirs.startswith(("O", "F")) else theirs[:-6] + "999999"
        await two.same_as_nothing(about(theirs), about(missing), what)
    await two.operator.assert_agrees()


def looked_up(shop: Marketplace, **key: str) -> Awaitable[Any]:
    request = operation_pb2.GetOperationRequest(key=operation_pb2.OperationKey(**key))
    found: Awaitable[Any] = shop.operations.GetOperation(request, timeout=TIMEOUT_S)
    return found


async def test_an_operation_of_others_is_not_there_by_any_of_its_numbers(two: Two) -> None:
    theirs = two.theirs
    for key in (
        {"operation_id": theirs.operation_id},
        {"serial": theirs.serial},
        {"bank_serial": theirs.bank_serial},
        {"request_id": theirs.request_id},
    ):
        refusal = await two.ours.refusal(looked_up(two.ours, **key))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"), key
        named = operation_pb2.OperationKey(**key)
        for call in (
            two.ours.operations.WaitOperation(operation_pb2.WaitOperationRequest(key=named), timeout=TIMEOUT_S),
            two.ours.operations.ResolveOperation(operation_pb2.ResolveOperationRequest(key=named), timeout=TIMEOUT_S),
        ):
            refusal = await two.ours.refusal(call)
            assert refusal.reason == "OPERATION_NOT_FOUND", key


async def test_that_a_member_of_others_is_closed_is_not_told_by_its_payment(two: Two) -> None:
    close = member_pb2.CloseMemberRequest(request_id=two.operator.request_id(), member_id="B3")
    await two.operator.merchant("B3")
    paid = await two.operator.pay("B1", "B3", 1)
    await refunds.refund(two.operator, paid.serial, 1)
    await two.operator.members.CloseMember(close, timeout=TIMEOUT_S)
    assert (await two.operator.refusal(refunds.refund(two.operator, paid.serial, 1))).reason == "MEMBER_CLOSED"
    missing = paid.serial[:-6] + "999999"
    await two.same_as_nothing(
        refunds.refund(two.ours, paid.serial, 1), refunds.refund(two.ours, missing, 1), "a payment to a closed member"
    )


async def test_lists_and_watches_leave_others_out(two: Two) -> None:
    ours = two.ours
    listed = await ours.operations.ListOperations(operation_pb2.ListOperationsRequest(page_size=200), timeout=TIMEOUT_S)
    assert listed.operations
    assert {name[0] for one in listed.operations for name in members_in(one)} == {"A"}
    members = await ours.members.ListMembers(member_pb2.ListMembersRequest(), timeout=TIMEOUT_S)
    assert [one.member_id for one in members.members] == ["A1", "A2"]
    none = await ours.operations.ListOperations(operation_pb2.ListOperationsRequest(member_id="B1"), timeout=TIMEOUT_S)
    assert not none.operations
    watch = ours.operations.WatchOperations(operation_pb2.WatchOperationsRequest(from_start=True), timeout=TIMEOUT_S)
    seen: list[Any] = []
    while not seen or seen[-1].operation.operation_id != two.mine.operation_id:
        seen.append(await watch.read())
    await two.operator.pay("B1", "B2", 1_00)
    last = await two.operator.pay("A1", "A2", 1_00)
    while seen[-1].operation.operation_id != last.operation_id:
        seen.append(await watch.read())
    assert {name[0] for one in seen for name in members_in(one)} == {"A"}
    compared = ours.balances.CompareWithBank(balance_pb2.CompareWithBankRequest(), timeout=TIMEOUT_S)
    assert {row.comparison.member_id[:1] async for row in compared} == {"A"}


async def test_who_has_used_an_order_number_is_not_told(two: Two) -> None:
    theirs = freeze_pb2.FreezeRequest(request_id="their-secret-id", member_id="B1", amount_fen=1, order_no="TAKEN1")
    used = await two.operator.freezes.Freeze(theirs, timeout=TIMEOUT_S)
    ours = freeze_pb2.FreezeRequest(request_id=two.ours.request_id(), member_id="A1", amount_fen=1, order_no="TAKEN1")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await two.ours.freezes.Freeze(ours, timeout=TIMEOUT_S)
    refusal = refusal_of(refused.value)
    assert refusal.reason == "ORDER_EXISTS"
    told = f"{refusal.metadata} {refusal.message} {refusal.next_step}"
    assert used.operation.operation_id not in told
    assert "their-secret-id" not in told


async def test_no_page_token_holds_or_tells_of_what_is_left_out(two: Two) -> None:
    """A token is base64 of where the next page begins: it must begin behind something that the caller sees."""
    ours = two.ours
    seen: list[str] = []
    page = await ours.members.ListMembers(member_pb2.ListMembersRequest(page_size=1), timeout=TIMEOUT_S)
    while page.next_page_token:
        assert b"B" not in decoded(page.next_page_token)[6:]
        seen += [one.member_id for one in page.members]
        request = member_pb2.ListMembersRequest(page_size=1, page_token=page.next_page_token)
        page = await ours.members.ListMembers(request, timeout=TIMEOUT_S)
    assert [*seen, *(one.member_id for one in page.members)] == ["A1", "A2"]
    theirs = two.theirs
    sub_account = await verifying.sub_account(two.operator, "B1")
    for chosen in (
        {"member_id": "B1"},
        {"sub_account": sub_account},
        {"member_id": "B1", "kind": core_pb2.OPERATION_KIND_TOP_UP},
        {"bank_serial": theirs.bank_serial},
        {"order_no": theirs.order_no or "none"},
    ):
        wanted = operation_pb2.ListOperationsRequest(page_size=1, **chosen)
        listed = await ours.operations.ListOperations(wanted, timeout=TIMEOUT_S)
        assert (len(listed.operations), listed.next_page_token) == (0, ""), chosen
    wanted = operation_pb2.ListOperationsRequest(page_size=1)
    found: set[str] = set()
    named: set[str] = set()
    while True:
        listed = await ours.operations.ListOperations(wanted, timeout=TIMEOUT_S)
        found |= {one.operation_id for one in listed.operations}
        if not listed.next_page_token:
            break
        named.add(decoded(listed.next_page_token)[6:].decode().partition(" ")[0])
        wanted = operation_pb2.ListOperationsRequest(page_size=1, page_token=listed.next_page_token)
    assert two.mine.operation_id in found
    assert named <= found


def decoded(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


async def test_nothing_is_told_of_what_is_under_anothers_number_before_it_is_judged(two: Two) -> None:
    """Errors that come before a plan is made: of parts, windows, fees, payers, of what is not final."""
    ours, operator, timeout = two.ours, two.operator, TIMEOUT_S
    prepaid = await orders.prepay(operator, "B1", "B2", 10_00)
    frozen = await freezes.freeze(operator, "B1", 10_00)
    rows = await freezes.pay_frozen(operator, frozen, [("A2", 1_00), ("B2", 1_00)])
    shares = await operator.top_ups.SplitTopUp(split(operator, "B1", "B2"), timeout=timeout)
    recorded = await acquiring.acquire(operator, acquiring.share("A2", 3_00))
    await acquiring.record(operator, recorded)
    nobody = await acquiring.acquire(operator, acquiring.share("B2", 3_00))
    await acquiring.record(operator, nobody)
    none = "9" * 20
    confirm = payment_pb2.ORDER_END_CONFIRM
    calls: tuple[tuple[str, Callable[[str], Awaitable[Any]], str, str], ...] = (
        ("a part confirmed", lambda one: orders.confirm(ours, one, 1_00), prepaid, none),
        ("a part cancelled", lambda one: orders.cancel(ours, one, 1_00), prepaid, none),
        (
            "an order settled",
            lambda one: ours.payments.SettleOrder(orders.settle_request(ours, one, confirm, 1_00), timeout=timeout),
            prepaid,
            none,
        ),
        (
            "a freeze paid out",
            lambda one: freezes.pay_frozen(ours, one, [("A2", 1)]),
            frozen,
            none,
        ),
        (
            "a fee refunded by itself",
            lambda one: ours.refunds.Refund(
                refund_pb2.RefundRequest(request_id=ours.request_id(), payment_serial=one, amount_fen=50, fee_fen=50),
                timeout=timeout,
            ),
            rows.parts[1].serial,
            two.theirs.serial[:-6] + "999999",
        ),
        (
            "a share revoked of which we have none",
            lambda one: ours.top_ups.RevokeSplitTopUp(
                revocations.split_revocation(ours, one, A1=(1, 0)), timeout=timeout
            ),
            shares.operation.serial,
            two.theirs.serial[:-6] + "999999",
        ),
        (
            "an acquired order moved to us",
            lambda one: ours.acquiring.RebookOrder(acquiring.rebook_request(ours, one, "A2"), timeout=timeout),
            nobody.order_no,
            none,
        ),
    )
    for what, about, theirs, missing in calls:
        await two.same_as_nothing(about(theirs), about(missing), what)
    mine = await orders.prepay(operator, "A1", "A2", 10_00)

    def batch(order_no: str) -> Awaitable[Any]:
        confirmed = [batch_pb2.OrderToConfirm(order_no=one, amount_fen=10_00) for one in (mine, order_no)]
        request = batch_pb2.BatchConfirmRequest(request_id=ours.request_id(), orders=confirmed)
        return batch_pb2_grpc.BatchServiceStub(ours.channel).BatchConfirm(request, timeout=timeout)

    await two.same_as_nothing(batch(prepaid), batch(none), "an order of several payers")
    await two.operator.assert_agrees()


async def test_an_acquired_order_of_others_is_not_entered_as_ours_and_its_amount_is_not_told(two: Two) -> None:
    """Entered as ours, it would keep the others from entering it, and tell a person to move their money to us."""
    theirs = await acquiring.acquire(two.operator, acquiring.share("B2", 7_77))
    told: list[str] = []
    for fen in (1, 7_77):
        request = acquiring.record_request(two.ours, theirs.order_no, acquiring.share("A2", fen))
        refusal = await two.ours.refusal(two.ours.acquiring.RecordOrder(request, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.outcome) == ("ACQUIRED_ORDER_DIFFERS", core_pb2.OUTCOME_NO_EFFECT)
        told.append(refusal.message)
    assert told[0] == told[1]
    assert (await acquiring.record(two.operator, theirs)).operation.state == core_pb2.OPERATION_STATE_DONE
    mine = await acquiring.acquire(two.operator, acquiring.share("A2", 3_00))
    mine.request_id = two.ours.request_id()
    assert (await acquiring.record(two.ours, mine)).operation.state == core_pb2.OPERATION_STATE_DONE
    await two.operator.assert_agrees()


async def test_whose_card_it_is_is_not_told(two: Two) -> None:
    await binding.bound(two.operator, "B2")
    request = binding.sms_request(two.ours, "A2")
    refusal = await two.ours.refusal(two.ours.cards.CheckCardBySms(request, timeout=TIMEOUT_S))
    assert refusal.reason == "CARD_BOUND_ELSEWHERE"
    assert "B2" not in f"{refusal.message} {refusal.metadata}"


def test_every_request_that_names_members_is_judged_by_them_or_answers_with_what_is_judged() -> None:
    """An RPC whose requests name members either declares that they may not be there, and then `rights` judges them
    before the call, or only chooses by them among rows that name members, and then those are judged.
    """
    for name, method in methods().items():
        if not any(has_members(field) for field in method.input_type.fields):
            continue
        if ERROR_REASON_MEMBER_NOT_FOUND in facts(method).reasons:
            continue
        assert "request_id" not in method.input_type.fields_by_name, name
        assert any(has_members(field) for field in method.output_type.fields), name


def test_no_field_names_a_member_under_another_name() -> None:
    for method in methods().values():
        for message in (method.input_type, method.output_type):
            for field in message.fields:
                if "member" in field.name and field.type == field.TYPE_STRING:
                    assert MEMBER_FIELD.fullmatch(field.name), f"{message.full_name}.{field.name}"


NUMBERS = ("order_no", "card_id", "key", "payment_serial", "top_up_serial", "withdrawal_serial", "allocation_serial")
ANSWERS_WITHOUT_MEMBERS = {"CardService.GetCardTransfer"}
"""What is found by a number is judged by the members of the answer. This one has none: `CardFacts` judges the card."""


def test_what_is_read_by_a_number_has_an_answer_that_can_be_judged() -> None:
    judged = {
        name
        for name, method in methods().items()
        if facts(method).scope == options_pb2.SCOPE_READ_OWN
        and any(field in NUMBERS for field in method.input_type.fields_by_name)
        and "member_id" not in method.input_type.fields_by_name
        and not name.startswith("OperationService.List")
        and not name.startswith("OperationService.Watch")
    }
    assert len(judged) >= 8
    for name in judged - ANSWERS_WITHOUT_MEMBERS:
        assert any(has_members(field) for field in methods()[name].output_type.fields), name


def has_members(field: Any, depth: int = 4) -> bool:
    """Whether a field holds member codes, or messages that do."""
    if MEMBER_FIELD.fullmatch(field.name) and field.type == field.TYPE_STRING:
        return True
    below = field.message_type.fields if field.message_type is not None and depth else ()
    return any(has_members(one, depth - 1) for one in below)


def test_the_refund_request_names_no_member_so_that_plans_must_be_judged() -> None:
    assert not list(members_in(refund_pb2.RefundRequest(payment_serial="x")))
