"""Acquired orders at the bank: asked for by 6146, fetched by 6147 when the bank missed them (quick start 2.4).

Order of calls: 6146; when it does not know a share, 6147 with the operation's serial; 6146 again. The same code carries
an entry out the first time, after a lost answer and after a crash: 6147 keeps its serial, so it acts once, and what is
entered is always what 6146 says. Promises never to raise for trouble at the bank: a question that fails is
`Verdict.INCONCLUSIVE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from bankclient import (
    SUCCESS_CODE,
    UNKNOWN_CODES,
    AcquiringChannel,
    AcquiringOrder,
    AcquiringOrderReply,
    Answer,
    AnswerOutcome,
    BankClient,
    Request,
    SupplyAcquiringOrder,
    yuan,
)
from ledger import Draft, Member, Part, Reads
from ledger.names import NO_MEMBER_CODE, BankSerial, Serial, SubAccount
from service.questions.bookings import booked_on
from service.questions.conflicts import without_foreign_bookings
from service.questions.query import FirstAnswer, OutcomeQuery, QueryContext
from service.questions.results import BankResult, Verdict
from service.questions.shares import AcquiredShare
from service.recorded import ORDER_DIFFERS

REPORTED_ALREADY: Final = "ERR282"
"""Of 6147: the bank has the order from the channel already (transport.md 3.5)."""
BOOKED, FAILED, REVERSED = "0", "1", "3"
"""TranStatus of 6146, a scale of its own; 2 (abnormal) and 5 (pending) ask on."""
FREEZES, CREDITS = "0", "1"
"""PayMode of 6146."""


@dataclass(frozen=True, slots=True)
class AcquiredQuery(OutcomeQuery):
    """Asks 6146 for every share; when the bank misses one, sends 6147 with the operation's serial and asks again.

    It is how such an operation is carried out, the first time and every later time. With ``own_alone`` an order counts
    only if the bank has each share for the member that the request names: its caller may not see the others.
    """

    by: ClassVar[str] = "acquired"

    channel: AcquiringChannel
    order_no: str
    amount_fen: int
    shares: tuple[AcquiredShare, ...]
    # Not written where it says nothing, as before there was one.
    own_alone: Annotated[bool, Field(exclude_if=lambda value: not value)] = False

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        return (await self._carry_out(context.bank, context.reads, context.operation.serial, context.drafts)).results

    async def call(
        self,
        bank: BankClient,
        reads: Reads,
        serial: Serial,
        message: Request[Any],
        drafts: Sequence[Draft],
        *,
        is_final: bool,
    ) -> FirstAnswer:
        """6147 goes out only when 6146 misses a share."""
        first = await self._carry_out(bank, reads, serial, drafts)
        return replace(first, results=await without_foreign_bookings(reads, serial, first.results))

    def with_parts(self, parts: Sequence[Part]) -> list[tuple[AcquiredShare, Part]]:
        """Each share of an entered order with its part. Parts of an earlier try, which never left, come before."""
        return list(zip(self.shares, parts[-len(self.shares) :], strict=True))

    def share(self, parts: Sequence[Part], order_no: str) -> tuple[AcquiredShare, Part] | None:
        """The share of an entered order that the bank knows by this number, with its part."""
        for share, part in self.with_parts(parts):
            if share.order_no == order_no:
                return share, part
        return None

    async def _carry_out(self, bank: BankClient, reads: Reads, serial: Serial, drafts: Sequence[Draft]) -> FirstAnswer:
        """Carry an entry on as far as the bank answers."""
        results = await self._listed(bank, reads, drafts)
        verdicts = {one.verdict for one in results}
        if Verdict.INCONCLUSIVE in verdicts or Verdict.NOT_FOUND not in verdicts:
            # Only questions went out.
            return _first_answer(results, may_have_acted=False)
        message = SupplyAcquiringOrder(AcquiringChannelType=self.channel, OrderNo=self.order_no, Amt=self.amount_fen)
        supplied = await bank.call(message, serial)
        if not supplied.evidence or (supplied.reply is None and supplied.code in {SUCCESS_CODE, *UNKNOWN_CODES}):
            lost = BankResult.of_call(Verdict.INCONCLUSIVE, supplied)
            return _first_answer([lost], may_have_acted=supplied.outcome is not AnswerOutcome.NOT_SENT)
        # Only what 6146 still misses is settled by the answer of 6147. Refused, the bank may have heard of the order
        # meanwhile; taken, it may book the order later; a code that proves nothing is one more "no such record".
        if supplied.outcome is AnswerOutcome.REFUSED:
            missed = BankResult.of_call(Verdict.REFUSED, supplied)
        elif supplied.reply is not None or supplied.code == REPORTED_ALREADY:
            missed = replace(
                BankResult.of_call(Verdict.ACCEPTED, supplied),
                detail="the bank has taken 6147 and not booked the order yet",
            )
        else:
            missed = BankResult.of_call(Verdict.NOT_FOUND, supplied)
        results = await self._listed(bank, reads, drafts)
        return _first_answer(
            [missed if one.verdict is Verdict.NOT_FOUND else one for one in results], may_have_acted=True
        )

    async def _listed(self, bank: BankClient, reads: Reads, drafts: Sequence[Draft]) -> list[BankResult]:
        answers = []
        for share in self.shares:
            answer = await _order(bank, self.channel, share.order_no)
            if answer.reply is None and not answer.is_no_record:
                # A bank that does not answer is not asked for every other share as well.
                return [BankResult.of_question(Verdict.INCONCLUSIVE, answer)]
            answers.append(answer)
        holders = {holder for answer in answers if answer.reply for holder in [_holder(answer.reply)] if holder}
        members = await reads.members_by_sub_account(holders)
        results = [
            _share_of_another(share, answer)
            if self.own_alone and _is_of_another(share, answer.reply, members)
            else _share_result(share, draft, answer, members)
            for share, draft, answer in zip(self.shares, drafts, answers, strict=True)
        ]
        differing = next((one for one in results if one.reason == ORDER_DIFFERS), None)
        if differing is not None:
            # An order is entered whole or not at all.
            return [differing for _ in results]
        detail = "; ".join(dict.fromkeys(one.detail for one in results))
        return [replace(one, detail=detail) for one in results]


@dataclass(frozen=True, slots=True)
class RebookQuery(OutcomeQuery):
    """Asks 6146 whether the order is with ``sub_account`` now: what settles 6145."""

    by: ClassVar[str] = "rebook"

    channel: AcquiringChannel
    order_no: str
    sub_account: SubAccount

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        answer = await _order(context.bank, self.channel, self.order_no)
        reply = answer.reply
        if reply is None:
            return [BankResult.of_question(Verdict.INCONCLUSIVE, answer)]
        if reply.OrderActInSubAcctNo == self.sub_account and reply.TranStatus == BOOKED:
            # The serial in this answer is that of the order, and not of its move.
            done = BankResult.of_question(Verdict.DONE, answer)
            return [replace(done, detail="6146 has the order with the right sub-account")]
        # The order is there and has not moved: the bank's way to say that it knows nothing of the call.
        return [replace(BankResult.of_question(Verdict.NOT_FOUND, answer), detail="6146 has the order where it was")]


def _first_answer(results: Sequence[BankResult], *, may_have_acted: bool) -> FirstAnswer:
    return FirstAnswer(results, may_have_acted, answered=any(one.evidence for one in results))


async def _order(bank: BankClient, channel: AcquiringChannel, order_no: str) -> Answer[AcquiringOrderReply]:
    return await bank.call(AcquiringOrder(AcquiringChannelType=channel, OrderNo=order_no))


def _holder(reply: AcquiringOrderReply) -> SubAccount:
    return SubAccount(reply.OrderActInSubAcctNo or reply.OrderInSubAcctNo or "")


def _is_of_another(share: AcquiredShare, reply: AcquiringOrderReply | None, members: dict[SubAccount, Member]) -> bool:
    if reply is None:
        return False
    holder = _holder(reply)
    # Parked money has the sub-account of no member; then the one that was named counts.
    is_held = holder != share.sub_account and holder in members
    return is_held or (reply.OrderInSubAcctNo or share.sub_account) != share.sub_account


def _share_of_another(share: AcquiredShare, answer: Answer[AcquiringOrderReply]) -> BankResult:
    """Nothing of what the bank said of it: neither the amount nor whether it was booked."""
    detail = f"{share.order_no}: the bank has it for another sub-account than that of the member named"
    return BankResult(Verdict.REFUSED, reason=ORDER_DIFFERS, detail=detail, code=answer.code, evidence=answer.evidence)


def _share_result(
    share: AcquiredShare, draft: Draft, answer: Answer[AcquiringOrderReply], members: dict[SubAccount, Member]
) -> BankResult:
    reply = answer.reply
    if reply is None:
        return BankResult.of_question(Verdict.NOT_FOUND, answer)
    if reply.TranStatus != BOOKED:
        verdict = Verdict.REFUSED if reply.TranStatus in (FAILED, REVERSED) else Verdict.ACCEPTED
        detail = f"6146 has {share.order_no} with TranStatus {reply.TranStatus}"
        return replace(BankResult.of_question(verdict, answer), message=reply.TranDesc or "", detail=detail)
    difference = _difference(share, reply)
    if difference:
        return replace(BankResult.of_question(Verdict.REFUSED, answer), detail=difference, reason=ORDER_DIFFERS)
    holder = _holder(reply) or share.sub_account
    sub_account = holder if holder == share.sub_account or holder in members else None
    if sub_account is None:
        detail = f"the bank parked {share.order_no}; RebookOrder moves it to its member"
    elif sub_account != share.sub_account:
        detail = f"the bank booked {share.order_no} to another member; RebookOrder moves it to its own"
    else:
        detail = "the bank has booked the order"
    return replace(
        BankResult.of_question(Verdict.DONE, answer),
        detail=detail,
        bank_serial=BankSerial(reply.FrontSeqNo or ""),
        bank_day=booked_on(BankSerial(reply.FrontSeqNo or ""), reply.TranDate),
        booked=share.booked(
            draft, sub_account, members[sub_account].member_id if sub_account in members else NO_MEMBER_CODE
        ),
    )


def _difference(share: AcquiredShare, reply: AcquiringOrderReply) -> str:
    stated = (reply.TranAmt, share.fee_fen if reply.CommissionAmt is None else reply.CommissionAmt)
    mode = FREEZES if share.is_frozen else CREDITS
    if stated == (share.amount_fen, share.fee_fen) and (reply.PayMode or mode) == mode:
        return ""
    return (
        f"{share.order_no}: the bank has {yuan(stated[0])} with fee {yuan(stated[1])} and PayMode"
        f" {reply.PayMode or 'unsaid'}, the request {yuan(share.amount_fen)} with fee {yuan(share.fee_fen)} and {mode}"
    )
