"""Adjustments: what two people put right in the books, with the bank's words for evidence, and never at the bank."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from jzb.v1 import (
    adjustment_pb2,
    approval_pb2,
    balance_pb2,
    core_pb2,
    operation_pb2,
)
from jzb.v1.error_reason_pb2 import ErrorReason
from ledger import Patience, connect, verify
from service.bankday import bank_today
from service.path import carrying
from service.rpc import access
from tests.world.approvals import approve, reject
from tests.world.callers import OPERATOR, given, locked
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal
from tests.world.requests import altered

FINANCE, HEAD, CLERK = "spiffe://test/finance", "spiffe://test/head", "spiffe://test/clerk"
TABLES = (
    given(FINANCE, "manual", "read.all", "audit", namespace="finance"),
    given(HEAD, "approve", "read.all", namespace="head"),
    given(CLERK, "manual", "approve", "read.all", namespace="clerk", members=["buyer"]),
)
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ADD, TAKE = adjustment_pb2.ADJUSTMENT_DIRECTION_ADD, adjustment_pb2.ADJUSTMENT_DIRECTION_TAKE
KIND = balance_pb2.AccountKind


@dataclass(frozen=True, slots=True)
class Office:
    """Who works on the books: one proposes, the other approves; the operator prepares what a test needs."""

    operator: Marketplace
    finance: Marketplace
    head: Marketplace
    clerk: Marketplace

    def request(
        self,
        kind: balance_pb2.AccountKind.ValueType,
        fen: int,
        direction: adjustment_pb2.AdjustmentDirection.ValueType = ADD,
        break_id: str = "B-1",
        *,
        corrects: str = "",
        **named: str,
    ) -> adjustment_pb2.AdjustRequest:
        return adjustment_pb2.AdjustRequest(
            request_id=self.finance.request_id(),
            account=adjustment_pb2.AdjustedAccount(kind=kind, **named),
            direction=direction,
            amount_fen=fen,
            break_id=break_id,
            evidence=adjustment_pb2.AdjustmentEvidence(file_sha256=SHA256, line=17),
            note="the file of the 29th has it, the books do not",
            corrects_serial=corrects,
            approval=approval_pb2.Approval(reason="line 17 of the file"),
        )

    async def refused(self, request: adjustment_pb2.AdjustRequest, shop: Marketplace | None = None) -> Refusal:
        shop = shop or self.finance
        return await shop.refusal(shop.adjustments.Adjust(request, timeout=TIMEOUT_S))

    async def decided(self, request: adjustment_pb2.AdjustRequest) -> approval_pb2.Proposal:
        """Proposed by the one, approved by the other."""
        refusal = await self.refused(request)
        assert (refusal.reason, refusal.outcome) == ("APPROVAL_PENDING", core_pb2.OUTCOME_NO_EFFECT), refusal
        return await approve(self.head, refusal.metadata["proposal_id"])

    async def adjusted(self, request: adjustment_pb2.AdjustRequest) -> core_pb2.Operation:
        assert (await self.decided(request)).state == approval_pb2.PROPOSAL_STATE_EXECUTED
        operation: core_pb2.Operation = (await self.finance.adjustments.Adjust(request, timeout=TIMEOUT_S)).operation
        return operation

    async def differences(self) -> dict[str, int]:
        answer = await self.finance.adjustments.ListDifferences(
            adjustment_pb2.ListDifferencesRequest(), timeout=TIMEOUT_S
        )
        assert answer.total_fen == sum(abs(one.difference_fen) for one in answer.differences)
        return {one.break_id: one.difference_fen for one in answer.differences}

    async def listed(self, break_id: str = "") -> list[adjustment_pb2.Adjustment]:
        request = adjustment_pb2.ListAdjustmentsRequest(break_id=break_id)
        answer = await self.finance.adjustments.ListAdjustments(request, timeout=TIMEOUT_S)
        return list(answer.adjustments)

    async def trial(self) -> dict[int, int]:
        answer = await self.finance.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S)
        assert sum(row.balance_fen for row in answer.rows) == 0
        return {row.account_kind: row.balance_fen for row in answer.rows}

    async def assert_whole(self) -> None:
        engine = connect(self.operator.dsn, 1)
        try:
            assert await verify(engine, self.operator.service.components.settings.platform) == []
        finally:
            await engine.dispose()


@pytest.fixture
async def office(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """A buyer with 100.00 uncleared and a seller without money."""
    monkeypatch.setattr(access, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(carrying, "EVERY_S", 0.05)
    async with locked(database, tmp_path, *TABLES) as service:
        shops = [await service.shop(name) for name in (OPERATOR, FINANCE, HEAD, CLERK)]
        office = Office(*shops)
        await office.operator.buyer("buyer", 100_00)
        await office.operator.merchant("seller")
        yield office


async def test_an_adjustment_is_posted_once_with_its_evidence_and_never_at_the_bank(office: Office) -> None:
    payment = await office.operator.pay("buyer", "seller", 10_00)
    asked = office.operator.sandbox.bank.store.next_number("front_seq_no")
    request = office.request(KIND.ACCOUNT_KIND_WITHDRAWABLE, 30_00, member_id="seller", corrects=payment.serial)
    operation = await office.adjusted(request)
    assert office.operator.sandbox.bank.store.next_number("front_seq_no") == asked + 1, "the bank booked nothing"
    assert (operation.kind, operation.state) == (
        core_pb2.OPERATION_KIND_ADJUSTMENT,
        core_pb2.OPERATION_STATE_DONE,
    )
    assert (operation.bank_serial, operation.bank_code, operation.bank_day) == ("", "", str(bank_today()))
    assert (operation.caller, operation.approver_caller) == (FINANCE, HEAD)
    assert (operation.payee_member_id, operation.payer_member_id) == ("seller", "")
    assert operation.original_serial == payment.serial
    assert operation.message == "It is posted in the books; the bank was not called."
    assert (await office.operator.balance("seller")).withdrawable_fen == 30_00
    assert await office.differences() == {"B-1": -30_00}
    assert (await office.trial())[balance_pb2.ACCOUNT_KIND_DIFFERENCE] == -30_00
    again = (await office.finance.adjustments.Adjust(request, timeout=TIMEOUT_S)).operation
    assert again == operation, "a repeat has the same answer"
    (adjustment,) = await office.listed()
    assert (adjustment.account, adjustment.evidence) == (request.account, request.evidence)
    assert (adjustment.direction, adjustment.amount_fen) == (ADD, 30_00)
    assert (adjustment.break_id, adjustment.note) == ("B-1", request.note)
    assert adjustment.operation == operation
    await office.assert_whole()


async def test_a_difference_comes_back_to_zero_when_what_was_missing_is_explained(office: Office) -> None:
    first = await office.adjusted(office.request(KIND.ACCOUNT_KIND_WITHDRAWABLE, 30_00, member_id="seller"))
    await office.adjusted(office.request(KIND.ACCOUNT_KIND_FEE, 1_00, TAKE, "B-2"))
    assert await office.differences() == {"B-1": -30_00, "B-2": 1_00}, "one does not hide the other"
    since = {
        one.break_id: one.since_time
        for one in (
            await office.finance.adjustments.ListDifferences(adjustment_pb2.ListDifferencesRequest(), timeout=TIMEOUT_S)
        ).differences
    }
    assert since["B-1"].ToDatetime() == first.create_time.ToDatetime()
    await office.adjusted(office.request(KIND.ACCOUNT_KIND_WITHDRAWABLE, 10_00, TAKE, member_id="seller"))
    assert await office.differences() == {"B-1": -20_00, "B-2": 1_00}
    back = office.request(KIND.ACCOUNT_KIND_WITHDRAWABLE, 20_00, TAKE, member_id="seller", corrects=first.serial)
    await office.adjusted(back)
    assert await office.differences() == {"B-2": 1_00}
    # Open again, it is as old as that.
    again = await office.adjusted(office.request(KIND.ACCOUNT_KIND_WITHDRAWABLE, 5_00, member_id="seller"))
    answer = await office.finance.adjustments.ListDifferences(
        adjustment_pb2.ListDifferencesRequest(), timeout=TIMEOUT_S
    )
    assert [(one.break_id, one.since_time.ToDatetime()) for one in answer.differences] == [
        ("B-2", since["B-2"].ToDatetime()),
        ("B-1", again.create_time.ToDatetime()),
    ]
    assert [one.operation.operation_id for one in await office.listed("B-1")][-1] == first.operation_id
    assert len(await office.listed("B-1")) == 4
    numbers = await office.operator.service.components.reads.overview(
        patience=Patience(reserved_for_s=60.0, accepted_for_s=60.0, today=bank_today())
    )
    assert numbers.difference_fen == 6_00
    assert 0.0 <= numbers.difference_age_s < 600.0
    await office.assert_whole()


async def test_without_a_second_identity_nothing_is_adjusted_whatever_the_policy_marks(office: Office) -> None:
    request = office.request(KIND.ACCOUNT_KIND_FEE, 1_00)
    for alone in (altered(request, approval=None), altered(request, approval=None, validate_only=True)):
        refusal = await office.refused(alone)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "APPROVAL_REQUIRED")
        assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
        assert "field approval" in refusal.next_step
    pending = await office.refused(request)
    assert await office.differences() == {}, "a proposal moves nothing"
    refusal = await office.finance.refusal(approve(office.finance, pending.metadata["proposal_id"]))
    assert refusal.reason == "SCOPE_MISSING"
    await reject(office.head, pending.metadata["proposal_id"], "not this month")
    assert (await office.refused(request)).reason == "APPROVAL_REJECTED"
    assert (await office.differences(), await office.listed()) == ({}, [])


async def test_no_account_goes_below_its_floor_by_an_adjustment(office: Office) -> None:
    today = str(bank_today())
    for kind, reason, named in (
        (KIND.ACCOUNT_KIND_WITHDRAWABLE, "WITHDRAWABLE_INSUFFICIENT", {"member_id": "buyer"}),
        (KIND.ACCOUNT_KIND_UNCLEARED, "INSUFFICIENT_FUNDS", {"member_id": "buyer", "bank_day": today}),
        (KIND.ACCOUNT_KIND_FROZEN, "ORDER_INSUFFICIENT", {"member_id": "buyer", "order_no": "O1"}),
        (KIND.ACCOUNT_KIND_ESCROW, "ORDER_INSUFFICIENT", {"member_id": "buyer", "order_no": "O1"}),
        (KIND.ACCOUNT_KIND_SUSPENSE, "SUSPENSE_INSUFFICIENT", {"transfer_bank_serial": "2611300000000001"}),
        (KIND.ACCOUNT_KIND_ACQUIRING_PARKING, "PARKED_INSUFFICIENT", {"order_no": "O1"}),
        (KIND.ACCOUNT_KIND_OWN_FUNDS, "ADVANCE_INSUFFICIENT", {}),
    ):
        decided = await office.decided(office.request(kind, 90_000_000_00, TAKE, **named))
        assert decided.state == approval_pb2.PROPOSAL_STATE_REFUSED, kind
        assert ErrorReason.Name(decided.refusal) == f"ERROR_REASON_{reason}", kind
    refused = [one.operation for one in await office.listed()]
    assert {one.state for one in refused} == {core_pb2.OPERATION_STATE_REFUSED}
    assert await office.differences() == {}
    assert (await office.operator.balance("buyer")).available_fen == 100_00
    await office.operator.assert_agrees()


async def test_every_account_that_makes_sense_can_be_adjusted_and_back(office: Office) -> None:
    today, yesterday = str(bank_today()), str(bank_today() - timedelta(days=1))
    accounts: list[tuple[balance_pb2.AccountKind.ValueType, dict[str, str]]] = [
        (KIND.ACCOUNT_KIND_WITHDRAWABLE, {"member_id": "seller"}),
        (KIND.ACCOUNT_KIND_UNCLEARED, {"member_id": "seller", "bank_day": today}),
        (KIND.ACCOUNT_KIND_FROZEN, {"member_id": "seller", "order_no": "O1"}),
        (KIND.ACCOUNT_KIND_ESCROW, {"member_id": "buyer", "order_no": "O1"}),
        (KIND.ACCOUNT_KIND_FEE, {}),
        (KIND.ACCOUNT_KIND_SUSPENSE, {"transfer_bank_serial": "2611300000000001"}),
        (KIND.ACCOUNT_KIND_OWN_FUNDS, {}),
        (KIND.ACCOUNT_KIND_IN_TRANSIT, {"bank_day": yesterday}),
        (KIND.ACCOUNT_KIND_WITHDRAWAL_IN_TRANSIT, {}),
        (KIND.ACCOUNT_KIND_INTEREST, {}),
        (KIND.ACCOUNT_KIND_MARKETING, {}),
        (KIND.ACCOUNT_KIND_ACQUIRING_PARKING, {"order_no": "O1"}),
        (KIND.ACCOUNT_KIND_POOLED, {}),
    ]
    before = await office.trial()
    for number, (kind, named) in enumerate(accounts, start=1):
        await office.adjusted(office.request(kind, number, ADD, f"B-{number}", **named))
        moved = await office.trial()
        assert moved[kind] - before.get(kind, 0) == number, kind
        await office.adjusted(office.request(kind, number, TAKE, f"B-{number}", **named))
    after = {kind: fen for kind, fen in (await office.trial()).items() if fen}
    assert after == {kind: fen for kind, fen in before.items() if fen}
    assert await office.differences() == {}
    await office.operator.assert_agrees()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"account": adjustment_pb2.AdjustedAccount(kind=KIND.ACCOUNT_KIND_WITHDRAWABLE)}, "account.member_id"),
    (
        {"account": adjustment_pb2.AdjustedAccount(kind=KIND.ACCOUNT_KIND_FEE, member_id="seller")},
        "account.member_id",
    ),
    (
        {"account": adjustment_pb2.AdjustedAccount(kind=KIND.ACCOUNT_KIND_FROZEN, member_id="seller")},
        "account.order_no",
    ),
    (
        {
            "account": adjustment_pb2.AdjustedAccount(
                kind=KIND.ACCOUNT_KIND_WITHDRAWABLE, member_id="seller", bank_day="2026-11-23"
            )
        },
        "account.bank_day",
    ),
    ({"account": adjustment_pb2.AdjustedAccount(kind=KIND.ACCOUNT_KIND_CONTROL)}, "account.kind"),
    ({"account": adjustment_pb2.AdjustedAccount(kind=KIND.ACCOUNT_KIND_DIFFERENCE)}, "account.kind"),
    (
        {"account": adjustment_pb2.AdjustedAccount(kind=KIND.ACCOUNT_KIND_IN_TRANSIT, bank_day="2999-01-01")},
        "account.bank_day",
    ),
    ({"evidence": adjustment_pb2.AdjustmentEvidence(file_sha256=SHA256)}, "evidence"),
    ({"evidence": adjustment_pb2.AdjustmentEvidence()}, "evidence"),
    ({"evidence": adjustment_pb2.AdjustmentEvidence(file_sha256=SHA256, line=1, list_key="6050 x")}, "evidence"),
    ({"evidence": None}, "evidence"),
    ({"break_id": None}, "break_id"),
    ({"note": None}, "note"),
    ({"note": "of 138 0013 8000"}, "note"),
    ({"amount_fen": None}, "amount_fen"),
    ({"direction": None}, "direction"),
]


async def test_an_adjustment_names_its_account_and_its_evidence(office: Office) -> None:
    for change, field in WRONG:
        refusal = await office.refused(altered(office.request(KIND.ACCOUNT_KIND_FEE, 1_00), **change))
        assert refusal.reason in ("REQUEST_INVALID", "BANK_DAY_INVALID"), change
        assert list(refusal.violations) == [field], change


async def test_what_is_not_there_cannot_be_adjusted_or_corrected(office: Office) -> None:
    withdrawable = KIND.ACCOUNT_KIND_WITHDRAWABLE
    assert (await office.refused(office.request(withdrawable, 1, member_id="nobody"))).reason == "MEMBER_NOT_FOUND"
    fee = office.request(KIND.ACCOUNT_KIND_FEE, 1, corrects="X0000000000000000000001")
    assert (await office.refused(fee)).reason == "OPERATION_NOT_FOUND"
    # Who has some members alone adjusts neither others' money nor the platform's.
    for request in (
        office.request(withdrawable, 1, member_id="seller"),
        office.request(KIND.ACCOUNT_KIND_FEE, 1),
    ):
        assert (await office.refused(request, office.clerk)).reason == "MEMBER_NOT_FOUND"
    own = office.request(withdrawable, 1, member_id="buyer")
    assert (await office.refused(own, office.clerk)).reason == "APPROVAL_PENDING"


async def test_two_repeats_at_once_adjust_once(office: Office) -> None:
    request = office.request(KIND.ACCOUNT_KIND_FEE, 7)
    await office.decided(request)
    service = office.finance.adjustments
    answers = await asyncio.gather(*(service.Adjust(request, timeout=TIMEOUT_S) for _ in range(5)))
    assert len({answer.operation.operation_id for answer in answers}) == 1
    assert await office.differences() == {"B-1": -7}
    other = altered(request, amount_fen=8)
    assert (await office.refused(other)).reason == "REQUEST_ID_REUSED"


async def test_an_adjustment_shows_in_lists_and_in_the_comparison_with_the_bank(office: Office) -> None:
    await office.adjusted(office.request(KIND.ACCOUNT_KIND_WITHDRAWABLE, 30_00, member_id="seller"))
    wanted = operation_pb2.ListOperationsRequest(member_id="seller", kind=core_pb2.OPERATION_KIND_ADJUSTMENT)
    (found,) = (await office.finance.operations.ListOperations(wanted, timeout=TIMEOUT_S)).operations
    assert found.amount_fen == 30_00
    # The bank has not got it: what it has and what the books have are compared as they are.
    request = balance_pb2.CompareWithBankRequest(member_id="seller")
    answers = [one async for one in office.finance.balances.CompareWithBank(request, timeout=TIMEOUT_S)]
    rows = [one.comparison for one in answers if one.HasField("comparison")]
    assert [(row.agrees, row.difference.available_fen) for row in rows] == [(False, -30_00)]


async def test_a_forged_difference_is_found_by_verify(office: Office) -> None:
    operation = await office.adjusted(office.request(KIND.ACCOUNT_KIND_WITHDRAWABLE, 30_00, member_id="seller"))
    check = "an adjustment moves between an account and a difference, and nothing else moves a difference"
    engine = connect(office.operator.dsn, 1)
    platform = office.operator.service.components.settings.platform
    for tampering in (
        "UPDATE leg SET debit = 'fee' WHERE operation_id = %s",
        "UPDATE operation SET kind = 'PAY_T1' WHERE id = %s",
        "UPDATE operation SET plan = '{}' WHERE id = %s",
    ):
        with psycopg.connect(office.operator.dsn) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(tampering.encode(), [operation.operation_id])
            connection.commit()
            assert check in {finding.check for finding in await verify(engine, platform)}, tampering
            connection.execute(
                "UPDATE leg SET debit = 'difference:B-1' WHERE operation_id = %s", [operation.operation_id]
            )
            connection.execute("UPDATE operation SET kind = 'ADJUSTMENT' WHERE id = %s", [operation.operation_id])
    await engine.dispose()
