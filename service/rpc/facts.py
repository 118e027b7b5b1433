"""The facts that plans are made from: members and cards from the mirror, account names from the bank."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from bankclient import BankClient, SubAccountBalances
from jzb.v1.names import ErrorReason
from jzb.v1.verification_pb2 import Verification
from ledger import Card, Cards, CardState, Member, Reads
from ledger.names import NO_MEMBER_CODE, MemberCode
from service import policy, problems
from service.plans.plan import NAMELESS, Facts, Names
from service.plans.verification import mode_of
from service.vault import Personal, Vault, VaultClosed, VaultKeyMissing, card_of


class MemberFacts:
    """Members of the mirror."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, member_id: MemberCode) -> Member:
        """A member, open or closed. Raises `Problem`."""
        found = await self._reads.member(member_id)
        if found is None:
            raise problems.not_found(ErrorReason.MEMBER_NOT_FOUND, "member", member_id)
        return found

    async def get_open(self, member_id: MemberCode) -> Member:
        """A member that is open. Raises `Problem`."""
        return (await self.facts(others=[member_id])).members[member_id]

    async def facts(
        self,
        payers: Sequence[MemberCode] = (),
        payees: Sequence[MemberCode] = (),
        others: Sequence[MemberCode] = (),
        *,
        between_same_name: bool = False,
    ) -> Facts:
        """The named members, each open and fit for its place (quick start, 6000: 00 pays only, SH collects only).

        With ``between_same_name`` the two members of one customer may pay each other both ways (quick start, 6167).
        """
        wanted = [*payers, *payees, *others]
        found = await self._reads.members(wanted)
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


class CardFacts:
    """Cards of the mirror, and what is sealed of them."""

    def __init__(self, cards: Cards, vault: Vault) -> None:
        self._cards = cards
        self._vault = vault

    async def get(self, card_id: str) -> Card:
        """A card, whatever its state, of a member that the present caller may name. Raises `Problem`."""
        found = await self._cards.card(UUID(card_id))
        if found is None or not policy.present().has_member(found.member_id):
            raise problems.not_found(ErrorReason.CARD_NOT_FOUND, "card", card_id)
        return found

    async def get_bound(self, card_id: str, member_id: MemberCode = NO_MEMBER_CODE) -> tuple[Card, Personal]:
        """A bound card, of that member if one is named, and what is sealed of it. Raises `Problem`."""
        card = await self.get(card_id)
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
            return card_of(self._vault, card)
        except (VaultClosed, VaultKeyMissing) as missing:
            raise problems.key_missing(str(missing)) from None

    def require_vault(self) -> Vault:
        """The vault, which has a key. Raises `Problem`."""
        if not self._vault.is_open:
            raise problems.key_missing("there is no key under which personal values could be kept")
        return self._vault


class AccountNames:
    """Names of sub-accounts, as the bank has them."""

    def __init__(self, bank: BankClient) -> None:
        self._bank = bank

    async def for_verification(self, verification: Verification, payer: Member, payee: Member) -> Names:
        """Both account names where the request's flavour wants them (6006), else none."""
        return await self.of_both(payer, payee) if mode_of(verification) == "password" else NAMELESS

    async def of_both(self, payer: Member, payee: Member) -> Names:
        """Both account names, as the bank has them now (6010). Raises `Problem` before anything is reserved."""
        return Names(await self.of(payer), await self.of(payee))

    async def of(self, member: Member) -> str:
        """A member's account name, as the bank has it now (6010). Raises `Problem` before anything is reserved."""
        question = SubAccountBalances(QueryFlag="2", SubAcctNo=member.sub_account)
        answer = await self._bank.call(question)
        if answer.reply is None:
            raise problems.bank_silent(f"6010 was to name an account: {answer.detail}")
        rows = [row for row in answer.reply.AcctArray if row.SubAcctNo == member.sub_account]
        if not rows or not rows[0].SubAcctName:
            raise problems.precondition(
                ErrorReason.MEMBER_NAME_MISSING,
                f"the bank has no name for the sub-account of member {member.member_id}, which this interface wants",
                "bind a card of the member first; the request id is not used up",
                member_id=member.member_id,
            )
        return str(rows[0].SubAcctName)
