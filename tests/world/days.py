"""Requests about bank days that are over, and what came of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from jzb.v1 import core_pb2
from jzb.v1 import reconciliation_pb2 as pb
from jzb.v1.reconciliation_pb2 import BankSource, BreakState, BreakType, ReconciliationState
from sandbox.clock import BankClock
from tests.world.marketplace import TIMEOUT_S, Marketplace, Refusal

FILE_SERVICE = "ReconciliationDocumentQuery"
DONE = core_pb2.OPERATION_STATE_DONE


def days_ago(days: int) -> BankClock:
    """The clock of a bank for which it is so many days earlier, so that its day is over here."""
    return BankClock(lambda: datetime.now(UTC) - timedelta(days=days))


async def run_day(shop: Marketplace, bank_day: str) -> pb.ReconciledDay:
    """Load and match a day now."""
    answer = await shop.reconciliation.RunDay(pb.RunDayRequest(bank_day=bank_day), timeout=TIMEOUT_S)
    return answer.day


async def day_of(shop: Marketplace, bank_day: str) -> pb.ReconciledDay:
    """A day as it stands."""
    request = pb.GetReconciledDayRequest(bank_day=bank_day)
    return (await shop.reconciliation.GetReconciledDay(request, timeout=TIMEOUT_S)).day


async def day_refused(shop: Marketplace, bank_day: str) -> Refusal:
    """The error of loading a day now."""
    return await shop.refusal(shop.reconciliation.RunDay(pb.RunDayRequest(bank_day=bank_day), timeout=TIMEOUT_S))


def states(day: pb.ReconciledDay) -> dict[str, str]:
    """How far each file and list is, by words: TOP_UPS is CLEAN."""
    return {
        BankSource.Name(one.source).removeprefix("BANK_SOURCE_"): ReconciliationState.Name(one.state).removeprefix(
            "RECONCILIATION_STATE_"
        )
        for one in day.sources
    }


def source(day: pb.ReconciledDay, wanted: BankSource.ValueType) -> pb.ReconciledSource:
    """One file or list of a day."""
    (found,) = (one for one in day.sources if one.source == wanted)
    return found


async def breaks(shop: Marketplace, **wanted: Any) -> list[pb.Break]:
    """Breaks that fit, of the first page."""
    page = await shop.reconciliation.ListBreaks(pb.ListBreaksRequest(page_size=200, **wanted), timeout=TIMEOUT_S)
    return list(page.breaks)


async def open_breaks(shop: Marketplace, bank_day: str) -> list[tuple[str, str, int]]:
    """Type, state and difference in fen of the breaks of a day that are not closed."""
    wanted = [pb.BREAK_STATE_OPEN, pb.BREAK_STATE_CARRIED, pb.BREAK_STATE_HELD]
    return sorted(
        (
            BreakType.Name(one.type).removeprefix("BREAK_TYPE_"),
            BreakState.Name(one.state).removeprefix("BREAK_STATE_"),
            one.difference_fen,
        )
        for one in await breaks(shop, first_bank_day=bank_day, last_bank_day=bank_day, states=wanted)
    )


async def lines(shop: Marketplace, bank_day: str, wanted: BankSource.ValueType, **more: Any) -> list[pb.BankLine]:
    """The lines of a file or list."""
    request = pb.ListBankLinesRequest(bank_day=bank_day, source=wanted, **more)
    return [answer.line async for answer in shop.reconciliation.ListBankLines(request, timeout=TIMEOUT_S)]


async def proof(shop: Marketplace, bank_day: str) -> dict[str, pb.GetBalanceProofResponse]:
    """The balance proof of a day by member; the pooled account has an empty one."""
    request = pb.GetBalanceProofRequest(bank_day=bank_day)
    return {row.member_id: row async for row in shop.reconciliation.GetBalanceProof(request, timeout=TIMEOUT_S)}


async def propose(shop: Marketplace, bank_day: str, note: str = "") -> pb.ReconciledDay:
    """Sign a day first."""
    request = pb.ProposeSignOffRequest(bank_day=bank_day, note=note)
    return (await shop.reconciliation.ProposeSignOff(request, timeout=TIMEOUT_S)).day


async def approve(shop: Marketplace, bank_day: str, digest: str) -> pb.ReconciledDay:
    """Sign a day second."""
    request = pb.ApproveSignOffRequest(bank_day=bank_day, digest=digest)
    return (await shop.reconciliation.ApproveSignOff(request, timeout=TIMEOUT_S)).day
