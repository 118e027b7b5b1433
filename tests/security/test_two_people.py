"""What needs two people moves nothing before another identity has approved it, and then moves once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import grpc
import psycopg
import pytest
from google.protobuf import json_format

from bankclient import BankUnavailable
from jzb.v1 import approval_pb2, balance_pb2, core_pb2, error_reason_pb2, operation_pb2, options_pb2, payment_pb2
from ledger import Proposals, ProposalState, connect, copies, verify
from service import problems
from service.catalogue.interfaces import facts
from service.contract import methods
from service.path import carrying
from service.process.server import running
from service.rpc import access
from tests.world import withdrawals
from tests.world.approvals import approval_refused, approve, asking, listed, proposal, proposed, reject
from tests.world.callers import EVERYTHING, OPERATOR, Issuer, Locked, given, locked
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.process import until

SHOP = "spiffe://test/shop"
OTHER = "spiffe://test/other"
CONSOLE = "spiffe://test/console"
CONSOLE_TWO = "spiffe://test/console-two"
ANN, BEN = "ann", "ben"

MARKED = '[[approvals]]\nscopes = ["money.pay", "manual"]\namount_above_fen = 1000\ncallers = ["{}"]\n'
PAYS = given(SHOP, "money.pay", "read.own", namespace="shop")
OF_SHOP = MARKED.format(SHOP)
APPROVES = given(CONSOLE, "approve", "read.own", "money.pay", namespace="console")
PEOPLE = given(ANN, "approve", "money.pay", "read.own", table="people") + given(
    BEN, "approve", "money.pay", "read.own", table="people"
)


@pytest.fixture(autouse=True)
def seen_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(carrying, "EVERY_S", 0.05)
    monkeypatch.setattr(carrying, "AGAIN_S", 0.05)


@asynccontextmanager
async def opened(database: str, folder: Path, *tables: str, **settings: Any) -> AsyncIterator[Locked]:
    """A service under a policy, with a buyer who has money and a seller."""
    async with locked(database, folder, *tables, **settings) as service:
        operator = await service.shop(OPERATOR)
        await operator.buyer("buyer", 300_00)
        await operator.merchant("seller")
        yield service


async def test_a_marked_call_moves_nothing_until_another_identity_approves_it_and_then_once(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        assert (await shop.pay("buyer", "seller", 10_00)).state == core_pb2.OPERATION_STATE_DONE, "below the limit"
        request = shop.pay_request("buyer", "seller", 10_01)
        refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "APPROVAL_REQUIRED")
        assert (refusal.metadata["scope"], refusal.outcome) == ("money.pay", core_pb2.OUTCOME_NO_EFFECT)
        dry = shop.pay_request("buyer", "seller", 10_01)
        dry.validate_only = True
        assert (await shop.refusal(shop.payments.Pay(dry, timeout=TIMEOUT_S))).reason == "APPROVAL_REQUIRED"
        assert await listed(console) == []

        request.approval.reason = "a supplier is owed"
        proposal_id = await proposed(shop, request)
        assert await proposed(shop, request) == proposal_id, "the same request has the same proposal"
        assert (await operator.balance("buyer")).available_fen == 290_00
        assert (await operator.balance("buyer")).held_fen == 0
        seen = await proposal(console, proposal_id)
        assert (seen.amount_fen, seen.payer_member_id, seen.payee_member_id) == (10_01, "buyer", "seller")
        assert (seen.proposer_caller, seen.reason) == (SHOP, "a supplier is owed")
        assert (seen.method, seen.namespace) == ("jzb.v1.PaymentService/Pay", "shop")
        assert json_format.Parse(seen.request_json, payment_pb2.PayRequest()) == request

        done = await approve(console, proposal_id, "agreed")
        assert done.state == approval_pb2.PROPOSAL_STATE_EXECUTED
        assert (done.decider_caller, done.note) == (CONSOLE, "agreed")
        paid = (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation
        assert (paid.operation_id, paid.state) == (done.operation_id, core_pb2.OPERATION_STATE_DONE)
        assert (paid.caller, paid.approver_caller, paid.proposal_id) == (SHOP, CONSOLE, proposal_id)
        assert (await approve(console, proposal_id)).operation_id == done.operation_id, "once, however often"
        assert (await operator.balance("buyer")).available_fen == 279_99
        await operator.assert_agrees()


async def test_who_has_proposed_cannot_approve_whatever_the_policy_gives(database: str, tmp_path: Path) -> None:
    everything = given(SHOP, "money.pay", "read.all", "approve")
    async with opened(database, tmp_path, everything, OF_SHOP) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        refusal = await approval_refused(shop, proposal_id)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "APPROVER_IS_PROPOSER")
        assert refusal.outcome == core_pb2.OUTCOME_NO_EFFECT
        with patch("service.rpc.approvals.is_same_identity", return_value=False):
            refusal = await approval_refused(shop, proposal_id)
        assert refusal.reason == "APPROVER_IS_PROPOSER", "PostgreSQL refuses it where the code does not"
        assert (await proposal(shop, proposal_id)).state == approval_pb2.PROPOSAL_STATE_PENDING
        assert (await operator.balance("buyer")).available_fen == 300_00


@pytest.mark.parametrize(
    ("proposer", "approver", "is_other"),
    [
        ((CONSOLE, ANN), (CONSOLE, ANN), False),
        ((CONSOLE, ANN), (CONSOLE_TWO, ANN), False),
        ((CONSOLE, ANN), (CONSOLE, ""), False),
        ((CONSOLE, ""), (CONSOLE, ANN), False),
        ((CONSOLE, ""), (CONSOLE, ""), False),
        ((CONSOLE, ANN), (CONSOLE, BEN), True),
        ((CONSOLE, ""), (CONSOLE_TWO, BEN), True),
        ((CONSOLE, ""), (CONSOLE_TWO, ""), True),
    ],
)
async def test_an_identity_is_the_person_and_without_one_the_caller(
    database: str, tmp_path: Path, proposer: tuple[str, str], approver: tuple[str, str], *, is_other: bool
) -> None:
    issuer = Issuer(tmp_path)
    second = given(CONSOLE_TWO, "approve", "read.own", namespace="two")
    tables = (APPROVES, second, PEOPLE, MARKED.format(CONSOLE))
    async with opened(database, tmp_path, *tables, oidc=issuer.settings) as service:

        async def of(names: tuple[str, str]) -> Marketplace:
            return await service.shop(names[0], issuer.token(names[1]) if names[1] else "")

        one, other = await of(proposer), await of(approver)
        proposal_id = await proposed(one, asking(one, "buyer", "seller", 20_00))
        if is_other:
            done = await approve(other, proposal_id)
            assert done.state == approval_pb2.PROPOSAL_STATE_EXECUTED
            assert (done.decider_caller, done.decider_person) == approver
            operation = await (await service.shop(OPERATOR)).operation(done.operation_id)
            assert (operation.caller, operation.person) == proposer
            assert (operation.approver_caller, operation.approver_person) == approver
        else:
            assert (await approval_refused(other, proposal_id)).reason == "APPROVER_IS_PROPOSER"
            with pytest.raises(psycopg.errors.CheckViolation, match="proposal_approved_by_another"):
                await forge_decision(service.dsn, proposal_id, *approver)


async def forge_decision(dsn: str, proposal_id: str, caller: str, person: str = "", **columns: Any) -> None:
    """Write an approval to the database as whoever has the service's connection can."""
    values = {"proposer_caller": None, "proposer_person": None, "verdict": "approved", **columns}
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(
            "INSERT INTO proposal_decision (platform, proposal_id, verdict, caller, person, note, proposer_caller,"
            " proposer_person, expires_at, mac)"
            " SELECT platform, proposal_id, %(verdict)s, %(caller)s, %(person)s, '',"
            " coalesce(%(proposer_caller)s, caller), coalesce(%(proposer_person)s, person), expires_at, ''"
            " FROM proposal WHERE proposal_id = %(proposal_id)s",
            {**values, "proposal_id": proposal_id, "caller": caller, "person": person},
        )
        await connection.execute("UPDATE proposal_due SET at = now() WHERE proposal_id = %s", [proposal_id])


