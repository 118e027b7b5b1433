"""Faults on demand: what can go wrong with one delivery, and who asked for it.

Asked for by a rule (`Faults.add`, or `POST /control/faults`) that waits for a service, or by a text
of the request itself that contains `[[fault]]`, so that an outside gRPC client can ask for one. A
directive strikes the first delivery of its serial (`history:n` the first n), so a retry gets through.
Nothing in here acts: the server and the bank look up in a `FaultPlan` what is to go wrong. Rules are
not kept over a restart. Faults in the rows of a day's files and lists are `sandbox/dayfaults.py`'s.

| fault | what happens |
|---|---|
| `lose_before` | the connection drops, the bank never saw the request |
| `lose_after` | the bank acts, then the connection drops |
| `delay:<s>` | the bank acts at once and answers after `<s>` seconds |
| `act_late:<s>` | the bank acts, and answers, after `<s>` seconds |
| `http500` | HTTP 500, not acted |
| `bad_signature`, `no_signature`, `malformed` | acted; the answer's signature is wrong or missing, or its JSON is cut short |
| `folded` | acted; what was signed is cut into fields anew: CnsmrSeqNo is in the name of the field behind it |
| `token_expired` | the gateway answers OPEN-E-100073, unsigned, not acted |
| `expire_flag` | acted; tokenExpiryFlag is "true" |
| `expire_flag_alone` | signed, tokenExpiryFlag "true" and no code; not acted |
| `refuse:<code>` | refused with that code, not acted |
| `err957` | acted, but answered ERR957 (ask later) |
| `answer:<code>` | acted, but answered that code |
| `part_of_batch` | on 6052, 6120, 6133: the first row alone is acted on, whatever is answered |
| `history:<n>` | 6164: n times the message that the original is being searched, not acted |
| `not_found_first:<n>` | on a money call: 6110 and 6072 know nothing of it the first n times; on 6110: n times ERR020 |
| `duplicate_delivery` | the request reaches the bank twice |
| `duplicate_late:<s>` | and a second time after `<s>` seconds, whatever has happened meanwhile |
| `file_empty_day` | 6103 says that there is no file |
| `file_wrong_md5`, `file_truncated` | on 6103: the file loses a bit, or its second half, after its MD5 was taken |
| `file_wrong_draw_code`, `file_wrong_password` | on 6103: it gives another one |
| `file_two_entries`, `file_too_large`, `file_not_gb18030` | on 6103: so the ZIP holds |
| `file_bad_row`, `file_wrong_count`, `file_without_ok` | on 6103: a shifted second row; a count that differs; no count |
| `file_refused:<code>` | on 6103: the file server answers that EFS code |
| `file_session_lost:<n>` | on 6103: the file server forgets the session before piece n, once |
| `withdrawal_fail`, `withdrawal_return` | the withdrawal ends failed, or succeeds and comes back |
"""  # noqa: E501

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sandbox.dayfaults import DayFaults

WITHOUT_ARGUMENT: Final = frozenset(
    {
        "lose_before",
        "lose_after",
        "http500",
        "bad_signature",
        "no_signature",
        "malformed",
        "part_of_batch",
        "token_expired",
        "expire_flag",
        "expire_flag_alone",
        "err957",
        "folded",
        "duplicate_delivery",
        "file_bad_row",
        "file_empty_day",
        "file_not_gb18030",
        "file_too_large",
        "file_truncated",
        "file_two_entries",
        "file_without_ok",
        "file_wrong_count",
        "file_wrong_draw_code",
        "file_wrong_md5",
        "file_wrong_password",
        "withdrawal_fail",
        "withdrawal_return",
    }
)
SECONDS: Final = frozenset({"delay", "act_late", "duplicate_late"})
COUNTED: Final = frozenset({"file_session_lost", "history", "not_found_first"})
CODED: Final = frozenset({"answer", "file_refused", "refuse"})

STATUS_QUERY: Final = "6110"

