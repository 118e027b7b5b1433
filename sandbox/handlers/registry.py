"""Which handler serves which interface.

A handler is a function of a `Context` and one typed request that returns the typed reply; `@handles`
names the request classes it serves. To add an interface: write the function in the module of its
quick-start heading and decorate it. Nothing else needs to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bankclient.messages import Reply, Request
from sandbox.context import Context

Handler = Callable[[Context, Any], Reply]
RowSerials = Callable[[Any], list[str]]
H = TypeVar("H", bound=Callable[..., Reply])


@dataclass(frozen=True)
class Route:
    """One interface: its message, its handler, and how 6110 finds its transactions.

    `asked_by` is the FunctionFlag of 6110, empty when 6110 does not know the interface.
    `row_serials` gives the serials under which 6110 finds a request that has one per row instead.
    """

    request_class: type[Request[Any]]
    handler: Handler
    asked_by: str
    row_serials: RowSerials | None

    @property
    def code(self) -> str:
        return self.request_class.code

    @property
    def changes(self) -> bool:
        """Whether a repeat under the same serial must get the first answer."""
        return self.request_class.changes

    def serials(self, request: Any, call_serial: str) -> list[str]:
        """The serials 6110 knows a request by."""
        if not self.asked_by:
            return []
        return [call_serial] if self.row_serials is None else self.row_serials(request)


ROUTES: Final[dict[str, Route]] = {}
"""By interface code."""


def handles(
    *request_classes: type[Request[Any]],
    asked_by: str = "",
    row_serials: RowSerials | None = None,
) -> Callable[[H], H]:
    """Register a handler for one or more request classes."""

    def register(handler: H) -> H:
        for request_class in request_classes:
            if request_class.code in ROUTES:
                raise ValueError(f"{request_class.code} has a handler already")
            ROUTES[request_class.code] = Route(request_class, handler, asked_by, row_serials)
        return handler

    return register


def routes_by_service_id(service_ids: Mapping[str, str]) -> dict[str, Route]:
    """Every route by the last part of its address; `service_ids` (code to id) names those whose
    ids are not public, and without it they cannot be reached."""
    found = {}
    for code, route in ROUTES.items():
        service_id = service_ids.get(code) or route.request_class.service_id
        if service_id is not None:
            found[service_id] = route
    return found
