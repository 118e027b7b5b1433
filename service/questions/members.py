"""6092, whether members have their sub-accounts: what settles lost answers of 6000 and 6167."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from bankclient import NO_RECORD, Answer, AnswerOutcome, Evidence, FindSubAccount
from ledger import Member
from ledger.names import NO_MEMBER_CODE, MemberCode, SubAccount
from service.questions.conflicts import without_conflict
from service.questions.query import OutcomeQuery, QueryContext
from service.questions.results import BankResult, Verdict

NO_MEMBER: Final = frozenset({NO_RECORD, "ERR031", "ERR254"})
"""How the bank says that a member code has no sub-account (transport.md 3.5)."""


@dataclass(frozen=True, slots=True)
class MemberQuery(OutcomeQuery):
    """Asks 6092 whether the member has a sub-account: what settles a lost answer of 6000."""

    by: ClassVar[str] = "member"

    member_id: MemberCode
    property: str
    opening: bool

    def closed_member(self) -> MemberCode:
        """See `Query`."""
        return NO_MEMBER_CODE if self.opening else self.member_id

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        answer = await context.bank.call(FindSubAccount(TranNetMemberCode=self.member_id))
        members: tuple[Member, ...] = ()
        if answer.reply is not None and self.opening:
            verdict, members = Verdict.DONE, (self._member(SubAccount(answer.reply.SubAcctNo)),)
        elif answer.reply is not None:
            # After a lost "close" the member still exists: not done (yet).
            verdict = Verdict.NOT_FOUND
        elif not _is_missing(answer):
            verdict = Verdict.INCONCLUSIVE
        elif self.opening:
            verdict = Verdict.NOT_FOUND
        else:
            verdict = Verdict.DONE
            # The bank does not know the member any more, so the number of what is closed is the mirror's.
            if (found := await context.reads.member(self.member_id)) is not None:
                members = (replace(self._member(found.sub_account), property=found.property),)
        result = BankResult.of_question(verdict, answer, members=members)
        return [await without_conflict(context.reads, result)]

    def first_result(self, verdict: Verdict, answer: Answer[Any]) -> BankResult:
        """6000 gives the number of the sub-account."""
        members = () if answer.reply is None else (self._member(answer.reply.SubAcctNo),)
        return replace(BankResult.of_call(verdict, answer), members=members)

    def _member(self, sub_account: SubAccount) -> Member:
        return Member(member_id=self.member_id, sub_account=sub_account, property=self.property, is_open=self.opening)


@dataclass(frozen=True, slots=True)
class SameNameQuery(OutcomeQuery):
    """Asks 6092 whether both members have their sub-accounts: what settles 6167."""

    by: ClassVar[str] = "same-name"

    ordinary: MemberCode
    merchant: MemberCode

    async def run(self, context: QueryContext) -> Sequence[BankResult]:
        """See `OutcomeQuery`."""
        numbers: list[SubAccount] = []
        evidence: list[Evidence] = []
        for member_id in (self.ordinary, self.merchant):
            answer = await context.bank.call(FindSubAccount(TranNetMemberCode=member_id))
            if answer.reply is None:
                verdict = Verdict.NOT_FOUND if _is_missing(answer) else Verdict.INCONCLUSIVE
                return [BankResult.of_question(verdict, answer)]
            numbers.append(SubAccount(answer.reply.SubAcctNo))
            evidence.append(answer.evidence)
        result = BankResult(
            Verdict.DONE,
            code=answer.code,
            detail="6092 knows both members",
            evidence=Evidence.of_all(evidence),
            members=self.members(*numbers),
        )
        return [await without_conflict(context.reads, result)]

    def first_result(self, verdict: Verdict, answer: Answer[Any]) -> BankResult:
        """6167 gives both numbers."""
        reply = answer.reply
        members = () if reply is None else self.members(reply.CommonSubAcctNo, reply.MerSubAcctNo)
        return replace(BankResult.of_call(verdict, answer), members=members)

    def members(self, ordinary: SubAccount, merchant: SubAccount) -> tuple[Member, Member]:
        """The two members of one customer, by the sub-account numbers that the bank gives."""
        return (
            Member(member_id=self.ordinary, sub_account=ordinary, property="00", same_name=self.merchant),
            Member(member_id=self.merchant, sub_account=merchant, property="SH", same_name=self.ordinary),
        )


def _is_missing(answer: Answer[Any]) -> bool:
    return answer.outcome is AnswerOutcome.REFUSED and answer.code in NO_MEMBER
