"""Whether a member, a card or a mobile can be changed: not while something still needs it as it is.

A closing is looked at twice. Before it is reserved, for an answer that records nothing; and after, when its `standing`
is taken and no process can open anything with the member any more: what is not found then does not come. The writer
sees to that (`Step.needs`), so that a payment and a closing that were both planned in good faith cannot both go ahead.
For cards, mobiles and links the look is one look: what comes after it costs a refusal of the bank, and no money.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from jzb.v1.names import OperationKind
from ledger import GIVEN_BACK, Member, Operation, Reads
from ledger.names import MemberCode
from service import problems
from service.bankday import days_now
from service.plans.cards import KEPT_CARD
from service.plans.plan import Plan
from service.problems import Problem
from service.settings import Settings


class Parties:
    """One platform's; asks the mirror alone."""

    def __init__(self, reads: Reads, settings: Settings) -> None:
        self._reads = reads
        self._settings = settings

    async def needed(self, member: Member, but: UUID | None = None) -> Problem | None:
        """Why a member cannot be closed, one operation apart; None when nothing needs it."""
        # Around midnight a payment is refunded, and a return entered, for as long as the bank may be on the day before.
        rules, today = self._settings.rules, days_now()[0]
        dependencies = await self._reads.dependencies(
            member,
            limited_since=today - timedelta(days=rules.refund_window_days),
            returned_since=today - timedelta(days=self._settings.returns.days),
            but=but,
        )
        dependencies = [one for one in dependencies if not (rules.close_while_refundable and one.need in GIVEN_BACK)]
        return problems.member_needed(member.member_id, dependencies) if dependencies else None

    async def needed_after_all(self, operation: Operation, plan: Plan) -> Problem | None:
        """The second look at a closing that is reserved; None for any other plan."""
        if not (member_id := plan.query.closed_member()):
            return None
        member = await self._reads.member(member_id)
        return None if member is None else await self.needed(member, operation.id)

    async def require_card_unneeded(self, member_id: MemberCode, card_id: str) -> None:
        """Raises `Problem` while an operation that is not final is about the card, or withdraws to an unknown one."""
        found = [
            one
            for one in await self._reads.under_way(member_id)
            if one.plan.get("keep", {}).get(KEPT_CARD, card_id if one.kind == OperationKind.WITHDRAW else None)
            == card_id
        ]
        if found:
            raise problems.still_needed(member_id, f"card {card_id} of member {member_id} is still needed", found)

    async def require_settled(self, *member_ids: MemberCode, kinds: tuple[str, ...]) -> None:
        """Raises `Problem` while operations of these kinds, whose outcome the bank is asked for by how these members
        look, are not final: another change would make it say the wrong thing of them.
        """
        found = [one for one in await self._reads.under_way(*member_ids) if one.kind in kinds]
        if found:
            member_id = next(one for one in member_ids if one in (found[0].payer, found[0].payee))
            raise problems.still_needed(member_id, f"member {member_id} is being changed", found)
