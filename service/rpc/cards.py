"""CardService: members' cards (6066, 6067, 6055, 6064, 6061, 6065, 6138, 6098).

The bank's limits are judged here first, by what the mirror knows, so that a caller learns why before anything is sent;
the bank has the last word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import grpc
import uuid_utils
from google.protobuf.message import Message

from bankclient import BANK_ZONE, BankClient, SmallTransferResult
from jzb.v1 import card_pb2, card_pb2_grpc
from jzb.v1.names import ErrorReason
from ledger import Card, Cards, CardState, CheckedBy, Member
from ledger.names import MemberCode
from service import problems, view
from service.inflows.card_list import CardList
from service.path.parties import Parties
from service.path.repeats import Repeats
from service.path.runner import Runner, Settled
from service.plans import cards
from service.plans.cards import KEPT_CARD
from service.plans.plan import Plan, Serials
from service.policy import present
from service.problems import Problem
from service.questions.calls import reply_of
from service.questions.cards import ARRIVED, FAILED, UNDER_WAY, transfer_of
from service.rpc.context import Context
from service.rpc.facts import CardFacts, MemberFacts
from service.settings import CardsSettings
from service.vault import Vault, binding_of, masked

R = TypeVar(
    "R",
    card_pb2.CheckCardBySmsResponse,
    card_pb2.ConfirmCardBySmsResponse,
    card_pb2.CheckCardByTransferResponse,
    card_pb2.ConfirmCardByTransferResponse,
    card_pb2.UnbindCardResponse,
    card_pb2.CorrectCardBranchResponse,
)

DIRECTIONS = {
    card_pb2.TRANSFER_DIRECTION_PAY_OUT: CheckedBy.PAY_OUT,
    card_pb2.TRANSFER_DIRECTION_PAY_IN: CheckedBy.PAY_IN,
}
TRANSFER_STATES = {
    ARRIVED: card_pb2.CARD_TRANSFER_STATE_ARRIVED,
    FAILED: card_pb2.CARD_TRANSFER_STATE_FAILED,
    UNDER_WAY: card_pb2.CARD_TRANSFER_STATE_UNDER_WAY,
}
TRANSFERS = (CheckedBy.PAY_OUT, CheckedBy.PAY_IN)


@dataclass(frozen=True, kw_only=True)
class CardsRpc(card_pb2_grpc.CardServiceServicer):
    """See protos/jzb/v1/card.proto."""

    runner: Runner
    bank: BankClient
    repeats: Repeats
    card_list: CardList
    cards: Cards
    vault: Vault
    members: MemberFacts
    card_facts: CardFacts
    parties: Parties
    limits: CardsSettings

    async def CheckCardBySms(
        self, request: card_pb2.CheckCardBySmsRequest, context: Context
    ) -> card_pb2.CheckCardBySmsResponse:
        """6066."""

        async def plan(serials: Serials) -> Plan:
            member = await self._member(request)
            await self._require_checks_remaining(request.card_number)
            card = self._new_card(request, CheckedBy.SMS)
            return cards.check_by_sms(request, member, card, serials, self.limits.sms_life_s)

        return await self._answer(card_pb2.CheckCardBySmsResponse, await self._run(request, plan))

    async def ConfirmCardBySms(
        self, request: card_pb2.ConfirmCardBySmsRequest, context: Context
    ) -> card_pb2.ConfirmCardBySmsResponse:
        """6067."""

        async def plan(_: Serials) -> Plan:
            card, member = await self._under_check(request.card_id, (CheckedBy.SMS,))
            return cards.confirm_by_sms(member, card, self.card_facts.opened(card).number, request.code)

        return await self._answer(card_pb2.ConfirmCardBySmsResponse, await self._run(request, plan))

    async def CheckCardByTransfer(
        self, request: card_pb2.CheckCardByTransferRequest, context: Context
    ) -> card_pb2.CheckCardByTransferResponse:
        """6055."""

        async def plan(serials: Serials) -> Plan:
            member = await self._member(request)
            direction = DIRECTIONS[request.direction]
            if direction is CheckedBy.PAY_OUT:
                await self._require_small_transfers_remaining(member)
            card = self._new_card(request, direction)
            return cards.check_by_transfer(request, member, card, serials, self.limits.transfer_life_s)

        return await self._answer(card_pb2.CheckCardByTransferResponse, await self._run(request, plan))

    async def ConfirmCardByTransfer(
        self, request: card_pb2.ConfirmCardByTransferRequest, context: Context
    ) -> card_pb2.ConfirmCardByTransferResponse:
        """6064."""

        async def plan(_: Serials) -> Plan:
            card, member = await self._under_check(request.card_id, TRANSFERS)
            if (card.checked_by is CheckedBy.PAY_OUT) != (request.received_fen > 0):
                message = "is the amount received of a PAY_OUT, and 0 of a PAY_IN"
                raise problems.invalid("received_fen", message, rule="received_fen.direction")
            return cards.confirm_by_transfer(member, card, self.card_facts.opened(card).number, request.received_fen)

        return await self._answer(card_pb2.ConfirmCardByTransferResponse, await self._run(request, plan))

    async def GetCardTransfer(
        self, request: card_pb2.GetCardTransferRequest, context: Context
    ) -> card_pb2.GetCardTransferResponse:
        """6061."""
        card = await self.card_facts.get(request.card_id)
        if card.checked_by is not CheckedBy.PAY_OUT:
            raise _ended(card, "kind")
        reply = reply_of(await transfer_of(self.bank, card.serial), SmallTransferResult.code)
        if reply is None:
            return card_pb2.GetCardTransferResponse()
        return card_pb2.GetCardTransferResponse(
            state=TRANSFER_STATES.get(reply.ReturnStatu, card_pb2.CARD_TRANSFER_STATE_UNSPECIFIED),
            bank_message=reply.ReturnMsg or "",
        )

    async def UnbindCard(self, request: card_pb2.UnbindCardRequest, context: Context) -> card_pb2.UnbindCardResponse:
        """6065."""

        async def plan(_: Serials) -> Plan:
            card, personal = await self.card_facts.get_bound(request.card_id)
            await self.parties.require_card_unneeded(card.member_id, request.card_id)
            return cards.unbind(await self.members.get(card.member_id), card, personal.number)

        return await self._answer(card_pb2.UnbindCardResponse, await self._run(request, plan))

    async def CorrectCardBranch(
        self, request: card_pb2.CorrectCardBranchRequest, context: Context
    ) -> card_pb2.CorrectCardBranchResponse:
        """6138."""

        async def plan(_: Serials) -> Plan:
            card, personal = await self.card_facts.get_bound(request.card_id)
            return cards.correct_branch(request, await self.members.get(card.member_id), card, personal.number)

        return await self._answer(card_pb2.CorrectCardBranchResponse, await self._run(request, plan))

    async def RefreshCards(
        self, request: card_pb2.RefreshCardsRequest, context: Context
    ) -> card_pb2.RefreshCardsResponse:
        """6098."""
        operation = await self.repeats.earlier(request)
        if operation is None:
            self.card_facts.require_vault()
            member = await self.members.get_open(MemberCode(request.member_id))
            operation = (await self.repeats.enter(request, lambda key: self.card_list.refresh(key, member))).operation
        found = await self.cards.of_member(MemberCode(request.member_id), (CardState.BOUND,))
        # Its change of the cards is all that it is: it has no parts.
        return card_pb2.RefreshCardsResponse(
            operation=view.operation(operation, ()), cards=[view.card(card) for card in found]
        )

    async def GetCard(self, request: card_pb2.GetCardRequest, context: Context) -> card_pb2.GetCardResponse:
        """From the mirror."""
        return card_pb2.GetCardResponse(card=view.card(await self.card_facts.get(request.card_id)))

    async def ListCards(self, request: card_pb2.ListCardsRequest, context: Context) -> card_pb2.ListCardsResponse:
        """From the mirror. Checks past their time are left out."""
        member = await self.members.get(MemberCode(request.member_id))
        found = await self.cards.of_member(member.member_id, (CardState.CHECKING, CardState.BOUND))
        return card_pb2.ListCardsResponse(cards=[view.card(card) for card in found if not self._why_ended(card)])

    async def _run(self, request: Message, plan: Callable[[Serials], Awaitable[Plan]]) -> Settled:
        async def with_vault(serials: Serials) -> Plan:
            # In the plan: a repeat has its answer, key or no key.
            self.card_facts.require_vault()
            return await plan(serials)

        return await self.runner.run(request, with_vault)

    async def _answer(self, response: type[R], settled: Settled) -> R:
        card = await self.card_facts.get(settled.operation.plan["keep"][KEPT_CARD])
        return response(operation=settled.message, card=view.card(card))

    async def _member(self, request: card_pb2.CheckCardBySmsRequest | card_pb2.CheckCardByTransferRequest) -> Member:
        """The open member, whose card is bound neither to it nor to another customer's sub-account."""
        member = await self.members.get_open(MemberCode(request.member_id))
        for other in await self.cards.bound(self.vault.digests(request.card_number)):
            if other.member_id == member.member_id:
                raise Problem(
                    grpc.StatusCode.ALREADY_EXISTS,
                    ErrorReason.CARD_ALREADY_BOUND,
                    f"member {member.member_id} has bound this card already, as {other.card_id}",
                    next_step="use the card that is bound; the request id is not used up",
                    metadata={"card_id": str(other.card_id)},
                )
            if not self.limits.shared and other.member_id != member.same_name:
                shown = other.member_id if present().has_member(other.member_id) else ""
                raise problems.precondition(
                    ErrorReason.CARD_BOUND_ELSEWHERE,
                    f"the card is bound to {'member' if shown else 'another member'} {shown}".rstrip(),
                    "unbind it there, or have the bank allow shared cards and set JZB_CARDS__SHARED;"
                    " the request id is not used up",
                    member_id=shown,
                )
        return member

    async def _require_checks_remaining(self, number: str) -> None:
        digests = self.vault.digests(number)
        limit = self.limits.sms_checks_a_day
        if await self.cards.checks_today(digests, CheckedBy.SMS, BANK_ZONE.key) >= limit:
            raise problems.precondition(
                ErrorReason.CARD_CHECKS_USED_UP,
                f"the card {masked(number)} was checked {limit} times today, which is what the bank allows",
                "try again tomorrow, or check it by a transfer; the request id is not used up",
                limit=str(limit),
            )

    async def _require_small_transfers_remaining(self, member: Member) -> None:
        last = await self.cards.last_check(member.member_id, CheckedBy.PAY_OUT)
        if last is None:
            return
        left_s = self.limits.pay_out_interval_s - last.age_s
        if left_s > 0:
            problem = problems.precondition(
                ErrorReason.CARD_TRANSFER_TOO_SOON,
                f"the bank pays out once in {timedelta(seconds=self.limits.pay_out_interval_s)} to check a card,"
                f" and did so for {last.card_id}",
                "hand in the amount of that card, or try again later; the request id is not used up",
                card_id=str(last.card_id),
            )
            raise replace(problem, retry_after_s=left_s)

    async def _under_check(self, card_id: str, kinds: tuple[CheckedBy, ...]) -> tuple[Card, Member]:
        card = await self.card_facts.get(card_id)
        why = "kind" if card.checked_by not in kinds else self._why_ended(card)
        if card.state is CardState.BOUND:
            why = "bound"
        if why:
            raise _ended(card, why)
        return card, await self.members.get(card.member_id)

    def _why_ended(self, card: Card) -> str:
        """Why a check can no longer succeed; empty while it can, and for a bound card."""
        if card.state is CardState.BOUND:
            return ""
        if card.state is not CardState.CHECKING:
            return "bank"
        if card.wrong >= self.limits.wrong_answers:
            return "wrong answers"
        return "time" if card.left_s is not None and card.left_s < 0 else ""

    def _new_card(
        self, request: card_pb2.CheckCardBySmsRequest | card_pb2.CheckCardByTransferRequest, checked_by: CheckedBy
    ) -> Card:
        card_id = UUID(bytes=uuid_utils.uuid7().bytes)
        sealed = self.vault.seal(cards.personal(request), binding_of(card_id, MemberCode(request.member_id)))
        return Card(
            card_id=card_id,
            member_id=MemberCode(request.member_id),
            key_id=sealed.key_id,
            digest=sealed.digest,
            sealed=sealed.content,
            masked=masked(request.card_number),
            bank_type=str(request.bank_type),
            branch_name=request.branch_name,
            cnaps_no=request.cnaps_no,
            super_bank_no=request.super_bank_no,
            checked_by=checked_by,
        )


def _ended(card: Card, why: str) -> Problem:
    return problems.precondition(
        ErrorReason.CARD_CHECK_ENDED,
        f"card {card.card_id} waits for no such answer: {why}",
        "begin a new check of the card; the request id is not used up",
        card_id=str(card.card_id),
        ended_by=why,
    )
