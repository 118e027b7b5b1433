"""What the bank lists of a past day and no file has, as lines to match: transfers in (6050), returned withdrawals
(6048), clearings (6108), charges (6109).

The same reading as where these things are entered: what the collection skips because it enters in another way is marked
as outside of the list here. Names and accounts of payers are left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Final

from bankclient import BankCharges, BankClient
from ledger import Reads
from ledger.day import OUTSIDE, FileType, ListLine
from ledger.names import NO_MEMBER_CODE, BankSerial, SubAccount
from service.inflows.clearing import Clearing
from service.inflows.returns import Returns
from service.inflows.transfers import TO_MEMBER, Skip, Transfers, skip_of
from service.questions.bookings import booked_on
from service.questions.lists import read_list

TAKEN: Final = "0"
"""TranStatus of a charge that the bank has taken."""


class DayLists:
    """Reads the lists of one day. Raises `Problem` for one that is not whole."""

    def __init__(
        self, bank: BankClient, reads: Reads, transfers: Transfers, returns: Returns, clearing: Clearing
    ) -> None:
        self._bank = bank
        self._reads = reads
        self._transfers = transfers
        self._returns = returns
        self._clearing = clearing
        self.read: Mapping[FileType, Callable[[date], Awaitable[list[ListLine]]]] = {
            FileType.TRANSFERS_IN: self._transfers_in,
            FileType.RETURNS: self._returned,
            FileType.CLEARINGS: self._cleared,
            FileType.CHARGES: self._charged,
        }
        """By the list that is read."""

    async def _transfers_in(self, day: date) -> list[ListLine]:
        rows, _ = await self._transfers.listed_day(day)
        return [
            ListLine(
                # Money in suspense is nobody's yet.
                member=row.TranNetMemberCode if row.InAcctType == TO_MEMBER else "",
                sub_account=row.SubAcctNo if row.InAcctType == TO_MEMBER else "",
                amount_fen=row.TranAmt,
                day=booked_on(BankSerial(row.FrontSeqNo)) or day,
                bank_serial=row.FrontSeqNo,
                # The clearing has the channels' principal, and the file of top-ups what was acquired.
                booking=OUTSIDE if skip_of(row, ()) in (Skip.CLEARING_PRINCIPAL, Skip.ACQUIRING) else "",
            )
            for row in rows
        ]

    async def _returned(self, day: date) -> list[ListLine]:
        rows, _ = await self._returns.listed_day(day)
        # The list has no member codes.
        named = await self._reads.members_by_sub_account({SubAccount(row.PayeeWitnessSubAcctNo) for row in rows})
        members = {sub_account: member.member_id for sub_account, member in named.items()}
        return [
            ListLine(
                member=members.get(SubAccount(row.PayeeWitnessSubAcctNo), NO_MEMBER_CODE),
                sub_account=row.PayeeWitnessSubAcctNo,
                amount_fen=row.RejectInAcctTranAmt,
                day=booked_on(BankSerial(row.PayeeFrontSeqNo)) or day,
                bank_serial=row.PayeeFrontSeqNo,
            )
            for row in rows
        ]

    async def _cleared(self, day: date) -> list[ListLine]:
        status = await self._clearing.status(day)
        if status is None or not status.is_cleared:
            return []
        return [ListLine(amount_fen=abs(status.total_fen), day=day, serial=f"{day:%Y%m%d}")]

    async def _charged(self, day: date) -> list[ListLine]:
        listed = await read_list(self._bank, BankCharges(FunctionFlag="2", StartDate=day, EndDate=day))
        rows = listed.required()
        return [
            ListLine(amount_fen=row.ChargeAmt, day=day, booking=OUTSIDE, order_no=f"fee type {row.FeeType}")
            for row in rows
            if row.TranStatus == TAKEN
        ]
