"""What every servicer works with, and the facts that plans are made from."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

import grpc
from google.protobuf.message import Message

from bankclient import BankClient, SubAccountBalances, yuan
from jzb.v1.names import ErrorReason
from jzb.v1.verification_pb2 import Verification
from ledger import Card, Cards, CardState, Lists, Member, Numbers, Reads, Writer
from service import problems
from service.feed import Feed
from service.inflows.card_list import CardList
from service.inflows.clearing import Clearing
from service.inflows.recorder import Recorder
from service.inflows.returns import Returns
from service.inflows.transfers import Transfers
from service.path.admission import Admission
from service.path.repeats import Repeats
from service.path.resolver import Resolver
from service.path.runner import Runner
from service.plans.plan import NAMELESS, Facts, Names
from service.plans.verification import mode_of
from service.problems import Problem
from service.settings import RulesSettings, Settings
from service.vault import Personal, Vault, VaultClosed, VaultKeyMissing, card_of

# grpc-stubs makes generic what grpcio does not.
if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200


@dataclass(frozen=True, slots=True)
class Desk:
    """The service's parts, made once by `service.process.server`."""

    writer: Writer
    runner: Runner
    admission: Admission
    repeats: Repeats
    reads: Reads
    lists: Lists
    feed: Feed
    bank: BankClient
    resolver: Resolver
    clearing: Clearing
    settings: Settings
    numbers: Numbers
    recorder: Recorder
    returns: Returns
    transfers: Transfers
    cards: Cards
    vault: Vault
    card_list: CardList

    async def member(self, member_id: str) -> Member:
        """A member, open or closed. Raises `Problem`."""
        found = await self.reads.member(member_id)
        if found is None:
            raise problems.not_found(ErrorReason.MEMBER_NOT_FOUND, "member", member_id)
        return found

    async def facts(
        self,
        payers: Sequence[str] = (),
        payees: Sequence[str] = (),
        others: Sequence[str] = (),
        *,
        between_same_name: bool = False,
    ) -> Facts:
        """The named members, each open and fit for its place (quick start, 6000: 00 pays only, SH collects only).

        With ``between_same_name`` the two members of one customer may pay each other both ways (quick start, 6167).
        """
        wanted = [*payers, *payees, *others]
        found = await self.reads.members(wanted)
        for member_id in wanted:
            if member_id not in found:
                raise problems.not_found(ErrorReason.MEMBER_NOT_FOUND, "member", member_id)
            if not found[member_id].is_open:
                raise problems.member_closed(member_id)
        for member_id in payers:
            if member_id in payees:
                raise problems.invalid("payee_member_id", f"{member_id} cannot pay itself", ErrorReason.SAME_MEMBER)
            if between_same_name and found[member_id].same_name in payees:
                continue
            if found[member_id].property != "00":
                raise problems.precondition(
                    ErrorReason.MEMBER_CANNOT_PAY,
                    f"member {member_id} is a merchant (SH), which collects and does not pay (只收款不付款)",
                    "pay from an ordinary member (00); the request id is not used up",
                    member_id=member_id,
                    property="SH",
                )
        for member_id in payees:
            if between_same_name and found[member_id].same_name in payers:
                continue
            if found[member_id].property != "SH":
                raise problems.precondition(
                    ErrorReason.MEMBER_CANNOT_COLLECT,
                    f"member {member_id} is ordinary (00), which pays and does not collect (只付款不收款)",
                    "pay to a merchant (SH); the request id is not used up",
                    member_id=member_id,
                    property="00",
                )
        return Facts(found)

    async def card(self, card_id: str) -> Card:
        """A card, whatever its state. Raises `Problem`."""
        found = await self.cards.card(UUID(card_id))
        if found is None:
            raise problems.not_found(ErrorReason.CARD_NOT_FOUND, "card", card_id)
        return found

    async def bound_card(self, card_id: str, member_id: str = "") -> tuple[Card, Personal]:
        """A bound card, of that member if one is named, and what is sealed of it. Raises `Problem`."""
        card = await self.card(card_id)
        if card.state is not CardState.BOUND or member_id not in ("", card.member_id):
            belongs = "is not bound" if member_id in ("", card.member_id) else f"is not a card of member {member_id}"
            raise problems.precondition(
                ErrorReason.CARD_NOT_BOUND,
                f"card {card_id} {belongs}",
                "bind the card to the member first; the request id is not used up",
                card_id=card_id,
                state=card.state.name,
            )
        return card, self.opened(card)

    def opened(self, card: Card) -> Personal:
        """What is sealed of a card. Raises `Problem` when the settings have no key for it."""
        try:
            return card_of(self.vault, card)
        except (VaultClosed, VaultKeyMissing) as missing:
            raise problems.key_missing(str(missing)) from None

    def require_vault(self) -> Vault:
        """The vault, which has a key. Raises `Problem`."""
        if not self.vault.is_open:
            raise problems.key_missing("there is no key under which personal values could be kept")
        return self.vault

    async def names_for(self, verification: Verification, payer: Member, payee: Member) -> Names:
        """Both account names where the request's flavour wants them (6006), else none."""
        return await self.names(payer, payee) if mode_of(verification) == "password" else NAMELESS

    async def names(self, payer: Member, payee: Member) -> Names:
        """Both account names, as the bank has them now (6010). Raises `Problem` before anything is reserved."""
        return Names(await self.name(payer), await self.name(payee))

    async def name(self, member: Member) -> str:
        """A member's account name, as the bank has it now (6010). Raises `Problem` before anything is reserved."""
        question = SubAccountBalances(QueryFlag="2", SubAcctNo=member.sub_account)
        answer = await self.bank.call(question)
        if answer.reply is None:
            raise problems.bank_unavailable(f"6010 was to name an account: {answer.detail}")
        rows = [row for row in answer.reply.AcctArray if row.SubAcctNo == member.sub_account]
        if not rows or not rows[0].SubAcctName:
            raise problems.precondition(
                ErrorReason.MEMBER_NAME_MISSING,
                f"the bank has no name for the sub-account of member {member.member_id}, which this interface wants",
                "bind a card of the member first; the request id is not used up",
                member_id=member.member_id,
            )
        return str(rows[0].SubAcctName)


