"""What every servicer works with, and the facts that plans are made from."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import grpc

from bankclient import BankClient
from ledger import Member, Reads
from service import problems
from service.clearing import Clearing
from service.plans.plan import Facts
from service.problems import Problem
from service.resolver import Resolver
from service.runner import Runner
from service.settings import Settings

# grpc-stubs makes generic what grpcio does not.
if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000


@dataclass(frozen=True, slots=True)
class Desk:
    """The service's parts, made once by `service.server`."""

    runner: Runner
    reads: Reads
    bank: BankClient
    resolver: Resolver
    clearing: Clearing
    settings: Settings

    async def member(self, member_id: str) -> Member:
        """A member, open or closed. Raises `Problem`."""
        found = await self.reads.member(member_id)
        if found is None:
            raise problems.not_found("MEMBER_NOT_FOUND", "member", member_id)
        return found

    async def facts(self, payers: Sequence[str] = (), payees: Sequence[str] = (), others: Sequence[str] = ()) -> Facts:
        """The named members, each open and fit for its place (quick start, 6000: 00 pays only, SH collects only)."""
        wanted = [*payers, *payees, *others]
        found = await self.reads.members(wanted)
        for member_id in wanted:
            if member_id not in found:
                raise problems.not_found("MEMBER_NOT_FOUND", "member", member_id)
            if not found[member_id].is_open:
                raise problems.precondition(
                    "MEMBER_CLOSED",
                    f"member {member_id} is closed",
                    "use an open member; the request id is not used up",
                    member_id=member_id,
                )
        for member_id in payers:
            if member_id in payees:
                raise problems.invalid("payee_member_id", f"{member_id} cannot pay itself", "SAME_MEMBER")
            if found[member_id].property != "00":
                raise problems.precondition(
                    "MEMBER_CANNOT_PAY",
                    f"member {member_id} is a merchant (SH), which collects and does not pay (只收款不付款)",
                    "pay from an ordinary member (00); the request id is not used up",
                    member_id=member_id,
                )
        for member_id in payees:
            if found[member_id].property != "SH":
                raise problems.precondition(
                    "MEMBER_CANNOT_COLLECT",
                    f"member {member_id} is ordinary (00), which pays and does not collect (只付款不收款)",
                    "pay to a merchant (SH); the request id is not used up",
                    member_id=member_id,
                )
        return Facts(found)


def fee_within(amount_fen: int, fee_fen: int) -> None:
    """A fee is taken out of its amount and cannot exceed it. Raises `Problem`."""
    if fee_fen > amount_fen:
        raise Problem(
            code=problems.invalid("fee_fen", "").code,
            reason="FEE_EXCEEDS_AMOUNT",
            message=f"fee_fen: {fee_fen} is more than amount_fen {amount_fen}",
            next_step="correct the request; the request id is not used up",
            amounts={"amount": amount_fen, "fee": fee_fen},
            violations=(("fee_fen", f"{fee_fen} is more than amount_fen {amount_fen}"),),
        )


def page_size(asked: int) -> int:
    """How many rows a page gets (AIP-158)."""
    return min(asked, PAGE_SIZE_MAX) if asked > 0 else PAGE_SIZE_DEFAULT


def page_token(last: str) -> str:
    """The token of the page behind ``last``."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def page_start(token: str) -> str:
    """What `page_token` was made from; empty for the first page. Raises `Problem`."""
    try:
        return base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4)).decode("utf-8")
    except (UnicodeError, binascii.Error, ValueError):
        raise problems.invalid("page_token", "is not a token of this service", "PAGE_TOKEN_INVALID") from None


def bank_day(field: str, text: str) -> date:
    """A day as the contract writes it. Raises `Problem`."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise problems.invalid(field, f"{text!r} is no day of the calendar", "BANK_DAY_INVALID") from None
