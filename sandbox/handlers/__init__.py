"""The interfaces, grouped as in the quick start; importing this package registers all of them."""

from sandbox.handlers import (
    batches,
    clearing,
    files,
    freezes,
    members,
    payments,
    platform,
    queries,
    refunds,
    returns,
    revocations,
    statements,
    topups,
    verification,
    withdrawals,
)
from sandbox.handlers.registry import ROUTES, Route, routes_by_service_id

__all__ = [
    "ROUTES",
    "Route",
    "batches",
    "clearing",
    "files",
    "freezes",
    "members",
    "payments",
    "platform",
    "queries",
    "refunds",
    "returns",
    "revocations",
    "routes_by_service_id",
    "statements",
    "topups",
    "verification",
    "withdrawals",
]
