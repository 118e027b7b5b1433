"""Whether MemberFillAmt of 6129 means what the platform's setting says: found out by the first top-up with a fee.

The quick start's example says gross, a newer document net (notes.md 9.1, 13): read the other way, every top-up with a
fee makes mirror and bank differ by that fee. Until ``rules.top_up_amount_confirmed`` is set, one top-up with a fee is
let through, and no second one is sent before 6010 and 6037 show the first one's member as the mirror has it. That one
at most is under way is a floor, as an order number's one use is, so it holds over all processes; that the comparison
has agreed is remembered by each process, which costs two questions after a start.
"""

from __future__ import annotations

from bankclient import BankClient, yuan
from jzb.v1.names import ErrorReason, OperationKind
from ledger import Operation, Reads, State
from ledger.accounts import TOP_UP_ORDER_UNITS, top_up_order
from service import problems
from service.problems import Problem
from service.questions.balances import balances_of
from service.settings import RulesSettings

FIRST = top_up_order("first 6129 with a fee")
"""The one use that the first top-up with a fee has. No order number has a space."""

FREE: dict[str, int] = {}
FIRST_USE = {FIRST.ref: TOP_UP_ORDER_UNITS}
"""What a top-up uses beside its own order number."""

CONFIRM = (
    "ask the bank what MemberFillAmt of 6129 means, set JZB_RULES__TOP_UP_AMOUNT to its answer and"
    " JZB_RULES__TOP_UP_AMOUNT_CONFIRMED"
)


class TopUpReading:
    """One instance a process."""

    def __init__(self, reads: Reads, bank: BankClient, rules: RulesSettings) -> None:
        self._reads = reads
        self._bank = bank
        self._rules = rules
        self._is_settled = rules.top_up_amount_confirmed

    async def uses(self, fee_fen: int) -> dict[str, int]:
        """What a top-up with this fee uses beside its order number. Raises `Problem` when it must not be sent yet."""
        if self._is_settled or not fee_fen:
            return FREE
        balance, held = await self._reads.pocket(FIRST)
        if held:
            raise self.not_final()
        if not balance:
            return FIRST_USE
        first = await self._reads.first_with_fee(OperationKind.TOP_UP)
        if first is None or first.state is not State.DONE:
            raise self.not_final()
        await self._compare(first)
        self._is_settled = True
        return FREE

    def not_final(self) -> Problem:
        """The first top-up with a fee is under way or in doubt."""
        return _unconfirmed("the first top-up with a fee is not final yet", "send the same request again later")

    async def _compare(self, first: Operation) -> None:
        member = await self._reads.member(first.payee)
        assert member is not None
        before = (await self._reads.balances([member.sub_account]))[member.sub_account]
        balances = await balances_of(self._bank, member)
        after = (await self._reads.balances([member.sub_account]))[member.sub_account]
        if balances is None or before != after or after.held_fen:
            raise _unconfirmed(
                f"the bank's balance of {member.member_id} cannot be compared with the mirror now",
                f"send the same request again while no money of that member is under way; or {CONFIRM}",
                first,
            )
        row, now = balances
        if {row.AcctAvailBal, now.SubAcctAvailBal} == {after.available_fen}:
            return
        difference_fen = row.AcctAvailBal - after.available_fen
        ours = self._rules.top_up_amount
        other = "net" if ours == "gross" else "gross"
        if difference_fen == (first.fee_fen if ours == "gross" else -first.fee_fen):
            what = f"that is the fee of top-up {first.serial}: the bank reads MemberFillAmt as {other}, not {ours}"
        else:
            what = f"that is not the fee of top-up {first.serial} ({yuan(first.fee_fen)}), so something else differs"
        raise _unconfirmed(
            f"{member.member_id} has {yuan(row.AcctAvailBal)} available at the bank and {yuan(after.available_fen)} in"
            f" the mirror; {what}",
            CONFIRM,
            first,
        )


def _unconfirmed(message: str, next_step: str, first: Operation | None = None) -> Problem:
    return problems.precondition(
        ErrorReason.TOP_UP_READING_UNCONFIRMED,
        f"no second top-up with a fee is sent before the first has been compared with the bank: {message}",
        f"{next_step}; nothing was reserved or sent, the request id is not used up",
        setting="JZB_RULES__TOP_UP_AMOUNT_CONFIRMED",
        **({"first_top_up_serial": first.serial} if first else {}),
    )
