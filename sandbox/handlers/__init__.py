"""The interfaces, grouped as in the quick start; importing this package registers all of them."""

from sandbox.handlers import (
    clearing,
    freezes,
    members,
    payments,
    queries,
    refunds,
    topups,
    withdrawals,
)
from sandbox.handlers.registry import ROUTES, Route, routes_by_service_id

__all__ = [
    "ROUTES",
    "Route",
    "clearing",
    "freezes",
    "members",
    "payments",
    "queries",
    "refunds",
    "routes_by_service_id",
    "topups",
    "withdrawals",
]
