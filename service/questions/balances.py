"""What the bank says of balances (6010, 6037), and which of its sub-accounts is which account of the mirror."""

from __future__ import annotations

from bankclient import MemberBalancesReply, SubAccountBalancesReply, SubAccountBalancesRow
from ledger import Kind

COMPARED_PROPERTIES = {"2": Kind.SUSPENSE, "3": Kind.FEE, "7": Kind.IN_TRANSIT, "12": Kind.WITHDRAWING}
"""SubAcctProperty of 6010 flag 3 and the mirror's account behind it; own funds come from the settings."""

MIRRORED_PROPERTIES = {
    **COMPARED_PROPERTIES,
    "4": Kind.INTEREST,
    "13": Kind.MARKETING,
}
"""SubAcctProperty of 6010 flag 3 and the mirror's account that stands for it (catalogue, sub_acct_property)."""


def balances_of(
    sub_account: str, listed: SubAccountBalancesReply | None, frozen: MemberBalancesReply | None
) -> tuple[SubAccountBalancesRow, MemberBalancesReply] | None:
    """What 6010 (QueryFlag 2) and 6037 tell of a sub-account; None unless both tell of this one alone."""
    rows = () if listed is None else listed.AcctArray
    if frozen is None or len(rows) != 1 or {rows[0].SubAcctNo, frozen.SubAcctNo} != {sub_account}:
        return None
    return rows[0], frozen
