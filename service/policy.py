"""Who may do what: the policy file as values, and what one call may do under it.

A call is made by a caller, a service known by its certificate, and maybe for a person, known by a token. `Rights` are
what both may. Nothing is given that the file does not give. Pure but for `read`: no clock, no state.

    [callers."spiffe://shop.example/orders"]
    scopes = ["money.pay", "money.refund", "read.own"]
    namespace = "orders"          # of its request ids; "" is the one that all used before there was a policy
    members = ["S", "B"]          # first letters of the member codes it may name and see; ["*"] is all
    amount_per_call_fen = 5_000_000
    amount_per_day_fen = 100_000_000
    calls_max = 200               # under way at once in one process

    [people."7f0c2a"]             # the subject of a token
    scopes = ["manual", "read.all"]
    members = ["*"]

    [[approvals]]                 # what another identity must approve
    scopes = ["money.withdraw"]
    amount_above_fen = 1_000_000  # without it: whatever the amount
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from jzb.v1 import options_pb2
from ledger.names import RequestId

Scope: TypeAlias = options_pb2.Scope.ValueType

SCOPES: Final[Mapping[str, Scope]] = {
    value.name.removeprefix("SCOPE_").lower().replace("_", "."): options_pb2.Scope.ValueType(value.number)
    for value in options_pb2.Scope.DESCRIPTOR.values
    if value.number
}
"""By the names that policy files have."""

SCOPE_NAMES: Final[Mapping[Scope, str]] = {scope: name for name, scope in SCOPES.items()}

AUDITED: Final = frozenset(SCOPES[name] for name in ("manual", "approve", "audit", "files", "admin"))
"""What each call of goes to the audit trail."""

APPROVABLE: Final = frozenset(name for name in SCOPES if name.startswith("money.") or name == "manual")
"""Whose calls a policy may mark for two people: their requests have the field approval."""

LOCAL: Final = "local"
"""The caller that no certificate names: whoever reaches a port that asks for none."""

ALL_MEMBERS: Final = "*"
BETWEEN: Final = "/"
"""Between a namespace and a request id, where they are kept. No request id can have it (core.proto)."""


class PolicyWrong(Exception):
    """A policy file that cannot be used; the message names the file, the line and what is wrong there."""


def _known(scopes: frozenset[str]) -> frozenset[str]:
    if unknown := sorted(scopes - SCOPES.keys()):
        raise ValueError(f"there is no scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    return scopes


def _approvable(scopes: frozenset[str]) -> frozenset[str]:
    if others := sorted(_known(scopes) - APPROVABLE):
        raise ValueError(f"no call of {', '.join(others)} can be approved, but of {', '.join(sorted(APPROVABLE))}")
    return scopes


Fen = Annotated[int, Field(ge=1, le=10**15, strict=True)]
Prefix = Annotated[str, Field(pattern=r"^([A-Za-z0-9_]{1,32}|\*)$")]
Name = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]


class Grant(BaseModel):
    """What one name is given. A limit that is left out is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scopes: Annotated[frozenset[str], AfterValidator(_known)]
    members: tuple[Prefix, ...]
    amount_per_call_fen: Fen | None = None
    amount_per_day_fen: Fen | None = None
    calls_max: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None

    @property
    def given(self) -> frozenset[Scope]:
        """The scopes; who may read all may read his own."""
        given = frozenset(SCOPES[name] for name in self.scopes)
        return given | {options_pb2.SCOPE_READ_OWN} if options_pb2.SCOPE_READ_ALL in given else given


