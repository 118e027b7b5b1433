"""What reconciliation refuses.

DayError
├── BreakUnknown     there is no such break on this platform
├── BreakClosed      it is closed: nothing more can be decided of it
├── FileUnreadable   the content ends in the middle, or its sums are more than there can be; nothing was kept
├── DayNotReady      the day cannot be signed as it stands
└── SignedBySame     the second signature is by who gave the first
"""

from __future__ import annotations


class DayError(Exception):
    """Anything that reconciliation refuses."""


class BreakUnknown(DayError):
    """There is no break of this id."""


class BreakClosed(DayError):
    """The break is closed."""


class FileUnreadable(DayError):
    """The content of a file cannot be taken in."""


class DayNotReady(DayError):
    """A day cannot be signed: which types are not ready, or what has changed since the first signature."""


class DayChanged(DayNotReady):
    """A day was signed or has changed since whoever signs it has looked."""


class SignedBySame(DayError):
    """Two signatures need two identities."""
