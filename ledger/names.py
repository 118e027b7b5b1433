"""The names that must not be mixed up, each a type of its own: a serial where a member code is wanted is no valid call.

They cost nothing when the program runs. A value is wrapped once, where it enters: a field of a request, a row of the
database, a message of the bank.
"""

from __future__ import annotations

from typing import Final, NewType

MemberCode = NewType("MemberCode", str)
"""The platform's own code of a member (TranNetMemberCode); empty for the platform itself."""

SubAccount = NewType("SubAccount", str)
"""The bank's number of a member's sub-account (SubAcctNo)."""

Serial = NewType("Serial", str)
"""Our number of a call to the bank, or of a row of one (CnsmrSeqNo)."""

BankSerial = NewType("BankSerial", str)
"""The bank's number of a booking (FrontSeqNo)."""

RequestId = NewType("RequestId", str)
"""The caller's name of a change; the service's own have a space."""

NO_MEMBER_CODE: Final = MemberCode("")
NO_SUB_ACCOUNT: Final = SubAccount("")
NO_SERIAL: Final = Serial("")
NO_BANK_SERIAL: Final = BankSerial("")
