"""What the bank is asked when the answer of a call about a member or its cards was lost: 6098, 6061, 6092.

6098 lists the bound cards; rows are compared with what the mirror has by keyed digests, so that nothing is opened for
it. A card that is not there proves that it is not bound yet: that is the bank's "no such record", which counts only
when it comes several times, far enough apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog

from bankclient import (
    NO_RECORD,
    Answer,
    BankClient,
    BoundCards,
    BoundCardsRow,
    FindSubAccount,
    Outcome,
    SmallTransferResult,
    SmallTransferResultReply,
    days_of_serial,
)
from ledger import Card, Cards, Member, Operation, Reads
from service.plans.cards import NOTHING_SAID, CardSaid
from service.plans.members import same_name
from service.plans.plan import CardAsk, MobileAsk, SameNameAsk, Word
from service.plans.settlement import Told, together
from service.questions.lists import BankList, read_list
from service.vault import Vault

log = structlog.get_logger("jzb.members")

NO_MEMBER = frozenset({NO_RECORD, "ERR031", "ERR254"})
"""How the bank says that a member code has no sub-account (transport.md 3.5)."""

ARRIVED, FAILED, UNDER_WAY = "0", "1", "2"
"""ReturnStatu of 6061 (catalogue)."""


async def transfer_of(bank: BankClient, serial: str) -> Answer[SmallTransferResultReply]:
    """What became of the small transfer sent with this serial (6061), which the bank finds only by its own day."""
    first, *others = days_of_serial(serial)
    answer = await bank.call(SmallTransferResult(OldTranSeqNo=serial, TranDate=first))
    for day in others:
        if not answer.is_no_record:
            break
        answer = await bank.call(SmallTransferResult(OldTranSeqNo=serial, TranDate=day))
    return answer


async def listed_cards(bank: BankClient, sub_account: str) -> BankList[BoundCardsRow]:
    """The cards that the bank has bound to a sub-account (6098)."""
    return await read_list(bank, BoundCards(QueryFlag="2", SubAcctNo=sub_account))


class MemberQuestions:
    """Asks for the resolver. Never raises for trouble at the bank: a question that fails is `Word.SILENT`."""

    def __init__(self, bank: BankClient, cards: Cards, vault: Vault) -> None:
        self._bank = bank
        self._cards = cards
        self._vault = vault

    async def ask(self, operation: Operation, ask: CardAsk | MobileAsk | SameNameAsk) -> Told:
        """What the bank says of one operation now."""
        match ask:
            case SameNameAsk():
                return await self._same_name(ask)
            case MobileAsk():
                return await self._mobile(ask)
            case CardAsk():
                return await self._card(operation, ask)

    async def _card(self, operation: Operation, ask: CardAsk) -> Told:
        card = await self._cards.card(UUID(ask.card_id))
        if card is None:
            raise LookupError(f"operation {operation.id} is about a card that the mirror does not have")
        if not self._vault.knows(card.key_id):
            # A card that cannot be recognised would look as if the bank had not bound it.
            return Told(Word.SILENT, detail=f"the key {card.key_id} is not among JZB_VAULT__KEYS")
        if ask.pays_out:
            told = await self._transfer(operation)
            if told.word is not Word.NOT_FOUND:
                return told
        listed = await listed_cards(self._bank, ask.sub_account)
        if not listed.is_complete:
            return _told(Word.SILENT, listed.answer)
        row = next((row for row in listed.rows if is_of(row, card, self._vault)), None)
        word = Word.DONE if _is_done(ask, row) else Word.NOT_FOUND
        return _told(word, listed.answer, said=CardSaid(is_bound=row is not None))

    async def _transfer(self, operation: Operation) -> Told:
        answer = await transfer_of(self._bank, operation.serial)
        if answer.reply is None:
            return _told(Word.NOT_FOUND if answer.is_no_record else Word.SILENT, answer)
        # Under way or arrived: either way the check has begun, and its amount can be handed in.
        words = {ARRIVED: Word.DONE, UNDER_WAY: Word.DONE, FAILED: Word.REFUSED}
        return _told(words.get(answer.reply.ReturnStatu, Word.SILENT), answer)

    async def _mobile(self, ask: MobileAsk) -> Told:
        listed = await listed_cards(self._bank, ask.sub_account)
        if not listed.is_complete:
            return _told(Word.SILENT, listed.answer)
        wanted = bytes.fromhex(ask.digest)
        changed = any(wanted in self._vault.digests(row.Mobile) for row in listed.rows)
        return _told(Word.DONE if changed else Word.NOT_FOUND, listed.answer)

    async def _same_name(self, ask: SameNameAsk) -> Told:
        numbers: list[str] = []
        evidence: list[bytes] = []
        for member_id in (ask.ordinary, ask.merchant):
            answer = await self._bank.call(FindSubAccount(TranNetMemberCode=member_id))
            if answer.reply is None:
                missing = answer.outcome is Outcome.REFUSED and answer.code in NO_MEMBER
                return _told(Word.NOT_FOUND if missing else Word.SILENT, answer)
            numbers.append(answer.reply.SubAcctNo)
            evidence.append(answer.evidence)
        return Told(
            Word.DONE,
            code=answer.code,
            detail="6092 knows both members",
            evidence=together(evidence),
            members=same_name(ask, numbers[0], numbers[1]),
        )


async def clash_of(reads: Reads, members: Sequence[Member]) -> str:
    """Why what the bank says of members cannot be recorded: a number is another member's here. Empty when it can be."""
    if not members:
        return ""
    owners = await reads.members_by_sub_account([one.sub_account for one in members])
    known = await reads.members([one.member_id for one in members])
    taken: dict[str, str] = {number: owner.member_id for number, owner in owners.items()}
    for member in members:
        here = known.get(member.member_id)
        if taken.setdefault(member.sub_account, member.member_id) != member.member_id:
            clash = f"which is of {taken[member.sub_account]} here"
        elif here is not None and here.is_open and here.sub_account != member.sub_account:
            clash = f"which has {here.sub_account} here"
        else:
            continue
        log.error("the bank contradicts the mirror", member_id=member.member_id, sub_account=member.sub_account)
        return f"the bank says sub-account {member.sub_account} of member {member.member_id}, {clash}"
    return ""


def is_of(row: BoundCardsRow, card: Card, vault: Vault) -> bool:
    """Whether a row of 6098 is this card."""
    return card.digest in vault.digests(row.MemberAcctNo)


def _is_done(ask: CardAsk, row: BoundCardsRow | None) -> bool:
    if ask.does == "unbind":
        return row is None
    if ask.does == "correct":
        wanted = (ask.branch_name, ask.cnaps_no, ask.super_bank_no)
        found = row and (row.AcctOpenBranchName, row.CnapsBranchId or "", row.EiconBankBranchId or "")
        return found == wanted
    return row is not None


def _told(word: Word, answer: Answer[Any], said: CardSaid = NOTHING_SAID) -> Told:
    return Told(
        word,
        code=answer.code,
        message=answer.message,
        detail=answer.detail,
        evidence=answer.evidence,
        card=said,
    )