class CallerGrant(Grant):
    """What a service is given. One with ``needs_person`` acts for people alone."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,32}$")]
    needs_person: bool = False


class ApprovalRule(BaseModel):
    """Which calls need two people: of these scopes, that move more than an amount, of these callers or of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scopes: Annotated[frozenset[str], Field(min_length=1), AfterValidator(_approvable)]
    amount_above_fen: Annotated[int, Field(ge=0, le=10**15, strict=True)] | None = None
    callers: frozenset[Name] = frozenset()

    def is_about(self, caller: str) -> bool:
        """Whether it marks calls of this caller."""
        return not self.callers or caller in self.callers

    def marks(self, scope: Scope, amount_fen: int) -> bool:
        """Whether it marks such a call."""
        is_enough = self.amount_above_fen is None or amount_fen > self.amount_above_fen
        return is_enough and SCOPE_NAMES.get(scope) in self.scopes


class Policy(BaseModel):
    """A policy file. ``revoked`` are SHA-256 digests of certificates that are taken no more, in hexadecimal digits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    callers: dict[Name, CallerGrant] = {}
    people: dict[Name, Grant] = {}
    approvals: tuple[ApprovalRule, ...] = ()
    revoked: frozenset[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = frozenset()

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those of all callers."""
        return tuple(sorted({one.namespace for one in self.callers.values()}))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a name may move on one bank day. ``who`` is "caller " or "person " and the name."""

    who: str
    limit_fen: int


@dataclass(frozen=True, slots=True)
class Approved:
    """That another identity has approved the present call, and as what: only that may be carried out."""

    proposal_id: UUID
    caller: str
    person: str
    payer: str
    payee: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Rights:
    """What the calls of one caller, and of one person behind it, may do.

    ``namespace`` is that of its request ids; ``namespaces`` are all, for who may read all. ``members`` has a tuple of
    prefixes for each name that is limited to some: a member must meet them all.
    ``in_flight`` are the limits of calls under way, by the names that they belong to. ``approvals`` mark what needs two
    people; ``approved`` is a call for which there are two.
    """

    caller: str
    person: str = ""
    scopes: frozenset[Scope] = frozenset()
    namespace: str = ""
    namespaces: tuple[str, ...] = ()
    members: tuple[tuple[str, ...], ...] = ()
    per_call_fen: int | None = None
    per_day: tuple[Allowance, ...] = ()
    in_flight: tuple[tuple[str, int], ...] = ()
    approvals: tuple[ApprovalRule, ...] = ()
    approved: Approved | None = None

    @property
    def sees_all(self) -> bool:
        """Whether nothing is left out of what it reads."""
        return options_pb2.SCOPE_READ_ALL in self.scopes

    def has_member(self, member_id: str) -> bool:
        """Whether a member code is one of its own."""
        for prefixes in self.members:  # noqa: SIM110 - a third of the time, several times a call
            if not member_id.startswith(prefixes):
                return False
        return True

    def stored(self, request_id: str) -> RequestId:
        """A request id of this caller as it is kept."""
        return in_namespace(self.namespace, request_id)

    def ways_to_store(self, request_id: str) -> tuple[RequestId, ...]:
        """All ways in which a request id that it looks up may be kept; of others only for who may read all."""
        others = () if not self.sees_all else ("", *self.namespaces)
        return tuple(in_namespace(one, request_id) for one in dict.fromkeys((self.namespace, *others)))


def in_namespace(namespace: str, request_id: str) -> RequestId:
    """A request id as it is kept; with its namespace before it already it is so in none."""
    return RequestId(f"{namespace}{BETWEEN}{request_id}" if namespace else request_id)


OWN_WORK: Final = Rights("", scopes=frozenset(SCOPES.values()))
"""Of what the service does by itself, with no call behind it."""

_present: ContextVar[Rights] = ContextVar("rights", default=OWN_WORK)


def scope_name(scope: Scope) -> str:
    """As policy files have it."""
    return SCOPE_NAMES.get(scope, "that no policy can give")


def begin(rights: Rights) -> None:
    """The present task works for a caller with these rights."""
    _present.set(rights)


def present() -> Rights:
    """The rights of whoever is worked for."""
    return _present.get()


EVERYTHING: Final = Rights(LOCAL, scopes=frozenset(SCOPES.values()))
"""Of the local caller while there is no policy."""


def namespace_of(stored: str) -> tuple[str, str]:
    """The namespace and the request id that `Rights.stored` put together; no id for what the bank did by itself."""
    if " " in stored:
        return "", ""
    namespace, _, request_id = stored.rpartition(BETWEEN)
    return namespace, request_id


def rights_of(policy: Policy, caller: str, person: str) -> Rights | str:
    """What a call of these two may do, or why nothing."""
    grant = policy.callers.get(caller)
    if grant is None:
        return f"the policy gives caller {caller} nothing"
    if not person:
        if grant.needs_person:
            return f"caller {caller} acts for people alone, and the call has no token"
        return _both(policy, caller, "", grant, ((f"caller {caller}", grant),))
    behind = policy.people.get(person)
    if behind is None:
        return f"the policy gives person {person} nothing"
    return _both(policy, caller, person, grant, ((f"caller {caller}", grant), (f"person {person}", behind)))


def _both(policy: Policy, caller: str, person: str, grant: CallerGrant, names: tuple[tuple[str, Grant], ...]) -> Rights:
    grants = [one for _, one in names]
    limits = [one.amount_per_call_fen for one in grants if one.amount_per_call_fen is not None]
    scopes = frozenset.intersection(*(one.given for one in grants))
    return Rights(
        caller=caller,
        person=person,
        scopes=scopes,
        namespace=grant.namespace,
        namespaces=policy.namespaces if options_pb2.SCOPE_READ_ALL in scopes else (),
        members=tuple(one.members for one in grants if ALL_MEMBERS not in one.members),
        per_call_fen=min(limits, default=None),
        per_day=tuple(Allowance(who, one.amount_per_day_fen) for who, one in names if one.amount_per_day_fen),
        in_flight=tuple((who, one.calls_max) for who, one in names if one.calls_max is not None),
        approvals=tuple(rule for rule in policy.approvals if rule.is_about(caller)),
    )


def read(path: Path) -> Policy:
    """The policy in a file. Raises `PolicyWrong`."""
    try:
        return parse(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as unreadable:
        raise PolicyWrong(f"{path} (JZB_POLICY) cannot be read: {unreadable}") from None


def parse(text: str, where: str) -> Policy:
    """The policy in a text; ``where`` is named in errors. Raises `PolicyWrong`."""
    try:
        return Policy.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as wrong:
        raise PolicyWrong(f"{where} is no TOML: {wrong}") from None
    except ValidationError as wrong:
        faults = []
        for one in wrong.errors(include_input=False, include_url=False):
            path = tuple(str(part) for part in one["loc"] if part != "[key]")
            faults.append(f"line {_line(text, path)}: {'.'.join(path)}: {one['msg'].removeprefix('Value error, ')}")
        raise PolicyWrong(f"{where}: {'; '.join(faults)}") from None


def _line(text: str, path: tuple[str, ...]) -> int:
    """Where in a TOML text a value stands, or what should have it: the line of its key, else of its table."""
    found = 1
    table: tuple[str, ...] = ()
    seen: Counter[tuple[str, ...]] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        names = _table(line)
        if names is not None:
            # A table of a list is named by its place in the list.
            table = (*names, str(seen[names])) if line.lstrip().startswith("[[") else names
            seen[names] += 1
            if table[: len(path)] == path[: len(table)]:
                found = number
        elif table == path[: len(table)] and len(path) > len(table):
            key = re.match(r"""\s*["']?([^"'=\s]+)["']?\s*=""", line)
            if key is not None and key.group(1) == path[len(table)]:
                return number
    return found


def _table(line: str) -> tuple[str, ...] | None:
    """The keys of a table's head, read as TOML reads it; None for any other line."""
    if not line.lstrip().startswith("["):
        return None
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    names: list[str] = []
    while isinstance(value, dict) and value:
        ((name, value),) = value.items()
        names.append(name)
    return tuple(names)