_DIRECTIVE: Final = re.compile(r"\[\[([a-z0-9_]+)(?::([A-Za-z0-9.]+))?\]\]")
_CODE: Final = re.compile(r"[A-Z0-9]{5,8}")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to go wrong; ValueError from `parse` when there is no such thing."""

    name: str
    argument: str = ""

    @classmethod
    def parse(cls, text: str) -> Fault:
        name, _, argument = text.partition(":")
        if name in WITHOUT_ARGUMENT and not argument:
            return cls(name)
        if name in SECONDS and 0 <= float(argument) <= 3600:
            return cls(name, argument)
        if name in COUNTED and 1 <= int(argument) <= 1000:
            return cls(name, argument)
        if name in CODED and _CODE.fullmatch(argument):
            return cls(name, argument)
        raise ValueError(f"no such fault: {text}")


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults of one delivery."""

    faults: tuple[Fault, ...] = ()

    def has(self, name: str) -> bool:
        return any(one.name == name for one in self.faults)

    def text(self, name: str) -> str | None:
        """The argument of a fault, or None when it was not asked for."""
        return next((one.argument for one in self.faults if one.name == name), None)

    def seconds(self, name: str) -> float:
        """The argument of a fault as seconds, 0 when it was not asked for."""
        return float(self.text(name) or 0)


NO_FAULTS: Final = FaultPlan()


@dataclass(slots=True)
class Rule:
    """A fault that waits: `after` matching deliveries pass, then `times` are struck (None: all)."""

    fault: Fault
    service_id: str | None
    code: str | None
    times: int | None
    after: int

    def strikes(self, service_id: str, code: str) -> bool:
        if self.service_id not in (None, service_id) or self.code not in (None, code):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return True


class Faults:
    """Everything asked for and not yet done."""

    def __init__(self, directives: bool = True) -> None:
        self._directives = directives
        self._rules: list[Rule] = []
        self._deliveries: Counter[str] = Counter()
        self._hidden: Counter[str] = Counter()
        self.days = DayFaults()
        """What goes wrong with the files and lists of a day."""

    def add(
        self,
        fault: str,
        *,
        service_id: str | None = None,
        code: str | None = None,
        times: int | None = 1,
        after: int = 0,
    ) -> None:
        """Ask for a fault of the next deliveries to a service (by id or interface code, or any).

        `times` None means every delivery until `clear`. A counted fault (`history:3`) that strikes
        each of n deliveries by itself takes n from its argument when `times` is left at 1.
        """
        parsed = Fault.parse(fault)
        per_delivery = parsed.name == "history" or STATUS_QUERY in (
            code,
            _code_of(service_id),
        )
        if parsed.name in COUNTED and per_delivery and times == 1:
            times = int(parsed.argument)
        if after < 0 or (times is not None and times < 1):
            raise ValueError("times is at least 1, after at least 0")
        self._rules.append(Rule(parsed, service_id, code, times, after))

    def clear(self) -> None:
        """Forget all rules and all hidden serials."""
        self._rules.clear()
        self._hidden.clear()

    def take(self, service_id: str, code: str, serial: str, text: str) -> FaultPlan:
        """The faults that strike this delivery; counts it."""
        struck = [rule.fault for rule in self._rules if rule.strikes(service_id, code)]
        if struck:
            self._rules = [rule for rule in self._rules if rule.times != 0]
        if self._directives and "[[" in text:
            struck.extend(self._directed(serial, text))
        return FaultPlan(tuple(struck)) if struck else NO_FAULTS

    def hide(self, serial: str, times: int) -> None:
        """Let 6110, and the list of 6072, know nothing of a serial for the next `times` queries."""
        self._hidden[serial] = times

    def hides(self, serials: Iterable[str]) -> bool:
        """Whether this query must not find any of these; counts it."""
        for serial in serials:
            if self._hidden[serial] > 0:
                self._hidden[serial] -= 1
                return True
        return False

    def _directed(self, serial: str, text: str) -> list[Fault]:
        self._deliveries[serial] += 1
        delivery = self._deliveries[serial]
        struck = []
        for name, argument in _DIRECTIVE.findall(text):
            try:
                fault = Fault.parse(f"{name}:{argument}" if argument else name)
            except ValueError:
                continue
            if delivery == 1 or (name == "history" and delivery <= int(argument)):
                struck.append(fault)
        return struck


def _code_of(service_id: str | None) -> str | None:
    return STATUS_QUERY if service_id == "SingleTransactionStatusQuery" else None
