"""What of a member's available money is withdrawable (可提现) where only the bank knows: it cleared a day in the night,
and the mirror learned of it later (6108).

Between the two a member may spend. A platform whose bank gives uncleared money first then sees the bank take money of
the new day, while the mirror takes money of the day that it still holds uncleared. Both have the same in all; what
differs is how much of it is withdrawable. At which moment the bank cleared is said by no interface (6108 names the day
alone), so the bank is asked (6010) what each such member may withdraw, and the mirror moves that much, never more than
what the member has spent of the earlier day's money on a later one.

The same is asked of what comes in by itself and is found later (6048, 6050): a payment that the bank booked behind it
took of that money there, and of withdrawable money here. How much of the credit may leave by now is the bank's to say.

Promises: the sum of a member's money never changes here, nothing is moved on an answer that could be of another moment
than the mirror's, and one clearing moves a member's money once, whichever processes look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from bankclient import NO_EVIDENCE, BankClient, Evidence, SubAccountBalances, SubAccountBalancesRow, yuan
from ledger import (
    Change,
    Draft,
    FloorBroken,
    Kind,
    Leg,
    MemberBalance,
    OfDay,
    Reads,
    SpenderAfterClearing,
    State,
    Step,
    Writer,
)
from ledger.accounts import LIMITS, POOLED, Account, order, withdrawable
from ledger.names import SubAccount
from service.telemetry import events

MEMBERS_AT_ONCE: Final = 8
"""Members whose question is under way at the bank at once."""

COMPARISONS_MAX: Final = 3
"""How often in a row a member is looked at whose money moves meanwhile."""

COMPARE_AGAIN_S: Final = 0.1


class Withdrawable:
    """Follows the bank after a clearing. One instance a process; any process may follow any clearing."""

    def __init__(self, writer: Writer, reads: Reads, bank: BankClient) -> None:
        self._writer = writer
        self._reads = reads
        self._bank = bank
        self._followed: dict[UUID, set[str]] = {}

    async def follow(self, operation_id: UUID, bank_day: date, next_ask_in_s: float) -> bool:
        """Bring every member who has spent since to what the bank says, as parts of the clearing of ``bank_day``.

        False when some of them could not be compared: their money is in doubt or on the move, or the bank did not
        answer. Those it looks at again when it is called again.
        """
        followed = self._followed.setdefault(operation_id, set())
        slots = asyncio.Semaphore(MEMBERS_AT_ONCE)

        async def compare(spender: SpenderAfterClearing) -> None:
            async with slots:
                if await self._follow_one(operation_id, bank_day, spender, next_ask_in_s):
                    followed.add(spender.member.sub_account)

        for again in range(COMPARISONS_MAX):
            if again:
                await asyncio.sleep(COMPARE_AGAIN_S)
            spenders = await self._reads.spenders_after_clearing(bank_day)
            await asyncio.gather(*(compare(one) for one in spenders if one.member.sub_account not in followed))
            remaining = sum(one.member.sub_account not in followed for one in spenders)
            if not remaining:
                # The resolver and whoever enters the clearing may follow it at the same time.
                self._followed.pop(operation_id, None)
                return True
        events.COMPARED_LATER.log(bank_day=str(bank_day), members=remaining)
        return False

    async def _follow_one(
        self, operation_id: UUID, bank_day: date, spender: SpenderAfterClearing, next_ask_in_s: float
    ) -> bool:
        sub_account = spender.member.sub_account
        before = await _balance(self._reads, sub_account)
        if spender.held_fen or before.held_spendable_fen:
            return False
        answer = await self._bank.call(SubAccountBalances(QueryFlag="2", SubAcctNo=sub_account))
        row = _only_row(sub_account, () if answer.reply is None else answer.reply.AcctArray)
        pockets = await self._reads.pockets(sub_account, (Kind.UNCLEARED,))
        is_of_one_moment = await _balance(self._reads, sub_account) == before
        if row is None or not is_of_one_moment or row.AcctAvailBal != before.available_fen:
            return False
        # What goes beyond has another reason, such as a later day that the bank has cleared as well.
        more_fen = min(row.CashAmt - before.withdrawable_fen, spender.spent_fen)
        if more_fen <= 0:
            return True
        step = Step(
            operation=operation_id,
            change=Change(state=State.ACCEPTED, evidence=answer.evidence, next_ask_in_s=next_ask_in_s),
            bank_day=bank_day,
            expects=frozenset({State.ACCEPTED}),
            enter=(_moved(bank_day, sub_account, more_fen, pockets.items()),),
        )
        try:
            await self._writer.submit(step)
        except FloorBroken as broken:
            # Moved by another process; or a payment took of it since it was read.
            return broken.breach.pocket == Kind.ORDER.value
        events.WITHDRAWABLE_MOVED.log(bank_day=str(bank_day), sub_account=sub_account, moved=yuan(more_fen))
        return True


async def credit(
    bank: BankClient, reads: Reads, sub_account: SubAccount, amount_fen: int, bank_day: date
) -> tuple[tuple[Leg, ...], Evidence]:
    """A credit of real money that the bank has booked on ``bank_day`` and the books have not: what of it may leave is
    withdrawable, the rest waits for its day; and the evidence of the bank's word, where it decides.

    All of it waits where that word could be of another moment, or be explained by a clearing that is not entered yet.
    """
    withdrawable_fen, evidence = await _withdrawable_of(bank, reads, sub_account, amount_fen, bank_day)
    legs = []
    if amount_fen > withdrawable_fen:
        legs.append(Leg(POOLED, OfDay(Kind.UNCLEARED, sub_account), amount_fen - withdrawable_fen))
    if withdrawable_fen:
        legs.append(Leg(POOLED, withdrawable(sub_account), withdrawable_fen))
    return tuple(legs), evidence


async def _withdrawable_of(
    bank: BankClient, reads: Reads, sub_account: SubAccount, amount_fen: int, bank_day: date
) -> tuple[int, Evidence]:
    before = await _balance(reads, sub_account)
    waiting = await reads.pockets(sub_account, (Kind.UNCLEARED,))
    if before.held_spendable_fen or any(pocket.day < bank_day for pocket in waiting):
        return 0, NO_EVIDENCE
    answer = await bank.call(SubAccountBalances(QueryFlag="2", SubAcctNo=sub_account))
    row = _only_row(sub_account, () if answer.reply is None else answer.reply.AcctArray)
    is_of_one_moment = await _balance(reads, sub_account) == before
    if row is None or not is_of_one_moment or row.AcctAvailBal != before.available_fen + amount_fen:
        return 0, NO_EVIDENCE
    more_fen = min(row.CashAmt - before.withdrawable_fen, amount_fen)
    return (more_fen, answer.evidence) if more_fen > 0 else (0, NO_EVIDENCE)


async def _balance(reads: Reads, sub_account: SubAccount) -> MemberBalance:
    return (await reads.balances([sub_account])).get(sub_account, MemberBalance(sub_account))


def _only_row(sub_account: SubAccount, rows: Sequence[SubAccountBalancesRow]) -> SubAccountBalancesRow | None:
    if len(rows) != 1 or rows[0].SubAcctNo != sub_account or not 0 <= rows[0].CashAmt <= rows[0].AcctAvailBal:
        return None
    return rows[0]


def _moved(bank_day: date, sub_account: SubAccount, amount_fen: int, pockets: Iterable[tuple[Account, int]]) -> Draft:
    """Uncleared money becomes withdrawable, of the oldest day first as the bank spends it; once for a clearing."""
    # With spaces, which no order number of a caller has.
    legs = [Leg(order(f"withdrawable {bank_day} {sub_account}"), LIMITS, 1)]
    remaining_fen = amount_fen
    for pocket, pocket_fen in sorted(pockets, key=lambda one: one[0].ref):
        share_fen = min(remaining_fen, pocket_fen)
        if share_fen:
            legs.append(Leg(pocket, withdrawable(sub_account), share_fen))
            remaining_fen -= share_fen
    return Draft(tuple(legs), amount_fen=amount_fen)
