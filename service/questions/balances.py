"""What the bank says of balances (6010, 6037), and which of its sub-accounts is which account of the mirror."""

from __future__ import annotations

import asyncio

from bankclient import BankClient, MemberBalances, MemberBalancesReply, SubAccountBalances, SubAccountBalancesRow
from ledger import Kind, Member
from service.questions.calls import query_bank

COMPARED_PROPERTIES = {"2": Kind.SUSPENSE, "3": Kind.FEE, "7": Kind.IN_TRANSIT, "12": Kind.WITHDRAWING}
"""SubAcctProperty of 6010 flag 3 and the mirror's account behind it; own funds come from the settings."""

MIRRORED_PROPERTIES = {
    **COMPARED_PROPERTIES,
    "4": Kind.INTEREST,
    "13": Kind.MARKETING,
}
"""SubAcctProperty of 6010 flag 3 and the mirror's account that stands for it (catalogue, sub_acct_property)."""


async def balances_of(bank: BankClient, member: Member) -> tuple[SubAccountBalancesRow, MemberBalancesReply] | None:
    """What 6010 (QueryFlag 2) and 6037 tell of a member's sub-account; None unless both tell of this one alone.

    Raises `Problem`.
    """
    listed, frozen = await asyncio.gather(
        query_bank(bank, SubAccountBalances(QueryFlag="2", SubAcctNo=member.sub_account)),
        query_bank(bank, MemberBalances(TranNetMemberCode=member.member_id)),
    )
    rows = () if listed is None else listed.AcctArray
    if frozen is None or len(rows) != 1 or {rows[0].SubAcctNo, frozen.SubAcctNo} != {member.sub_account}:
        return None
    return rows[0], frozen
