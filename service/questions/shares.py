"""One share of an acquired order: where its money goes when the bank books it, to a member or to parking. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger import Account, Draft, Kind, Leg, OfDay
from ledger.accounts import FEE, LIMITS, frozen, frozen_fee, parking
from ledger.names import NO_MEMBER_CODE, MemberCode, SubAccount
from ledger.rules import Source


@dataclass(frozen=True, slots=True)
class AcquiredShare:
    """One share of an acquired order as the request has it: its number at the bank, and what the bank should credit.

    ``holds_fee`` says that the fee stays frozen with the rest until a release or payment.
    """

    order_no: str
    sub_account: SubAccount
    amount_fen: int
    fee_fen: int
    is_frozen: bool
    holds_fee: bool = False

    def booked(self, planned: Draft, sub_account: SubAccount | None, member_id: MemberCode = NO_MEMBER_CODE) -> Draft:
        """What the bank did of a planned draft: the share went to ``sub_account``, or was parked when there is none.
        ``member_id`` is the member there, where it is not the planned one.
        """
        controls = [leg for leg in planned.legs if leg.credit == LIMITS]
        return replace(planned, legs=(*controls, *self.credits(sub_account)), payee=member_id or planned.payee)

    def credits(self, sub_account: SubAccount | None) -> tuple[Leg, ...]:
        """Its money out of in-transit: to a member and to fees, or parked whole."""
        owed = OfDay(Kind.IN_TRANSIT)
        if sub_account is None:
            return (Leg(owed, parking(self.order_no), self.amount_fen),)
        return self.full_legs(owed, owed, sub_account)

    def full_legs(self, net_source: Source, fee_source: Source, sub_account: SubAccount) -> tuple[Leg, ...]:
        """The whole of it to its member, and its fee to fees or to where it stays frozen."""
        legs = []
        if self.amount_fen > self.fee_fen:
            legs.append(Leg(net_source, self.pocket(sub_account), self.amount_fen - self.fee_fen))
        if self.fee_fen:
            fee = frozen_fee(sub_account, self.order_no) if self.holds_fee else FEE
            legs.append(Leg(fee_source, fee, self.fee_fen))
        return tuple(legs)

    def pocket(self, sub_account: SubAccount) -> Account | OfDay:
        """Where a member gets it: frozen under its number, or waiting."""
        return frozen(sub_account, self.order_no) if self.is_frozen else OfDay(Kind.UNCLEARED, sub_account)