async def test_an_approval_that_is_written_to_the_database_carries_nothing_out(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        with pytest.raises(psycopg.errors.CheckViolation, match="proposal_approved_by_another"):
            await forge_decision(database, proposal_id, SHOP)
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="names_its_proposer"):
            await forge_decision(database, proposal_id, SHOP, proposer_caller=OTHER)
        await forge_decision(database, proposal_id, CONSOLE)
        said: list[str] = []

        def is_said() -> bool:
            said.append(capsys.readouterr().out)
            return "a proposal is not as it was proposed" in said[-1]

        await until(is_said, "the forged approval is found")
        assert (await operator.balance("buyer")).available_fen == 300_00
        assert (await proposal(operator, proposal_id)).operation_id == ""
        assert await findings(operator) == {"a proposal and its decision have the names of the audit trail"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sealed", b"another request"),
        ("amount_fen", 1),
        ("payee", "other"),
        ("reason", "nothing to see"),
        ("caller", OTHER),
        ("person", ANN),
        ("method", "jzb.v1.PaymentService/PrepayOrder"),
    ],
)
async def test_a_request_that_was_changed_after_it_was_proposed_is_neither_shown_nor_approved(
    database: str, tmp_path: Path, column: str, value: object
) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        change = f"UPDATE proposal SET {column} = %s WHERE proposal_id = %s"
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            with pytest.raises(psycopg.errors.RestrictViolation, match="only ever added to"):
                await connection.execute(change, [value, proposal_id])
            # The owner of the tables can do more than the service.
            await connection.execute("ALTER TABLE proposal DISABLE TRIGGER USER")
            await connection.execute(change, [value, proposal_id])
        for call in (proposal(console, proposal_id), approve(console, proposal_id), reject(console, proposal_id)):
            assert (await shop.refusal(call)).reason == "PROPOSAL_CHANGED"
        assert (await operator.balance("buyer")).available_fen == 300_00


