"""6098 and 6061: the bound cards of a sub-account, and what became of a small transfer. They settle lost answers of
calls about cards and mobiles.

Rows of 6098 are compared with what the mirror has by keyed digests, so that nothing is opened for it. A card that is
not there proves that it is not bound yet: that is the bank's "no such record", which counts only when it comes several
times, far enough apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from bankclient import (
    Answer,
    BankClient,
    BoundCards,
    BoundCardsRow,
    Reply,
    SmallTransferResult,
    SmallTransferResultReply,
    days_of_serial,
    fen,
)
from ledger import Card, CardChange, CardState
from ledger.names import Serial, SubAccount
from service.questions.lists import BankList, read_list
from service.questions.query import OutcomeQuery, QueryContext
from service.questions.results import NO_CARD_RESULT, BankResult, CardResult, Verdict
from service.vault import Vault

VERIFIED: Final = "VERIFIED"
"""ReservedMsg of 6066 and 6055: the same customer's other sub-account was checked before, the card is bound at once."""

WRONG_ANSWER: Final = frozenset({"ERR138", "ERR126"})
"""A wrong code, or a wrong amount (transport.md 3.5)."""

CHECK_ENDED: Final = frozenset({"ERR137", "ERR147", "ERR157", "ERR163", "ERR258", "ERR264"})
"""The check is past its time, had too many wrong answers, or is not there (transport.md 3.5)."""

ARRIVED, FAILED, UNDER_WAY = "0", "1", "2"
"""ReturnStatu of 6061 (catalogue)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardQuery(OutcomeQuery):
    """Asks 6098 for the cards of the sub-account: what settles 6066, 6067, 6064, 6065, 6138 and 6055.

    ``does`` is what the call does to the card. ``life_s`` is how long a check that it begins may take. Of a pay-out
    (6055) 6061 is asked first. A correction is done when 6098 shows its routing numbers and the name of its branch.
    """

    by: ClassVar[str] = "card"

    sub_account: SubAccount
    card_id: str
    does: Literal["check", "confirm", "unbind", "correct"]
    life_s: float = 0.0
    pays_out: bool = False
    branch_name: str = ""
    cnaps_no: str = ""
    super_bank_no: str = ""

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        card = await context.cards.card(UUID(self.card_id))
        if card is None:
            raise LookupError(f"operation {context.operation.id} is about a card that the mirror does not have")
        if not context.vault.knows(card.key_id):
            # A card that cannot be recognised would look as if the bank had not bound it.
            return [BankResult(Verdict.INCONCLUSIVE, detail=f"the key {card.key_id} is not among JZB_VAULT__KEYS")]
        if self.pays_out:
            transfer = await _transfer_result(context)
            if transfer.verdict is not Verdict.NOT_FOUND:
                return [transfer]
        listed = await listed_cards(context.bank, self.sub_account)
        if not listed.is_complete:
            return [BankResult.of_question(Verdict.INCONCLUSIVE, listed.answer)]
        row = next((row for row in listed.rows if is_of(row, card, context.vault)), None)
        verdict = Verdict.DONE if self._is_done(row) else Verdict.NOT_FOUND
        return [BankResult.of_question(verdict, listed.answer, card=CardResult(is_bound=row is not None))]

    def first_result(self, verdict: Verdict, answer: Answer[Any]) -> BankResult:
        """ReservedMsg says whether the card is bound already, or what the holder has to pay in."""
        card = NO_CARD_RESULT if answer.reply is None else card_result(answer.reply)
        return replace(BankResult.of_call(verdict, answer), card=card)

    def card_changes(self, result: BankResult) -> tuple[CardChange, ...]:
        """What the bank's final word does to the card; anything else leaves it as it is."""
        change = self._change(result)
        return () if change is None else (change,)

    def unsent_cards(self) -> tuple[CardChange, ...]:
        """A check that was never sent leaves no card behind."""
        return (CardChange(card_id=UUID(self.card_id), state=CardState.UNSENT),) if self.does == "check" else ()

    def _change(self, result: BankResult) -> CardChange | None:
        same = CardChange(card_id=UUID(self.card_id))
        match self.does, result.verdict:
            case "check", Verdict.DONE if result.card.is_bound:
                return replace(same, state=CardState.BOUND)
            case "check", Verdict.DONE:
                return replace(same, life_s=self.life_s, pay_in_fen=result.card.pay_in_fen)
            case "check", Verdict.REFUSED:
                return replace(same, state=CardState.FAILED)
            case "confirm", Verdict.DONE:
                return replace(same, state=CardState.BOUND)
            case "confirm", Verdict.REFUSED if result.code in CHECK_ENDED:
                return replace(same, state=CardState.FAILED)
            case "confirm", Verdict.REFUSED if result.code in WRONG_ANSWER:
                return replace(same, wrong=1)
            case "unbind", Verdict.DONE:
                return replace(same, state=CardState.UNBOUND)
            case "correct", Verdict.DONE:
                return replace(
                    same, branch_name=self.branch_name, cnaps_no=self.cnaps_no, super_bank_no=self.super_bank_no
                )
        return None

    def _is_done(self, row: BoundCardsRow | None) -> bool:
        if self.does == "unbind":
            return row is None
        if self.does == "correct":
            wanted = (self.branch_name, self.cnaps_no, self.super_bank_no)
            found = row and (row.AcctOpenBranchName, row.CnapsBranchId or "", row.EiconBankBranchId or "")
            return found == wanted
        return row is not None


