"""What can go wrong with the embedded PostgreSQL.

LedgerError
└── PostgresNotStarted   no server answers; the message says why and what to do
"""

from __future__ import annotations

from ledger import LedgerError


class PostgresNotStarted(LedgerError):
    """No server answers. The message says why and what to do about it."""
