"""Acquired orders at the bank: asked for by 6146, fetched by 6147 when the bank missed them (quick start 2.4).

Order of calls: 6146; when it does not know a share, 6147 with the operation's serial; 6146 again. The same code carries
an entry out the first time, after a lost answer and after a crash: 6147 keeps its serial, so it acts once, and what is
entered is always what 6146 says. Promises never to raise for trouble at the bank: a question that fails is
`Word.SILENT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bankclient import (
    SUCCESS_CODE,
    UNKNOWN_CODES,
    AcquiringOrder,
    AcquiringOrderReply,
    Answer,
    BankClient,
    Outcome,
    SupplyAcquiringOrder,
    yuan,
)
from ledger import Draft, Member, Operation, Part, Reads
from service.plans.acquiring import booked
from service.plans.plan import ORDER_DIFFERS, AcquiredAsk, AcquiredShare, RebookAsk, Word
from service.plans.settlement import Told
from service.questions.bookings import booked_on

REPORTED_ALREADY: Final = "ERR282"
"""Of 6147: the bank has the order from the channel already (transport.md 3.5)."""
BOOKED, FAILED, REVERSED = "0", "1", "3"
"""TranStatus of 6146, a scale of its own; 2 (abnormal) and 5 (pending) ask on."""
FREEZES, CREDITS = "0", "1"
"""PayMode of 6146."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What the bank says of each share. ``began`` is False when only questions went out, so that nothing can have
    happened by this operation.
    """

    told: Sequence[Told]
    began: bool


class Acquiring:
    """Asks for the runner and the resolver. One instance a process."""

    def __init__(self, bank: BankClient, reads: Reads) -> None:
        self._bank = bank
        self._reads = reads

    async def drive(self, operation: Operation, ask: AcquiredAsk, drafts: Sequence[Draft]) -> Driven:
        """Carry an entry on as far as the bank answers."""
        told = await self._asked(ask, drafts)
        words = {one.word for one in told}
        if Word.SILENT in words or Word.NOT_FOUND not in words:
            return Driven(told, began=False)
        message = SupplyAcquiringOrder(AcquiringChannelType=ask.channel, OrderNo=ask.order_no, Amt=ask.amount_fen)
        supplied = await self._bank.call(message, operation.serial)
        if not supplied.evidence or (supplied.reply is None and supplied.code in {SUCCESS_CODE, *UNKNOWN_CODES}):
            return Driven([_told(Word.SILENT, supplied)], began=supplied.outcome is not Outcome.NOT_SENT)
        # Only what 6146 still misses is settled by the answer of 6147. Refused, the bank may have heard of the order
        # meanwhile; taken, it may book the order later; a code that proves nothing is one more "no such record".
        if supplied.outcome is Outcome.REFUSED:
            missed = _told(Word.REFUSED, supplied)
        elif supplied.reply is not None or supplied.code == REPORTED_ALREADY:
            missed = replace(
                _told(Word.ACCEPTED, supplied), detail="the bank has taken 6147 and not booked the order yet"
            )
        else:
            missed = _told(Word.NOT_FOUND, supplied)
        told = await self._asked(ask, drafts)
        return Driven([missed if one.word is Word.NOT_FOUND else one for one in told], began=True)

    async def rebooked(self, ask: RebookAsk) -> Told:
        """Whether 6145 has moved an order."""
        answer = await self._order(ask.channel, ask.order_no)
        reply = answer.reply
        if reply is None:
            return _told(Word.SILENT, answer)
        if reply.OrderActInSubAcctNo == ask.sub_account and reply.TranStatus == BOOKED:
            return replace(_told(Word.DONE, answer), detail="6146 has the order with the right sub-account")
        # The order is there and has not moved: the bank's way to say that it knows nothing of the call.
        return replace(_told(Word.NOT_FOUND, answer), detail="6146 has the order where it was")

    async def _asked(self, ask: AcquiredAsk, drafts: Sequence[Draft]) -> list[Told]:
        answers = []
        for share in ask.shares:
            answer = await self._order(ask.channel, share.order_no)
            if answer.reply is None and not answer.is_no_record:
                # A bank that does not answer is not asked for every other share as well.
                return [_told(Word.SILENT, answer)]
            answers.append(answer)
        places = {place for answer in answers if answer.reply for place in [_place(answer.reply)] if place}
        members = await self._reads.members_by_sub_account(places)
        told = [
            _share_told(share, draft, answer, members)
            for share, draft, answer in zip(ask.shares, drafts, answers, strict=True)
        ]
        differing = next((one for one in told if one.reason == ORDER_DIFFERS), None)
        if differing is not None:
            # An order is entered whole or not at all.
            return [differing for _ in told]
        detail = "; ".join(dict.fromkeys(one.detail for one in told))
        return [replace(one, detail=detail) for one in told]

    async def _order(self, channel: str, order_no: str) -> Answer[AcquiringOrderReply]:
        question = AcquiringOrder(AcquiringChannelType=channel, OrderNo=order_no)  # type: ignore[arg-type]  # it judges
        answer: Answer[AcquiringOrderReply] = await self._bank.call(question)
        return answer


def share_of(ask: AcquiredAsk, parts: Sequence[Part], order_no: str) -> tuple[AcquiredShare, Part] | None:
    """The share of an entered order that the bank knows by this number, with its part."""
    for share, part in zip(ask.shares, parts, strict=False):
        if share.order_no == order_no:
            return share, part
    return None


def _place(reply: AcquiringOrderReply) -> str:
    return reply.OrderActInSubAcctNo or reply.OrderInSubAcctNo or ""


def _share_told(
    share: AcquiredShare, draft: Draft, answer: Answer[AcquiringOrderReply], members: dict[str, Member]
) -> Told:
    reply = answer.reply
    if reply is None:
        return _told(Word.NOT_FOUND, answer)
    if reply.TranStatus != BOOKED:
        word = Word.REFUSED if reply.TranStatus in (FAILED, REVERSED) else Word.ACCEPTED
        detail = f"6146 has {share.order_no} with TranStatus {reply.TranStatus}"
        return replace(_told(word, answer), message=reply.TranDesc or "", detail=detail)
    difference = _difference(share, reply)
    if difference:
        return replace(_told(Word.REFUSED, answer), detail=difference, reason=ORDER_DIFFERS)
    place = _place(reply) or share.sub_account
    sub_account = place if place == share.sub_account or place in members else None
    if sub_account is None:
        detail = f"the bank parked {share.order_no}; RebookOrder moves it to its member"
    elif sub_account != share.sub_account:
        detail = f"the bank booked {share.order_no} to another member; RebookOrder moves it to its own"
    else:
        detail = "the bank has booked the order"
    return replace(
        _told(Word.DONE, answer),
        detail=detail,
        bank_serial=reply.FrontSeqNo or "",
        bank_day=booked_on(reply.FrontSeqNo, reply.TranDate),
        booked=booked(draft, share, sub_account, members[sub_account].member_id if sub_account in members else ""),
    )


def _difference(share: AcquiredShare, reply: AcquiringOrderReply) -> str:
    said = (reply.TranAmt, share.fee_fen if reply.CommissionAmt is None else reply.CommissionAmt)
    mode = FREEZES if share.is_frozen else CREDITS
    if said == (share.amount_fen, share.fee_fen) and (reply.PayMode or mode) == mode:
        return ""
    return (
        f"{share.order_no}: the bank has {yuan(said[0])} with fee {yuan(said[1])} and PayMode"
        f" {reply.PayMode or 'unsaid'}, the request {yuan(share.amount_fen)} with fee {yuan(share.fee_fen)} and {mode}"
    )


def _told(word: Word, answer: Answer[Any]) -> Told:
    return Told(
        word,
        code=answer.code,
        message=answer.message,
        detail=answer.detail,
        bank_serial=answer.front_seq_no or "",
        bank_day=answer.booking_date,
        evidence=answer.evidence,
    )
