"""A break is adjusted by two people: with its own evidence, for no more than differs, and closed by the posting."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from jzb.v1 import adjustment_pb2, approval_pb2, balance_pb2, work_pb2, work_pb2_grpc
from jzb.v1 import reconciliation_pb2 as pb
from ledger import connect, verify
from sandbox.records import Trade
from service.path import carrying
from service.rpc import access, approvals
from tests.world.approvals import approve, proposal
from tests.world.callers import OPERATOR, given, locked
from tests.world.days import breaks, days_ago, open_breaks, run_day
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal
from tests.world.process import until
from tests.world.requests import altered

FINANCE, HEAD, CLERK = "spiffe://test/finance", "spiffe://test/head", "spiffe://test/clerk"
ASSISTANT = "spiffe://test/assistant"
TABLES = (
    given(FINANCE, "manual", "read.all", "admin", namespace="finance"),
    given(HEAD, "approve", "read.all", namespace="head"),
    given(CLERK, "manual", "read.all", namespace="clerk", members=["other"]),
    given(ASSISTANT, "manual", namespace="assistant", members=["other"]),
)
ADD, TAKE = adjustment_pb2.ADJUSTMENT_DIRECTION_ADD, adjustment_pb2.ADJUSTMENT_DIRECTION_TAKE
CLOSED = pb.BREAK_STATE_CLOSED
WITHDRAWABLE = balance_pb2.ACCOUNT_KIND_WITHDRAWABLE


@dataclass(frozen=True, slots=True)
class Office:
    """A day on which the bank has a payment of 45.00 that the books have with 40.00, and who works on it."""

    operator: Marketplace
    finance: Marketplace
    head: Marketplace
    clerk: Marketplace
    assistant: Marketplace
    day: str
    found: pb.Break

    def request(
        self, member_id: str, direction: adjustment_pb2.AdjustmentDirection.ValueType, **more: Any
    ) -> adjustment_pb2.AdjustRequest:
        """What a person says who looks at the break, and no more."""
        request = adjustment_pb2.AdjustRequest(
            request_id=self.finance.request_id(),
            account=adjustment_pb2.AdjustedAccount(kind=WITHDRAWABLE, member_id=member_id),
            direction=direction,
            break_id=self.found.break_id,
            note="the bank booked 45.00",
            approval=approval_pb2.Approval(reason="the bank's amount stands"),
        )
        return altered(request, **more)

    async def refused(self, request: adjustment_pb2.AdjustRequest, shop: Marketplace | None = None) -> Refusal:
        shop = shop or self.finance
        return await shop.refusal(shop.adjustments.Adjust(request, timeout=TIMEOUT_S))

    async def proposed(self, request: adjustment_pb2.AdjustRequest) -> str:
        refusal = await self.refused(request)
        assert refusal.reason == "APPROVAL_PENDING", refusal
        return refusal.metadata["proposal_id"]

    async def adjusted(self, request: adjustment_pb2.AdjustRequest) -> approval_pb2.Proposal:
        return await approve(self.head, await self.proposed(request))

    async def current(self) -> pb.GetBreakResponse:
        request = pb.GetBreakRequest(break_id=self.found.break_id)
        answer: pb.GetBreakResponse = await self.finance.reconciliation.GetBreak(request, timeout=TIMEOUT_S)
        return answer

    async def waiting(self) -> dict[int, tuple[str, int]]:
        """Name and amount of what waits of this break, by kind."""
        service = work_pb2_grpc.WorkServiceStub(self.finance.channel)
        wanted = work_pb2.ListWorkRequest(kinds=[work_pb2.WORK_KIND_BREAK, work_pb2.WORK_KIND_DIFFERENCE])
        items = (await service.ListWork(wanted, timeout=TIMEOUT_S)).items
        return {one.kind: (one.work_id, one.amount_fen) for one in items}

    async def findings(self) -> list[str]:
        engine = connect(self.operator.dsn, 1)
        try:
            return [one.check for one in await verify(engine, self.operator.service.components.settings.platform)]
        finally:
            await engine.dispose()


@pytest.fixture
async def office(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setattr(access, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(carrying, "EVERY_S", 0.05)
    async with locked(database, tmp_path, *TABLES, clock=days_ago(3)) as service:
        operator, finance, head, clerk, assistant = [
            await service.shop(name) for name in (OPERATOR, FINANCE, HEAD, CLERK, ASSISTANT)
        ]
        paid = await operator.pay(await operator.buyer("buyer", 100_00), await operator.merchant("seller"), 40_00)
        await operator.clear()
        (trade,) = (one for one in operator.sandbox.bank.store.all(Trade) if one.amount_fen == 40_00)
        operator.sandbox.bank.store.put(dataclasses.replace(trade, amount_fen=45_00))
        await run_day(finance, paid.bank_day)
        (found,) = await breaks(finance, type=pb.BREAK_TYPE_AMOUNT)
        yield Office(operator, finance, head, clerk, assistant, paid.bank_day, found)


async def test_a_break_is_adjusted_with_its_own_evidence_and_closed_by_the_adjustment_that_was_approved(
    office: Office,
) -> None:
    assert office.found.adjustable_fen == 5_00
    assert (office.found.evidence.line, len(office.found.evidence.file_sha256)) == (office.found.line, 64)
    assert (await office.waiting())[work_pb2.WORK_KIND_BREAK] == (f"break:{office.found.break_id}", 5_00)
    done = await office.adjusted(office.request("seller", ADD))
    assert (done.state, done.amount_fen) == (approval_pb2.PROPOSAL_STATE_EXECUTED, 5_00)
    seen = await office.current()
    assert (seen.current.state, seen.current.close_reason) == (
        pb.BREAK_STATE_CLOSED,
        pb.BREAK_CLOSE_REASON_ADJUSTED,
    )
    assert seen.current.adjusted_fen == -5_00
    closed = seen.events[-1]
    assert (closed.operation_id, closed.caller, closed.note) == (done.operation_id, HEAD, "the bank booked 45.00")
    wanted = adjustment_pb2.ListAdjustmentsRequest(break_id=office.found.break_id)
    (kept,) = (await office.finance.adjustments.ListAdjustments(wanted, timeout=TIMEOUT_S)).adjustments
    assert (kept.amount_fen, kept.evidence) == (5_00, office.found.evidence)
    # The break is closed, and what it left is seen until the other side is adjusted, too.
    difference = {work_pb2.WORK_KIND_DIFFERENCE: (f"difference:{office.found.break_id}", 5_00)}
    assert await office.waiting() == difference
    assert await open_breaks(office.finance, office.day) == []
    await run_day(office.finance, office.day)
    assert await office.waiting() == difference, "run again, the day finds it as it was decided"
    await office.adjusted(office.request("buyer", TAKE))
    assert await office.waiting() == {}
    assert (await office.current()).current.adjusted_fen == 0
    assert (await office.operator.balance("seller")).withdrawable_fen == 45_00
    assert (await office.operator.balance("buyer")).available_fen == 55_00
    assert await office.findings() == []


async def test_an_adjustment_that_does_not_fit_its_break_is_refused_with_the_field_or_the_amounts(
    office: Office,
) -> None:
    own = office.found.evidence
    for said, field in (
        (altered(own, line=own.line + 1), "evidence.line"),
        (altered(own, file_sha256="0" * 64), "evidence.file_sha256"),
        (adjustment_pb2.AdjustmentEvidence(list_key="6050 1"), "evidence.file_sha256"),
    ):
        refusal = await office.refused(office.request("seller", ADD, evidence=said))
        assert (refusal.reason, list(refusal.violations)) == ("REQUEST_INVALID", [field])
        assert office.found.break_id in refusal.message
        assert "leave the evidence out" in refusal.next_step
    refusal = await office.refused(office.request("seller", ADD, amount_fen=5_01))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DIFFERENCE_EXCEEDED")
    assert "differs by 5.00" in refusal.message
    assert "not 5.01" in refusal.message
    assert (refusal.metadata["differs_fen"], refusal.metadata["adjusted_fen"]) == ("500", "0")
    # In parts, too, no more than differs.
    await office.adjusted(office.request("seller", ADD, amount_fen=3_00, evidence=own))
    refusal = await office.refused(office.request("seller", ADD, amount_fen=2_01))
    assert (refusal.reason, refusal.metadata["adjusted_fen"]) == ("DIFFERENCE_EXCEEDED", "-300")
    await office.adjusted(office.request("seller", ADD, amount_fen=2_00))
    assert (await office.current()).current.adjusted_fen == -5_00
    # What explains the difference may be something else of the bank's.
    mended = adjustment_pb2.AdjustmentEvidence(list_key="6050 2611300000000017")
    await office.adjusted(office.request("seller", TAKE, amount_fen=1_00, evidence=mended))
    assert (await office.current()).current.adjusted_fen == -4_00
    unknown = office.request("seller", ADD, break_id="0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11")
    assert (await office.refused(unknown)).reason == "BREAK_NOT_FOUND"
    upper = office.request("seller", ADD, break_id=office.found.break_id.upper())
    assert list((await office.refused(upper)).violations) == ["break_id"]
    # Who sees other members alone does not see the break.
    await office.operator.merchant("other")
    assert (await office.refused(office.request("other", ADD), office.clerk)).reason == "BREAK_NOT_FOUND"


async def test_of_two_that_are_approved_at_once_only_what_fits_is_posted(office: Office) -> None:
    waiting = [await office.proposed(office.request("seller", ADD)) for _ in range(2)]
    done = await asyncio.gather(*(approve(office.head, one) for one in waiting))
    assert sorted(one.state for one in done) == [
        approval_pb2.PROPOSAL_STATE_EXECUTED,
        approval_pb2.PROPOSAL_STATE_REFUSED,
    ]
    assert (await office.operator.balance("seller")).withdrawable_fen == 45_00


async def test_what_was_moved_on_the_other_side_makes_no_room_for_the_same_money_again(office: Office) -> None:
    first, other, again = [
        await office.proposed(office.request(member, direction))
        for member, direction in (("seller", ADD), ("buyer", TAKE), ("seller", ADD))
    ]
    executed, refused = approval_pb2.PROPOSAL_STATE_EXECUTED, approval_pb2.PROPOSAL_STATE_REFUSED
    done = [(await approve(office.head, one)).state for one in (first, other, again)]
    assert done == [executed, executed, refused]
    assert (await office.operator.balance("seller")).withdrawable_fen == 45_00
    assert (await office.current()).current.adjusted_fen == 0
    assert (await office.refused(office.request("seller", ADD))).reason == "DIFFERENCE_EXCEEDED"
    # It can be taken back, as one may have been wrong.
    back = [office.request("seller", TAKE), office.request("buyer", ADD), office.request("seller", ADD)]
    assert [(await office.adjusted(one)).state for one in back] == [executed] * 3


async def test_a_line_that_has_changed_otherwise_makes_no_room_for_the_same_money_again(office: Office) -> None:
    await office.adjusted(office.request("seller", ADD))
    (trade,) = (one for one in office.operator.sandbox.bank.store.all(Trade) if one.amount_fen == 45_00)
    office.operator.sandbox.bank.store.put(dataclasses.replace(trade, remark="another remark"))
    await run_day(office.finance, office.day)
    (again,) = [one for one in await breaks(office.finance, type=pb.BREAK_TYPE_AMOUNT) if one.state != CLOSED]
    assert (again.break_id != office.found.break_id, again.adjustable_fen) == (True, 5_00)
    refusal = await office.refused(office.request("seller", ADD, break_id=again.break_id))
    assert refusal.reason == "DIFFERENCE_EXCEEDED"
    assert "have moved 5.00 this way: 0.00 can still be moved" in refusal.message
    # The other side is not adjusted yet.
    await office.adjusted(office.request("buyer", TAKE, break_id=again.break_id))
    assert (await office.operator.balance("seller")).withdrawable_fen == 45_00
    assert (await office.operator.balance("buyer")).available_fen == 55_00


async def test_who_sees_some_members_alone_decides_nothing_about_others_nor_signs_for_all(office: Office) -> None:
    await office.operator.merchant("other")
    break_id, work_id = office.found.break_id, f"break:{office.found.break_id}"
    for shop in (office.clerk, office.assistant):
        days, work = shop.reconciliation, work_pb2_grpc.WorkServiceStub(shop.channel)
        until_day = days_ago(-9).today().isoformat()
        held = pb.HoldBreakRequest(break_id=break_id, until_bank_day=until_day, note="later")
        closed = pb.CloseBreakRequest(break_id=break_id, note="no matter")
        for call, reason in (
            (days.HoldBreak(held, timeout=TIMEOUT_S), "BREAK_NOT_FOUND"),
            (days.CloseBreak(closed, timeout=TIMEOUT_S), "BREAK_NOT_FOUND"),
            (work.AssignWork(work_pb2.AssignWorkRequest(work_id=work_id, owner="me")), "WORK_NOT_FOUND"),
            (work.NoteWork(work_pb2.NoteWorkRequest(work_id=work_id, note="mine")), "WORK_NOT_FOUND"),
            (days.ProposeSignOff(pb.ProposeSignOffRequest(bank_day=office.day)), "SCOPE_MISSING"),
        ):
            assert (await shop.refusal(call)).reason == reason
    seen = await office.current()
    assert (seen.current.state, len(seen.events)) == (pb.BREAK_STATE_OPEN, 1)
    day = await office.finance.reconciliation.GetReconciledDay(pb.GetReconciledDayRequest(bank_day=office.day))
    assert not day.day.signatures


async def test_a_crash_after_the_posting_leaves_no_break_open_and_posts_nothing_twice(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await office.proposed(office.request("seller", ADD))

    async def dies(*_: object) -> None:
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as dying:
        dying.setattr(carrying.Carrying, "_executed", dies)
        dying.setattr(approvals, "LEASE_S", 2.0)
        assert (await approve(office.head, asked)).state == approval_pb2.PROPOSAL_STATE_APPROVED
        assert (await office.current()).current.close_reason == pb.BREAK_CLOSE_REASON_ADJUSTED

    async def is_executed() -> bool:
        return (await proposal(office.head, asked)).state == approval_pb2.PROPOSAL_STATE_EXECUTED

    await until(is_executed, "another process carries it to its end")
    assert (await office.operator.balance("seller")).withdrawable_fen == 45_00
    assert len([one for one in (await office.current()).events if one.operation_id]) == 1
    assert await office.findings() == []


async def test_an_adjustment_that_a_floor_refuses_leaves_its_break_open(office: Office) -> None:
    await office.operator.merchant("poor")
    done = await office.adjusted(office.request("poor", TAKE))
    assert done.state == approval_pb2.PROPOSAL_STATE_REFUSED
    assert (await office.current()).current.state == pb.BREAK_STATE_OPEN


async def test_a_break_that_was_closed_otherwise_is_not_adjusted(office: Office) -> None:
    asked = await office.proposed(office.request("seller", ADD))
    closing = pb.CloseBreakRequest(break_id=office.found.break_id, note="the bank takes it back")
    await office.finance.reconciliation.CloseBreak(closing, timeout=TIMEOUT_S)
    done = await approve(office.head, asked)
    assert done.state == approval_pb2.PROPOSAL_STATE_REFUSED
    assert "is closed" in done.refusal_message
    assert (await office.refused(office.request("seller", ADD))).reason == "BREAK_CLOSED"


async def test_a_break_that_names_an_adjustment_of_another_is_found_by_verify(office: Office) -> None:
    await office.adjusted(office.request("seller", ADD))
    check = "a break that was adjusted names an adjustment of it that is done, and whoever approved that"
    for tampering in ("SET operation_id = gen_random_uuid()", "SET caller = 'nobody'"):
        with psycopg.connect(office.operator.dsn) as connection:
            connection.execute("SET session_replication_role = replica")
            event = "break_event WHERE reason = 'adjusted'"
            was = connection.execute(f"SELECT operation_id, caller FROM {event}".encode()).fetchone()
            connection.execute(f"UPDATE break_event {tampering} WHERE reason = 'adjusted'".encode())
            connection.commit()
            assert check in await office.findings(), tampering
            restored = "UPDATE break_event SET operation_id = %s, caller = %s WHERE reason = 'adjusted'"
            connection.execute(restored.encode(), was)
            connection.commit()
