"""Names that operations are recorded with: why one is in its state, and what a plan keeps for later calls.

Callers read them as error reasons (`service.problems`, `service.view`).
"""

from __future__ import annotations

from typing import Final

from ledger import REASON_FAULT

SEND_AGAIN: Final = "send-again"
"""The reason of an UNKNOWN operation that the bank wants again (`Verdict.AGAIN`)."""

STILL_NEEDED: Final = "still-needed"
"""The reason of a RELEASED closing whose member was found to be needed when it was reserved."""

STOPPED: Final = "stopped"
"""The reason of an UNKNOWN operation whose process stopped before the bank had answered."""

SERVICE_FAULT: Final = REASON_FAULT
"""The reason of an UNKNOWN operation whose process met an error that nobody foresaw, between reserving and settling."""

ORDER_DIFFERS: Final = "order-differs"
"""The reason of a REFUSED entry of an acquired order that the bank has booked otherwise than the request says."""

APPROVAL: Final = "approval"
"""In an operation's plan: the proposal it was approved as, and the names of who approved it."""

TAGS: Final = "tags"
"""In an operation's plan: the caller's own reference and labels."""

REMARK: Final = "remark"
"""In an operation's plan: the remark of the request, without numbers that look personal."""

CHANNEL: Final = "channel"
CHANNEL_SERIAL: Final = "channel_serial"
"""In `Plan.keep` of a top-up: its channel, and the channel's number, for its revocation."""

MASKED_CARD: Final = "masked_card"
"""In `Plan.keep`: the card that the operation is about, as callers are shown it."""

ORIGINAL: Final = "original"
"""In `Plan.keep`: the serial of what the call takes or gives back."""