def whole_or_in_parts(rules: RulesSettings, amount_fen: int, left_fen: int) -> None:
    """Less than lies in escrow is confirmed or given back only where the bank has said that it may be. Raises
    `Problem`. More than that is the floor's to refuse.
    """
    if rules.order_in_parts or amount_fen >= left_fen:
        return
    raise problems.not_enabled(
        "6034 in parts",
        f"amount_fen: {yuan(amount_fen)} is a part of the order's {yuan(left_fen)}, and no document of the bank says"
        " that orders may be ended in parts; confirm or cancel the whole order",
        "JZB_RULES__ORDER_IN_PARTS",
    )


def fee_within(amount_fen: int, fee_fen: int) -> None:
    """A fee is taken out of its amount and cannot exceed it. Raises `Problem`."""
    if fee_fen > amount_fen:
        raise Problem(
            code=problems.invalid("fee_fen", "").code,
            reason=ErrorReason.FEE_EXCEEDS_AMOUNT,
            message=f"fee_fen: {fee_fen} is more than amount_fen {amount_fen}",
            next_step="correct the request; the request id is not used up",
            metadata={"field": "fee_fen", "amount_fen": str(amount_fen), "fee_fen": str(fee_fen)},
            amounts={"amount": amount_fen, "fee": fee_fen},
            violations=(("fee_fen", f"{fee_fen} is more than amount_fen {amount_fen}"),),
        )


def page_size(asked: int) -> int:
    """How many rows a page gets (AIP-158)."""
    return min(asked, PAGE_SIZE_MAX) if asked > 0 else PAGE_SIZE_DEFAULT


def page_token(last: str, request: Message | None = None) -> str:
    """The token of the page behind ``last``, good for this list with the request's filters; without one a cursor, good
    for any filters.
    """
    return base64.urlsafe_b64encode(_filters(request) + last.encode()).decode().rstrip("=")


def page_start(token: str, request: Message | None = None, field: str = "page_token") -> str:
    """What `page_token` was made from; empty for the first page. Raises `Problem`."""
    if not token:
        return ""
    filters = _filters(request)
    try:
        found = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if not found.startswith(filters):
            raise problems.invalid(field, "belongs to other filters", ErrorReason.PAGE_TOKEN_INVALID)
        start = found.removeprefix(filters).decode("utf-8")
    except (UnicodeError, binascii.Error, ValueError):
        raise problems.invalid(field, "is not a token of this service", ErrorReason.PAGE_TOKEN_INVALID) from None
    # PostgreSQL takes no NUL, and nothing that a page begins behind has a control character.
    if not start.isprintable():
        raise problems.invalid(field, "is not a token of this service", ErrorReason.PAGE_TOKEN_INVALID)
    return start


def _filters(request: Message | None) -> bytes:
    if request is None:
        return b""
    content = type(request)()
    content.CopyFrom(request)
    for name in ("page_size", "page_token"):
        content.ClearField(name)
    listed = content.DESCRIPTOR.full_name.encode() + content.SerializeToString(deterministic=True)
    return hashlib.sha256(listed).digest()[:6]


def bank_day(field: str, text: str, reason: ErrorReason = ErrorReason.BANK_DAY_INVALID) -> date:
    """A day as the contract writes it. Raises `Problem`.

    Only of this century: the bank's serials write a year in two digits.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise problems.invalid(field, f"{text!r} is no day of the calendar", reason) from None
    if not 2000 <= day.year < 2100:
        raise problems.invalid(field, f"{text} is not within 2000 and 2099", reason)
    return day
