"""How much of a member's waiting and withdrawable money may stand otherwise here than at the bank, until the next
clearing: what the order decides that the bank alone knows.

A member's money of several days is spent in a fixed order. Credits and payments that cross are seen by the bank in one
order and by the ledger in another: a credit that the bank has booked and the ledger has not posted yet, an answer that
was lost, a return of 6048; or money that is held for a payment of which nothing comes. A payment that is reserved
meanwhile takes here of what comes later in that order. Nothing else may differ, and nothing in all: each fen needs such
a credit or hold, and such a payment.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from jzb.v1.names import OperationKind
from simulate.checker import Held, Journal, Op, Posted

BY_POCKET: Final = (OperationKind.CLEARING, OperationKind.PAY_T0, OperationKind.WITHDRAW)
"""What names the pocket that it takes of."""


def may_differ(journal: Journal, booked: Mapping[str, int], spend_order: str) -> Counter[str]:
    """The most by sub-account, in fen. ``booked`` is the place of a serial among all that the bank has booked."""
    by_id = {operation.id: operation for operation in journal.operations.values()}
    held: defaultdict[str, list[Held]] = defaultdict(list)
    voided: defaultdict[str, list[Held]] = defaultdict(list)
    for hold in journal.holds:
        if _is_spendable(hold.account):
            if by_id[hold.operation].kind not in BY_POCKET:
                held[_owner(hold.account)].append(hold)
            # Whatever it was held for, nobody else could take it here.
            if hold.verdict == "voided":
                voided[_owner(hold.account)].append(hold)
    most: Counter[str] = Counter()

    def rank(account: str) -> tuple[bool, str]:
        kind, _, rest = account.partition(":")
        return (kind == "withdrawable") == (spend_order == "waiting_first"), rest.partition(":")[2]

    for leg in journal.legs:
        if not leg.is_sweep and _is_spendable(leg.credit):
            later = (
                hold.fen
                for hold in held[_owner(leg.credit)]
                if hold.verdict == "posted"
                and rank(hold.account) > rank(leg.credit)
                and hold.reserved_at < leg.at
                and _may_be_booked_after(by_id, hold, leg, booked)
            )
            most[_owner(leg.credit)] += min(leg.fen, sum(later))
    for owner, voids in voided.items():
        for void in voids:
            later = (
                hold.fen
                for hold in held[owner]
                if hold.verdict == "posted"
                and rank(hold.account) > rank(void.account)
                and void.reserved_at <= hold.reserved_at < void.at
            )
            most[owner] += min(void.fen, sum(later))
    return most


def _may_be_booked_after(by_id: Mapping[UUID, Op], hold: Held, leg: Posted, booked: Mapping[str, int]) -> bool:
    if hold.operation == leg.operation or hold.bank_day < leg.bank_day:
        return False
    payment, credit = booked.get(by_id[hold.operation].serial), booked.get(by_id[leg.operation].serial)
    # What the bank did without being asked, such as a return, has no place in that order.
    return payment is None or credit is None or payment > credit


def _is_spendable(account: str) -> bool:
    return account.startswith(("waiting:", "withdrawable:"))


def _owner(account: str) -> str:
    return account.split(":")[1]