async def test_a_request_of_another_proposal_does_not_open_in_its_place(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        shop, console = await service.shop(SHOP), await service.shop(CONSOLE)
        small = await proposed(shop, asking(shop, "buyer", "seller", 10_01))
        large = await proposed(shop, asking(shop, "buyer", "seller", 200_00))
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.execute("ALTER TABLE proposal DISABLE TRIGGER USER")
            await connection.execute(
                "UPDATE proposal SET sealed = (SELECT sealed FROM proposal WHERE proposal_id = %s)"
                " WHERE proposal_id = %s",
                [large, small],
            )
        assert (await approval_refused(console, small)).reason == "PROPOSAL_CHANGED"


@asynccontextmanager
async def beside(service: Locked, name: str) -> AsyncIterator[Marketplace]:
    """The same platform as this caller reaches it through a second process."""
    settings = service.service.components.settings.model_copy(update={"listen": "127.0.0.1:0"})
    async with running(settings) as second:
        channel = grpc.aio.secure_channel(f"localhost:{second.port}", service.authority.credentials(name))
        async with channel:
            other = Marketplace(service.dsn, service.sandbox, second, channel)
            other._numbers = itertools.count(9_000_000)
            yield other


async def test_approved_at_once_by_two_processes_it_runs_once(database: str, tmp_path: Path) -> None:
    async with (
        opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service,
        beside(service, CONSOLE) as second,
    ):
        operator, shop, first = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        requests = [asking(shop, "buyer", "seller", 10_01) for _ in range(5)]
        proposals = [await proposed(shop, request) for request in requests]
        await asyncio.gather(*(approve(one, proposal_id) for one in (first, second) for proposal_id in proposals))

        async def is_done() -> bool:
            found = [await proposal(first, proposal_id) for proposal_id in proposals]
            return all(one.state == approval_pb2.PROPOSAL_STATE_EXECUTED for one in found)

        await until(is_done, "all are carried out")
        assert (await operator.balance("buyer")).available_fen == 300_00 - 5 * 10_01
        assert operator.calls_received("MemberTransaction") == 5
        await operator.assert_agrees()


async def test_two_approvers_at_once_are_not_both_the_one_who_approved(database: str, tmp_path: Path) -> None:
    other = given(OTHER, "approve", "read.own", namespace="other")
    async with opened(database, tmp_path, PAYS, APPROVES, other, OF_SHOP) as service:
        shop, one, two = [await service.shop(name) for name in (SHOP, CONSOLE, OTHER)]
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        answers = await asyncio.gather(*(approve(each, proposal_id) for each in (one, two)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert len(refused) == 1
        late = await shop.refusal(reject(one, proposal_id))
        assert (late.reason, late.metadata["state"]) == ("PROPOSAL_DECIDED", "EXECUTED")


async def test_what_nobody_approves_in_time_expires_by_the_databases_clock(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP, proposal_life_s=0.5) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        request = asking(shop, "buyer", "seller", 20_00)
        proposal_id = await proposed(shop, request)

        async def is_expired() -> bool:
            return (await proposal(console, proposal_id)).state == approval_pb2.PROPOSAL_STATE_EXPIRED

        await until(is_expired, "it expires by itself")
        late = await approval_refused(console, proposal_id)
        assert (late.reason, late.metadata["state"]) == ("PROPOSAL_DECIDED", "EXPIRED")
        with pytest.raises(psycopg.errors.IntegrityError):
            await forge_decision(database, proposal_id, CONSOLE)
        gone = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (gone.reason, gone.outcome) == ("APPROVAL_EXPIRED", core_pb2.OUTCOME_NO_EFFECT)
        assert (await operator.balance("buyer")).available_fen == 300_00


async def test_what_is_rejected_never_runs_and_its_request_id_says_so(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        request = asking(shop, "buyer", "seller", 20_00)
        proposal_id = await proposed(shop, request)
        assert (await reject(console, proposal_id, "wrong supplier")).state == approval_pb2.PROPOSAL_STATE_REJECTED
        assert (await approval_refused(console, proposal_id)).reason == "PROPOSAL_DECIDED"
        refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.outcome) == ("APPROVAL_REJECTED", core_pb2.OUTCOME_NO_EFFECT)
        assert "wrong supplier" in refusal.message
        assert (await operator.balance("buyer")).available_fen == 300_00


async def test_other_content_under_a_proposed_request_id_is_refused(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        shop, console = await service.shop(SHOP), await service.shop(CONSOLE)
        request = asking(shop, "buyer", "seller", 20_00)
        proposal_id = await proposed(shop, request)
        other = payment_pb2.PayRequest()
        other.CopyFrom(request)
        other.amount_fen = 200_00
        refusal = await shop.refusal(shop.payments.Pay(other, timeout=TIMEOUT_S))
        assert (refusal.reason, refusal.metadata["proposal_id"]) == ("REQUEST_ID_REUSED", proposal_id)
        assert (await proposal(console, proposal_id)).amount_fen == 20_00


async def test_it_runs_with_the_rights_that_the_policy_gives_its_proposer_then(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        request = asking(shop, "buyer", "seller", 20_00)
        proposal_id = await proposed(shop, request)
        service.rewrite(EVERYTHING, given(SHOP, "read.own", namespace="shop"), APPROVES, OF_SHOP)

        async def is_taken_away() -> bool:
            dry = shop.pay_request("buyer", "seller", 1)
            dry.validate_only = True
            try:
                await shop.payments.Pay(dry, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError:
                return True
            return False

        await until(is_taken_away, "the right is taken away")
        refused = await approve(console, proposal_id)
        assert refused.state == approval_pb2.PROPOSAL_STATE_REFUSED
        assert refused.refusal == number_of("SCOPE_MISSING")
        service.rewrite(EVERYTHING, PAYS, APPROVES, OF_SHOP)

        async def is_answered() -> str:
            return (await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))).reason

        async def may_pay() -> bool:
            return await is_answered() != "SCOPE_MISSING"

        await until(may_pay, "the right is given back")
        assert await is_answered() == "APPROVED_CALL_REFUSED", "it is not tried again"
        assert (await operator.balance("buyer")).available_fen == 300_00


def number_of(name: str) -> int:
    """The number of an error reason."""
    return error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{name}")


async def test_without_money_the_approved_call_is_refused_once_and_for_all(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        request = asking(shop, "buyer", "seller", 300_01)
        refused = await approve(console, await proposed(shop, request))
        assert refused.state == approval_pb2.PROPOSAL_STATE_REFUSED
        assert refused.refusal == number_of("INSUFFICIENT_FUNDS")
        await operator.top_up("buyer", 100_00)
        again = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
        assert (again.reason, again.outcome) == ("INSUFFICIENT_FUNDS", core_pb2.OUTCOME_NO_EFFECT)
        await operator.assert_agrees()


async def test_a_process_that_dies_between_decision_and_run_leaves_it_to_any_other(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        request = asking(shop, "buyer", "seller", 20_00)
        proposal_id = await proposed(shop, request)
        with (
            patch.object(carrying.Carrying, "carry_out", side_effect=RuntimeError("the process dies here")),
            patch.object(service.service.components.proposals, "lease", return_value=None),
            patch("service.rpc.approvals.LEASE_S", 0.5),
        ):
            assert (await approval_refused(console, proposal_id)).outcome == core_pb2.OUTCOME_UNKNOWN
            between = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
            assert (between.reason, between.metadata["state"]) == ("APPROVAL_PENDING", "APPROVED")
            assert between.outcome == core_pb2.OUTCOME_UNKNOWN, "it may act at any moment"
            assert (await proposal(console, proposal_id)).state == approval_pb2.PROPOSAL_STATE_APPROVED
            async with beside(service, CONSOLE) as second:

                async def is_done() -> bool:
                    return (await proposal(second, proposal_id)).state == approval_pb2.PROPOSAL_STATE_EXECUTED

                await until(is_done, "the other process carries it out")
        assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.state == core_pb2.OPERATION_STATE_DONE
        assert (await operator.balance("buyer")).available_fen == 280_00
        await operator.assert_agrees()


async def test_a_process_that_dies_before_it_says_what_came_of_it_has_paid_once(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        with patch.object(service.service.components.proposals, "executed", side_effect=RuntimeError("dies here")):
            assert (await approve(console, proposal_id)).state == approval_pb2.PROPOSAL_STATE_APPROVED
        assert (await operator.balance("buyer")).available_fen == 280_00
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.execute("UPDATE proposal_due SET at = now()")

        async def is_told() -> bool:
            return (await proposal(console, proposal_id)).state == approval_pb2.PROPOSAL_STATE_EXECUTED

        await until(is_told, "the loop says what came of it")
        assert (await operator.balance("buyer")).available_fen == 280_00
        assert operator.calls_received("MemberTransaction") == 1
        await operator.assert_agrees()


async def test_while_the_bank_cannot_be_reached_it_is_tried_again_and_then_pays_once(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        bank = service.service.components.bank
        with patch.object(bank, "ready", side_effect=BankUnavailable("it is away")):
            assert (await approve(console, proposal_id)).state == approval_pb2.PROPOSAL_STATE_APPROVED
            assert (await operator.balance("buyer")).available_fen == 300_00

        async def is_done() -> bool:
            return (await proposal(console, proposal_id)).state == approval_pb2.PROPOSAL_STATE_EXECUTED

        await until(is_done, "it is tried again")
        assert (await operator.balance("buyer")).available_fen == 280_00
        await operator.assert_agrees()


async def test_restored_books_carry_nothing_out_that_may_have_run_after_the_copy(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        shop, console = await service.shop(SHOP), await service.shop(CONSOLE)
        pending, approved = [await proposed(shop, asking(shop, "buyer", "seller", 20_00)) for _ in range(2)]
        with patch.object(carrying.Carrying, "carry_out"):
            assert (await approve(console, approved)).state == approval_pb2.PROPOSAL_STATE_APPROVED
            copies.back_up(database, tmp_path / "copy")
    copies.restore(empty_database, tmp_path / "copy")
    engine = connect(empty_database, 1)
    try:
        store = Proposals(engine, "9930")
        found = [await store.proposal(UUID(one)) for one in (pending, approved)]
        assert [one.state for one in found if one] == [ProposalState.REJECTED, ProposalState.REFUSED]
        for one in found:
            assert one is not None
            assert problems.of_proposal(one).outcome == core_pb2.OUTCOME_UNKNOWN, "it may have run after the copy"
        assert await store.lease(1.0) is None
        assert await store.lease(1.0, UUID(approved)) is None
        assert await verify(engine, "9930") == []
    finally:
        await engine.dispose()


async def test_any_other_refusal_of_a_proposed_request_does_not_say_that_nothing_can_happen(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        shop = await service.shop(SHOP)
        request = asking(shop, "buyer", "seller", 20_00)
        await proposed(shop, request)
        service.rewrite(EVERYTHING, given(SHOP, "read.own", namespace="shop"), APPROVES, OF_SHOP)

        async def answer() -> Any:
            return await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))

        async def is_taken_away() -> bool:
            return bool((await answer()).reason == "SCOPE_MISSING")

        await until(is_taken_away, "the right is taken away")
        assert (await answer()).outcome == core_pb2.OUTCOME_UNKNOWN, "it can still be approved"


async def test_a_proposal_is_seen_by_who_may_approve_or_made_it_and_only_with_its_members(
    database: str, tmp_path: Path
) -> None:
    tables = (
        PAYS,
        APPROVES,
        given(OTHER, "read.own", namespace="other"),
        given(CONSOLE_TWO, "approve", "read.own", namespace="two", members=["s"]),
        OF_SHOP,
    )
    async with opened(database, tmp_path, *tables) as service:
        shop, console, other, narrow = [await service.shop(name) for name in (SHOP, CONSOLE, OTHER, CONSOLE_TWO)]
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        assert await listed(shop) == await listed(console) == [proposal_id]
        for stranger in (other, narrow):
            assert await listed(stranger) == []
            assert (await shop.refusal(proposal(stranger, proposal_id))).reason == "PROPOSAL_NOT_FOUND"
        assert (await approval_refused(narrow, proposal_id)).reason == "PROPOSAL_NOT_FOUND"
        assert (await approval_refused(other, proposal_id)).reason == "SCOPE_MISSING"
        assert (await shop.refusal(proposal(console, str(uuid4())))).reason == "PROPOSAL_NOT_FOUND"


async def test_proposals_are_listed_in_pages_by_state(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        shop, console = await service.shop(SHOP), await service.shop(CONSOLE)
        made = [await proposed(shop, asking(shop, "buyer", "seller", 10_01)) for _ in range(3)]
        await approve(console, made[0])
        await reject(console, made[1])
        assert await listed(console, page_size=1) == made[::-1]
        for state, wanted in (("EXECUTED", made[:1]), ("REJECTED", made[1:2]), ("PENDING", made[2:]), ("EXPIRED", [])):
            value = approval_pb2.ProposalState.Value(f"PROPOSAL_STATE_{state}")
            assert await listed(console, page_size=1, state=value) == wanted


async def test_no_page_of_proposals_tells_of_those_that_are_left_out(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, given(OTHER, "read.own", namespace="other"), OF_SHOP) as service:
        shop, other = await service.shop(SHOP), await service.shop(OTHER)
        for _ in range(2):
            await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        page = approval_pb2.ListProposalsRequest(page_size=1)
        assert (await other.approvals.ListProposals(page, timeout=TIMEOUT_S)).next_page_token == ""


async def test_what_is_paid_on_top_of_an_amount_is_marked_with_it(database: str, tmp_path: Path) -> None:
    marked = '[[approvals]]\nscopes = ["money.withdraw"]\namount_above_fen = 1000\n'
    async with opened(database, tmp_path, given(SHOP, "money.withdraw"), marked) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.merchant("rich", 300_00, withdrawable=True)
        refusal = await shop.refusal(withdrawals.withdraw(shop, "rich", 1_00, fee_fen=200_00))
        assert refusal.reason == "APPROVAL_REQUIRED"


async def test_whoever_asks_for_an_approval_gets_one_although_nothing_is_marked(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 1))
        assert (await operator.balance("buyer")).available_fen == 300_00
        assert (await approve(console, proposal_id)).state == approval_pb2.PROPOSAL_STATE_EXECUTED
        assert (await operator.balance("buyer")).available_fen == 299_99


async def test_an_approver_with_a_limit_approves_no_more_than_that(database: str, tmp_path: Path) -> None:
    limited = given(CONSOLE, "approve", "read.own", namespace="console", amount_per_call_fen=50_00)
    async with opened(database, tmp_path, PAYS, limited, OF_SHOP) as service:
        shop, console = await service.shop(SHOP), await service.shop(CONSOLE)
        large = await proposed(shop, asking(shop, "buyer", "seller", 50_01))
        assert (await approval_refused(console, large)).reason == "AMOUNT_NOT_PERMITTED"
        assert (await proposal(console, large)).state == approval_pb2.PROPOSAL_STATE_PENDING


async def test_what_is_kept_of_a_proposal_has_no_personal_values_in_the_clear(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        shop = await service.shop(SHOP)
        for reason in ("call 13800138000", "card 4111111111111111"):
            refusal = await shop.refusal(
                shop.payments.Pay(asking(shop, "buyer", "seller", 20_00, reason), timeout=TIMEOUT_S)
            )
            assert (refusal.reason, refusal.metadata["field"]) == ("REQUEST_INVALID", "approval.reason")
        request = asking(shop, "buyer", "seller", 20_00)
        request.remark = "only for the vault"
        await proposed(shop, request)
        async with await psycopg.AsyncConnection.connect(database) as connection:
            rows = await (await connection.execute("SELECT p::text, sealed FROM proposal p")).fetchall()
        assert len(rows) == 1
        assert "only for the vault" not in rows[0][0]
        assert b"only for the vault" not in bytes(rows[0][1])


@pytest.mark.parametrize("is_approved", [True, False])
@pytest.mark.parametrize(
    "change", ["proposal_decision SET caller", "proposal_decision SET person", "proposal SET person"]
)
async def test_a_name_that_was_changed_is_found_by_verify(
    database: str, tmp_path: Path, change: str, *, is_approved: bool
) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        proposal_id = await proposed(shop, asking(shop, "buyer", "seller", 20_00))
        await (approve if is_approved else reject)(console, proposal_id)
        await operator.assert_agrees()
        async with await psycopg.AsyncConnection.connect(database) as connection:
            # As the owner of the tables can: constraints and triggers are away meanwhile.
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(f"UPDATE {change} = 'nobody'".encode())
        expected = {"a proposal and its decision have the names of the audit trail"}
        if is_approved:
            expected.add("an operation was approved as its proposal says")
        assert await findings(operator) == expected


async def findings(shop: Marketplace) -> set[str]:
    """What a replay of the books finds wrong."""
    return {
        answer.finding.check
        async for answer in shop.balances.VerifyBooks(balance_pb2.VerifyBooksRequest(), timeout=TIMEOUT_S)
        if answer.HasField("finding")
    }


def test_every_call_that_moves_money_can_be_proposed_by_the_same_field_and_no_other_can() -> None:
    money = {
        options_pb2.SCOPE_MONEY_PAY,
        options_pb2.SCOPE_MONEY_REFUND,
        options_pb2.SCOPE_MONEY_WITHDRAW,
        options_pb2.SCOPE_MANUAL,
    }
    for name, method in methods().items():
        field = method.input_type.fields_by_name.get("approval")
        is_money = "request_id" in method.input_type.fields_by_name and facts(method).scope in money
        assert (field is not None) == is_money, name
        if field is not None:
            assert (field.number, field.message_type) == (15, approval_pb2.Approval.DESCRIPTOR), name
            operation = method.output_type.fields_by_name["operation"]
            assert operation.message_type is core_pb2.Operation.DESCRIPTOR, "what it becomes is an operation"


async def test_the_operation_that_was_approved_shows_who_approved_it_in_lists(database: str, tmp_path: Path) -> None:
    async with opened(database, tmp_path, PAYS, APPROVES, OF_SHOP) as service:
        operator, shop, console = [await service.shop(name) for name in (OPERATOR, SHOP, CONSOLE)]
        done = await approve(console, await proposed(shop, asking(shop, "buyer", "seller", 20_00)))
        wanted = operation_pb2.ListOperationsRequest(caller=SHOP)
        (found,) = (await operator.operations.ListOperations(wanted, timeout=TIMEOUT_S)).operations
        assert (found.operation_id, found.approver_caller) == (done.operation_id, CONSOLE)