@dataclass(frozen=True, slots=True)
class MobileQuery(OutcomeQuery):
    """Asks 6098 whether a row of the sub-account has the new mobile, which only its keyed digest tells here (6084)."""

    by: ClassVar[str] = "mobile"

    sub_account: SubAccount
    digest: str

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        listed = await listed_cards(context.bank, self.sub_account)
        if not listed.is_complete:
            return [BankResult.of_question(Verdict.INCONCLUSIVE, listed.answer)]
        wanted = bytes.fromhex(self.digest)
        changed = any(wanted in context.vault.digests(row.Mobile) for row in listed.rows)
        return [BankResult.of_question(Verdict.DONE if changed else Verdict.NOT_FOUND, listed.answer)]


def card_result(reply: Reply) -> CardResult:
    """What the reply to a call says of its card."""
    reserved: str = getattr(reply, "ReservedMsg", None) or ""
    if reserved == VERIFIED:
        return CardResult(is_bound=True)
    try:
        return CardResult(pay_in_fen=fen(reserved))
    except ValueError:
        return NO_CARD_RESULT


async def _transfer_result(context: QueryContext) -> BankResult:
    answer = await transfer_of(context.bank, context.operation.serial)
    if answer.reply is None:
        verdict = Verdict.NOT_FOUND if answer.is_no_record else Verdict.INCONCLUSIVE
        return BankResult.of_question(verdict, answer)
    # Under way or arrived: either way the check has begun, and its amount can be handed in.
    verdicts = {ARRIVED: Verdict.DONE, UNDER_WAY: Verdict.DONE, FAILED: Verdict.REFUSED}
    return BankResult.of_question(verdicts.get(answer.reply.ReturnStatu, Verdict.INCONCLUSIVE), answer)


async def transfer_of(bank: BankClient, serial: Serial) -> Answer[SmallTransferResultReply]:
    """What became of the small transfer sent with this serial (6061), which the bank finds only by its own day."""
    for day in days_of_serial(serial):
        answer = await bank.call(SmallTransferResult(OldTranSeqNo=serial, TranDate=day))
        if not answer.is_no_record:
            break
    return answer


async def listed_cards(bank: BankClient, sub_account: SubAccount) -> BankList[BoundCardsRow]:
    """The cards that the bank has bound to a sub-account (6098)."""
    return await read_list(bank, BoundCards(QueryFlag="2", SubAcctNo=sub_account))


def is_of(row: BoundCardsRow, card: Card, vault: Vault) -> bool:
    """Whether a row of 6098 is this card."""
    return card.digest in vault.digests(row.MemberAcctNo)
