"""Takes a member's bound cards over from the bank's list (6098), as an operation that is done at once.

For cards that were bound before this service, or beside it. The mirror is read before the bank is asked, so that what
is bound or unbound meanwhile is not taken back by an older list.
"""

from __future__ import annotations

from uuid import UUID

import grpc
import uuid_utils

from bankclient import AnswerOutcome, BankClient, BoundCardsRow, Evidence
from jzb.v1.names import ErrorReason, OperationKind
from ledger import (
    Card,
    CardChange,
    Cards,
    CardState,
    Change,
    CheckedBy,
    Member,
    State,
    StepOutcome,
)
from service import problems
from service.inflows.recorder import Key, Recorder
from service.problems import Problem
from service.questions.cards import is_of, listed_cards
from service.vault import Personal, Vault, binding_of, masked


class CardList:
    """One instance a process."""

    def __init__(self, recorder: Recorder, bank: BankClient, cards: Cards, vault: Vault) -> None:
        self._recorder = recorder
        self._bank = bank
        self._cards = cards
        self._vault = vault

    async def refresh(self, key: Key, member: Member) -> StepOutcome:
        """Make the mirror's bound cards those of the bank. Raises `Problem` and `LedgerError`."""
        known = await self._cards.of_member(member.member_id, (CardState.CHECKING, CardState.BOUND))
        for card in known:
            # It would be taken for one that the bank does not list.
            if not self._vault.knows(card.key_id):
                raise problems.key_missing(f"the key {card.key_id} is not among JZB_VAULT__KEYS")
        rows, evidence = await self._listed(member)
        new, changes = differences(rows, known, member, self._vault)
        change = Change(state=State.DONE, message=f"6098 lists {len(rows)} cards", evidence=evidence)
        return await self._recorder.record(
            OperationKind.REFRESH_CARDS, key, change, payer=member.member_id, cards_new=tuple(new), cards=tuple(changes)
        )

    async def _listed(self, member: Member) -> tuple[list[BoundCardsRow], Evidence]:
        listed = await listed_cards(self._bank, member.sub_account)
        answer = listed.answer
        if listed.is_complete:
            return listed.rows, answer.evidence
        if answer.outcome is AnswerOutcome.REFUSED:
            raise Problem(
                grpc.StatusCode.FAILED_PRECONDITION,
                ErrorReason.BANK_REFUSED,
                f"the bank refused the question: {answer.code} {answer.message}".rstrip(),
                next_step="correct the cause and ask again; the request id is not used up",
                metadata={"interface": "6098", "bank_code": answer.code, "bank_message": answer.message},
            )
        raise problems.bank_silent(f"6098 has no answer: {answer.detail}")


def differences(
    rows: list[BoundCardsRow], known: list[Card], member: Member, vault: Vault
) -> tuple[list[Card], list[CardChange]]:
    """What the mirror lacks of the bank's list, and what of its cards the list changes."""
    new: list[Card] = []
    changes: list[CardChange] = []
    listed: set[UUID] = set()
    for row in rows:
        same = [card for card in known if is_of(row, card, vault)]
        listed.update(card.card_id for card in same)
        if any(card.state is CardState.BOUND for card in same):
            continue
        if same:
            changes.append(CardChange(card_id=same[-1].card_id, state=CardState.BOUND))
        else:
            new.append(_new_card(row, member, vault))
    changes.extend(
        CardChange(card_id=card.card_id, state=CardState.UNBOUND)
        for card in known
        if card.state is CardState.BOUND and card.card_id not in listed
    )
    return new, changes


def _new_card(row: BoundCardsRow, member: Member, vault: Vault) -> Card:
    card_id = UUID(bytes=uuid_utils.uuid7().bytes)
    value = Personal(row.MemberAcctNo, row.MemberName, row.MemberGlobalType, row.MemberGlobalId, row.Mobile)
    sealed = vault.seal(value, binding_of(card_id, member.member_id))
    return Card(
        card_id=card_id,
        member_id=member.member_id,
        key_id=sealed.key_id,
        digest=sealed.digest,
        sealed=sealed.content,
        masked=masked(row.MemberAcctNo),
        bank_type=row.BankType if row.BankType in ("1", "2") else "0",
        branch_name=row.AcctOpenBranchName,
        cnaps_no=row.CnapsBranchId or "",
        super_bank_no=row.EiconBankBranchId or "",
        checked_by=CheckedBy.BANK,
        state=CardState.BOUND,
    )
