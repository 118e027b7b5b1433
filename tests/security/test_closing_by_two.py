"""A bank day is signed by two identities, each with its own scope; nobody else closes anything."""

from __future__ import annotations

from pathlib import Path

import grpc
import psycopg
import pytest

from jzb.v1 import reconciliation_pb2 as pb
from tests.world.callers import OPERATOR, given, locked
from tests.world.days import approve, breaks, day_of, lines, propose, run_day
from tests.world.marketplace import TIMEOUT_S

FINANCE = "spiffe://test/finance"
CHIEF = "spiffe://test/chief"
READER = "spiffe://test/reader"

POLICY = (
    given(FINANCE, "manual", "read.all", "admin", namespace="finance"),
    given(CHIEF, "approve", "read.all", namespace="chief"),
    given(READER, "read.all", namespace="reader"),
)


async def test_a_day_is_closed_by_one_who_proposes_and_another_who_approves(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, *POLICY) as service:
        shop = await service.shop(OPERATOR)
        finance, chief, reader = [await service.shop(name) for name in (FINANCE, CHIEF, READER)]
        await shop.buyer("buyer", 100_00)
        paid = await shop.pay("buyer", await shop.merchant("seller"), 10_00)
        await shop.clear()
        day = paid.bank_day
        await run_day(finance, day)

        for caller, call in (
            (reader, lambda: propose(reader, day)),
            (chief, lambda: propose(chief, day)),
            (finance, lambda: approve(finance, day, "0" * 64)),
            (reader, lambda: run_day(reader, day)),
            (reader, lambda: lines(reader, day, pb.BANK_SOURCE_TOP_UPS)),
        ):
            refusal = await caller.refusal(call())
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")

        early = await chief.refusal(approve(chief, day, "0" * 64))
        assert early.reason == "DAY_NOT_READY"
        assert "nobody has signed" in early.message
        (signature,) = (await propose(finance, day, "clean")).signatures
        other = await chief.refusal(approve(chief, day, "0" * 64))
        assert other.reason == "DAY_NOT_READY"
        signed = await approve(chief, day, signature.digest)
        assert signed.state == pb.RECONCILIATION_STATE_SIGNED
        assert [one.caller for one in signed.signatures] == [FINANCE, CHIEF]
        assert {one.digest for one in signed.signatures} == {signature.digest}
        assert (await day_of(reader, day)).state == pb.RECONCILIATION_STATE_SIGNED
        again = await finance.refusal(propose(finance, day))
        assert (again.code, again.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DAY_SIGNED")
        assert await breaks(reader) == []


async def test_postgresql_refuses_two_signatures_of_one_identity(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, *POLICY) as service:
        shop, finance = await service.shop(OPERATOR), await service.shop(FINANCE)
        await shop.buyer("buyer", 100_00)
        paid = await shop.pay("buyer", await shop.merchant("seller"), 10_00)
        await shop.clear()
        await run_day(finance, paid.bank_day)
        await propose(finance, paid.bank_day)
        async with await psycopg.AsyncConnection.connect(database) as connection:
            with pytest.raises(psycopg.errors.CheckViolation, match="sign_off_by_another"):
                await connection.execute(
                    """
                    INSERT INTO sign_off (
                      platform, bank_day, digest, place, caller, person, note, statement, first_place, first_caller,
                      first_person, mac
                    )
                    SELECT platform, bank_day, digest, 2, caller, person, note, statement, 1, caller, person, mac
                    FROM sign_off
                    """
                )


async def test_what_was_decided_of_a_day_is_in_the_audit_trail(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, *POLICY) as service:
        finance = await service.shop(FINANCE)
        refusal = await finance.refusal(
            finance.reconciliation.CloseBreak(
                pb.CloseBreakRequest(break_id="0b5a1f60-6f0e-4c43-9b0e-0d8f8a5f3c11", note="of no matter"),
                timeout=TIMEOUT_S,
            )
        )
        assert refusal.reason == "BREAK_NOT_FOUND"
        async with await psycopg.AsyncConnection.connect(database) as connection:
            found = await connection.execute("SELECT method, caller, subject FROM audit_entry ORDER BY number LIMIT 1")
            entry = await found.fetchone()
        assert entry is not None
        assert entry[:2] == ("jzb.v1.ReconciliationService/CloseBreak", FINANCE)
        assert "0b5a1f60" in entry[2]
