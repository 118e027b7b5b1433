"""Every event that the service logs, declared once: its words, its level, its fields, what it means and what to do.

A log line is written by `Event.log` and in no other way, so that the same event has the same words everywhere.
docs/operations/logs.md is made of this list. An error is something to do for whoever is on call; a warning passes by
itself, and an alert on a metric says when it does not; info is what the books record anyway. A field never holds a
name, a card, an identity or a phone number.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from bankclient import BankUnavailable
from ledger import LedgerBehind, LedgerBusy, LedgerUnavailable, Operation
from service.problems import Problem

_log = structlog.get_logger()

Level = Literal["info", "warning", "error"]

_about: ContextVar[Operation | None] = ContextVar("about", default=None)
_last_s: dict[str, float] = {}
_errors: dict[str, int] = {}


def about(operation: Operation) -> None:
    """Name the operation that the present task works on: each of its log lines from here on says so."""
    _about.set(operation)


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of log line. ``name`` is its ``event``.

    ``fields`` are all that a line may have beside time, level, trace id, operation id and serial. ``action`` is for
    whoever is on call. ``shows_error`` is for lines with the traceback. Of an event with ``every_s`` a process writes
    one line in so many seconds at most: while PostgreSQL or the bank is away, a hundred lines say no more than one.
    """

    name: str
    level: Level
    meaning: str
    action: str
    fields: tuple[str, ...] = ()
    shows_error: bool = False
    every_s: float = 0.0

    def log(self, error: BaseException | None = None, /, **fields: str | float) -> None:
        """Write one line. ``error`` is shown with its traceback, where the event has one."""
        if self.every_s:
            now_s = time.monotonic()
            if now_s - _last_s.get(self.name, -self.every_s) < self.every_s:
                return
            _last_s[self.name] = now_s
        if self.level == "error":
            _errors[self.name] = _errors.get(self.name, 0) + 1
        if (one := _about.get()) is not None:
            named = {"operation_id": str(one.id), "serial": one.serial, "trace_id": one.trace_id}
            fields = {**{name: value for name, value in named.items() if value}, **fields}
        if self.shows_error:
            getattr(_log, self.level)(self.name, exc_info=error or True, **fields)
        else:
            getattr(_log, self.level)(self.name, **fields)

    def log_failure(self, error: Exception, **fields: str | float) -> None:
        """Write why work in the background has failed: this event while the bank or PostgreSQL is away, else an error.

        Books that contradict a seal, or are behind the bank, do not mend themselves.
        """
        if isinstance(error, AWAY):
            self.log(why=why(error), **fields)
        elif isinstance(error, LedgerBehind):
            BOOKS_BEHIND.log(why=str(error))
        else:
            UNFORESEEN.log(error, **fields)


AWAY: Final = (Problem, LedgerUnavailable, LedgerBusy, BankUnavailable, TimeoutError, OSError)
"""What work in the background ends with while the bank or PostgreSQL is away."""


def why(error: BaseException) -> str:
    """Why something did not work, in a word or a line: of a problem its reason, which quotes nothing of a request."""
    return str(error.reason) if isinstance(error, Problem) else f"{type(error).__name__}: {error}".rstrip(": ")


PASSES: Final = "Nothing: it passes when PostgreSQL or the bank is back."
NOTHING: Final = "Nothing."

LISTENS = Event("gRPC listens", "info", "The service has started and takes calls.", NOTHING, ("port",))
LOCAL_CALLERS = Event(
    "callers are not told apart",
    "info",
    "The port asks for no certificates. Whoever reaches it is the caller `local`, with every right while no policy is"
    " given.",
    "Nothing on a developer's machine. Elsewhere set JZB_TLS_CLIENT_CA and JZB_POLICY.",
    ("listen", "rights"),
)
INSECURE = Event(
    "callers from outside are not told apart",
    "warning",
    "JZB_INSECURE lets other machines call without certificates. Each of them is the caller `local`.",
    "Set JZB_TLS_CERTIFICATE, JZB_TLS_KEY and JZB_TLS_CLIENT_CA, unless something in front does what they do.",
    ("listen", "rights"),
)
NOBODY_MAY = Event(
    "no caller may do anything",
    "warning",
    "Callers are known by their certificates, and there is no policy that gives them a scope: every call is refused.",
    "Write a policy file and set JZB_POLICY (docs/operations/security.md).",
)
POLICY_READ = Event(
    "the policy was read",
    "info",
    "The policy file has changed and holds for every call from now on.",
    NOTHING,
    ("callers", "people"),
)
POLICY_REFUSED = Event(
    "the policy cannot be used",
    "error",
    "The policy file has changed and is wrong. The last one that was right still holds.",
    "Correct the file: the line names what is wrong and where. It is read again when it changes.",
    ("why",),
)
CERTIFICATE_REFUSED = Event(
    "the certificate cannot be used",
    "error",
    "The files of the server's certificate have changed and do not fit together, or have ended. New connections still"
    " get the last one that was right.",
    "Put files in place that belong together (JZB_TLS_CERTIFICATE, JZB_TLS_KEY, JZB_TLS_CLIENT_CA).",
    ("why",),
    every_s=60.0,
)
CERTIFICATE_RENEWED = Event(
    "the certificate was renewed",
    "info",
    "New connections get the certificate that is in the files now.",
    NOTHING,
    ("ends",),
)
TOKEN_KEYS_NOT_READ = Event(
    "token keys cannot be read",
    "warning",
    "The keys of the tokens' issuer could not be read. Those that are known are used for an hour; then tokens are"
    " refused.",
    "Look at JZB_OIDC__JWKS when it does not pass.",
    ("why",),
    every_s=60.0,
)
REFUSED_CALLER = Event(
    "a call was refused",
    "warning",
    "Somebody called without a name that counts, or without the right.",
    "Find out who it was. A name that should have the right is missing in the policy file.",
    ("method", "reason", "why", "peer"),
    every_s=1.0,
)
AUDITED = Event(
    "a call was audited",
    "info",
    "A call of a scope for few has begun, and the audit trail has an entry of it. In a log that is kept elsewhere this"
    " line shows later that the trail was not cut off.",
    NOTHING,
    ("number", "method", "caller"),
)
AUDIT_END_NOT_WRITTEN = Event(
    "the audit trail lacks an end",
    "warning",
    "An audited call has ended, and the database could not take the entry that says so. This line says it instead.",
    "Keep this line with the audit trail.",
    ("number", "outcome", "method", "why"),
)
DATABASE_AWAITED = Event(
    "the service waits for its database",
    "warning",
    "PostgreSQL cannot be reached when the service starts. It tries again at growing intervals and takes no call.",
    "Look at PostgreSQL, or at DATABASE_URL, when it does not pass.",
    ("why",),
)
DATABASE_WEAK = Event(
    "the database weakens a promise",
    "warning",
    "A setting of PostgreSQL makes something less safe than docs/guarantees.md promises; the service works.",
    "Change the setting that the line names before the next start.",
    ("what",),
)
SECRET_OPEN_TO_ALL = Event(
    "every user of this machine may read a secret",
    "warning",
    "A file with a secret (JZB_…_FILE, $CREDENTIALS_DIRECTORY, $JZB_SECRETS_DIR) or a private key is readable by all.",
    "Give it to the user of the service alone: `chmod 400`, or defaultMode 0400 of a mounted volume.",
    ("setting", "path"),
)
STOPPED_EARLY = Event(
    "stopped before they ended",
    "warning",
    "The service was stopped, and these calls had no answer of the bank within JZB_DRAIN_S. They are marked UNKNOWN.",
    "Nothing: the resolver of another process, or of the next start, asks the bank about them.",
    ("calls",),
)
UNFORESEEN = Event(
    "unforeseen",
    "error",
    "A fault of the program. The caller got SERVICE_FAULT with outcome UNKNOWN; work in the background goes on.",
    "Report it with the traceback. The same request id may be sent again; GetOperation says what became of the money.",
    ("method", "request_id", "reason", "what"),
    shows_error=True,
)
BOOKS_BEHIND = Event(
    "the books are behind the bank",
    "error",
    "These books were restored from a copy, or PostgreSQL lost what it had committed. No money call is taken.",
    "Stop the service and run `jzb catch-up`. Never repeat what was sent after the copy before you compared its list.",
    ("why",),
    every_s=60.0,
)
LEFT_FOR_RESOLVER = Event(
    "left for the resolver",
    "warning",
    "The bank was called, and what it answered could not be recorded: PostgreSQL was away. The money stays held.",
    "Nothing: the resolver asks the bank again when PostgreSQL is back.",
    ("why",),
)
NOT_MARKED = Event(
    "not marked as in doubt",
    "warning",
    "After a fault of the program (`unforeseen`, the line before) the operation could not be marked UNKNOWN either.",
    "Nothing more: it counts as an orphan after JZB_RESOLVER__ORPHAN_AFTER_S, and the bank is asked about it then.",
    ("why",),
)
RESOLVED = Event(
    "resolved",
    "info",
    "A query of the bank has ended the doubt about an operation, or changed its state.",
    NOTHING,
    ("state", "query_attempts"),
)
ASKED_AGAIN = Event(
    "will be asked again",
    "warning",
    "A query about an operation that is not final had no answer that could be recorded. The money stays held.",
    f"{PASSES} The alert on the age of money in doubt says when it does not.",
    ("why",),
)
QUEUE_NOT_READ = Event(
    "due operations could not be read",
    "warning",
    "The resolver could not look for operations that are due. It goes on trying.",
    PASSES,
    ("why",),
    every_s=60.0,
)
OPENING_FORGED = Event(
    "an operation is not as it was opened",
    "error",
    "An operation that is not final has another serial or plan than it was opened with, or no MAC under JZB_SEAL__KEYS:"
    " somebody else wrote to the database. Nothing is sent for it and nothing is booked; it is shown as UNKNOWN.",
    "Find out who wrote it (docs/operations/security.md): `jzb verify` says which rows nobody sealed. Ask the bank"
    " about the serial. Only if it is right, `jzb seal vouch` it; then have it resolved.",
    ("why",),
)
PROPOSAL_FORGED = Event(
    "a proposal is not as it was proposed, or its approval not as it was given",
    "error",
    "An approved proposal has other values than it was sealed with, or an approval without a MAC of the vault: somebody"
    " else wrote to the database. Nothing is carried out.",
    "Find out who wrote it (docs/operations/security.md), and who lists as its approver. It is not carried out by"
    " itself; propose it again under a new request id if it is right.",
    ("proposal_id", "why"),
)
CONTRADICTION = Event(
    "the bank contradicts the mirror",
    "error",
    "What the bank says cannot be true of the mirror, such as another amount or member. Nothing is settled by it.",
    "Compare the operation with the bank's own list and ask the bank. Never book by hand in the ledger's tables.",
    ("mismatch", "member_id", "sub_account"),
)
CERTIFICATE_ENDS = Event(
    "a certificate ends within a month",
    "warning",
    "The merchant's PFX (`client`), the bank's certificate (`bank`) or our own for TLS (`server`). Written each day.",
    "Order the next one. `bank` takes the old and the new one in one PEM file"
    " (docs/operations/runbooks/CertificateEndsIn30Days.md).",
    ("certificate", "ends", "days"),
)
CERTIFICATE_ENDS_NOW = Event(
    "a certificate ends within a week",
    "error",
    "The same, a week ahead or less; negative days once it has ended. After that no call reaches the bank, or its"
    " answers prove nothing and every payment stays in doubt.",
    "Exchange it now (docs/operations/runbooks/CertificateEndsIn7Days.md) and restart the service.",
    ("certificate", "ends", "days"),
)
DAY_CLEARED = Event(
    "bank day cleared",
    "info",
    "The clearing of a bank day (6108) is entered; its uncleared money becomes withdrawable.",
    NOTHING,
    ("bank_day", "total"),
)
CLEARING_NOT_ASKED = Event(
    "the clearing could not be asked for ahead of its time",
    "warning",
    "A caller lacked withdrawable money, and whether the bank has cleared past days could not be found out.",
    PASSES,
    ("why",),
)
OWN_FUNDS_IMPOSSIBLE = Event(
    "6010 lists more of the platform's own funds than there can be",
    "error",
    "The opening balance that the bank reports is not believed, and is not entered. The refund advance stays empty.",
    "Ask the bank for the balance of the account with property JZB_RULES__OWN_FUNDS_PROPERTY.",
    ("amount",),
)
OWN_FUNDS_TAKEN_OVER = Event(
    "opening balance of the platform's own funds taken over",
    "info",
    "At the first start the balance of the platform's own funds is entered as the bank has it.",
    NOTHING,
    ("amount",),
)
LISTED_TWICE = Event(
    "6010 lists a sub-account of the platform twice",
    "error",
    "The list of the platform's own accounts cannot be right. It is not believed; what needs it waits.",
    "Ask the bank which of the two rows is true.",
)
COMPARED_LATER = Event(
    "members are compared with the bank later",
    "info",
    "These members spent while the bank cleared the day. Their split is compared when their payments end.",
    NOTHING,
    ("bank_day", "members"),
)
WITHDRAWABLE_MOVED = Event(
    "withdrawable as at the bank",
    "info",
    "So much of a member's money became withdrawable, as the bank (6010) has it.",
    NOTHING,
    ("bank_day", "sub_account", "moved"),
)
RETURN_NOT_ENTERED = Event(
    "a return cannot be entered",
    "error",
    "The bank lists a returned withdrawal (6048) that the mirror cannot take. The mirror's balance lacks it.",
    "WithdrawalService.CollectReturns explains the reason. Mend it there or with the bank; the collection tries again.",
    ("reason", "bank_serial", "bank_day"),
)
WITHDRAWAL_RETURNED = Event(
    "a withdrawal came back",
    "info",
    "The receiving bank sent a withdrawal back; the member has the money again.",
    "Nothing here: the platform tells its member.",
    ("withdrawal", "amount", "bank_serial"),
)
TRANSFER_NOT_ENTERED = Event(
    "a transfer cannot be entered",
    "error",
    "The bank lists a transfer (6050) that the mirror cannot take. The mirror's balance lacks it.",
    "SuspenseService.CollectTransfers explains the reason. Mend it there or with the bank; the collection tries again.",
    ("reason", "bank_serial", "bank_day"),
)
TRANSFER_CAME_IN = Event(
    "a transfer came in",
    "info",
    "A transfer into the pooled account is entered, for a member or in suspense.",
    "Allocate what is in suspense (SuspenseService.AllocateSuspense).",
    ("amount", "bank_serial", "is_in_suspense"),
)
PROPOSALS_NOT_READ = Event(
    "proposals could not be looked after; it will be tried again",
    "warning",
    "What was approved could not be carried out now, or what has expired could not be marked.",
    PASSES,
    ("why",),
)
NOT_COLLECTED = Event(
    "a collection did not come through; it will be tried again",
    "warning",
    "What the bank does by itself (clearings, returns, transfers, its files) is not in the books yet, or statements do"
    " not go up to the present: `what` says which. A reader of statements makes what is missing first.",
    PASSES,
    ("what", "why"),
)
DAY_MATCHED = Event(
    "a bank day was matched",
    "info",
    "The bank's files and lists of a day were loaded and matched, and other breaks are open than before.",
    "Look at the breaks of the day (docs/operations/closing-the-day.md).",
    ("bank_day", "breaks"),
)
FILE_LATE = Event(
    "a file or list of the bank is late",
    "warning",
    "The bank should have had it by JZB_RECONCILIATION__FILES_LATE_HOUR. The day cannot be closed; no money is"
    " concerned.",
    "Nothing: it is asked for again. The alert BankFileLate says when that does not help.",
    ("bank_day", "type", "why"),
)
FILE_DAMAGED = Event(
    "a file of the bank is damaged",
    "warning",
    "It came and cannot be used: cut, changed on the way, or not to be decrypted. Nothing of it was kept.",
    "Nothing: it is fetched again. The alert BankFileLate says when that does not help.",
    ("bank_day", "type", "why"),
)
FILE_NOT_FETCHED = Event(
    "a file of the bank was not fetched again",
    "warning",
    "The version that was loaded before still counts. It was to be compared once more, because the bank may change it.",
    PASSES,
    ("bank_day", "type", "why"),
)
DAYS_NOT_CLOSED = Event(
    "bank days are not reconciled",
    "warning",
    "JZB_VAULT__KEYS is not set, so that the bank's files could not be kept: they hold names.",
    "Set JZB_VAULT__KEYS (`jzb vault key` makes one), or JZB_RECONCILIATION__POLL_S to null if that is meant.",
)
SEALED = Event(
    "sealed",
    "info",
    "Where the chain of seals ends (docs/seals.md), and the audit trail. Keep this line where the database's owner"
    " cannot write.",
    NOTHING,
    ("batch", "at", "digest", "entry", "entry_digest"),
)
SEAL_NOT_READ = Event(
    "the last seal could not be read",
    "warning",
    "The hourly note of the last digest could not be made. It is tried again in a minute.",
    f"{PASSES} The alert on the age of the last noted digest says when it does not.",
    ("why",),
)
ANCHOR_DIFFERS = Event(
    "the books are not those of the last anchor",
    "error",
    "A place of JZB_ANCHOR has noted a digest that the chain of seals, or the audit trail, does not have: books have"
    " lost their end, or were made anew. Nothing is noted there any more; the service goes on, and does not start again"
    " on these books.",
    "Stop the service and run `jzb verify`. Compare with the bank's lists; if an older server came back, stop that.",
    ("what",),
)
ANCHOR_NOT_REACHED = Event(
    "an anchor could not be reached",
    "warning",
    "A place of JZB_ANCHOR could not be read or written. It is tried again in a minute.",
    "Look at the file or the URL. The alert on the age of the last noted digest says when it does not pass.",
    ("place", "why"),
)
METRICS_SERVED = Event("metrics are served", "info", "Prometheus may scrape this address.", NOTHING, ("url",))
METRICS_OPEN = Event(
    "whoever reaches this address reads the metrics",
    "warning",
    "Metrics are served on an address that is not of this machine alone. They name no member and no payment; they tell "
    "how much business there is, and the amounts in doubt and in suspense.",
    "Let only Prometheus reach it, or listen on loopback (JZB_TELEMETRY__METRICS_LISTEN).",
    ("url",),
)
METRICS_NOT_SENT = Event(
    "metrics could not be sent",
    "warning",
    "The OTLP collector does not take the metrics. They are counted on, and sent with the next export.",
    "Nothing for the money. Look at the collector (JZB_TELEMETRY__OTLP_ENDPOINT): without it no alert fires.",
    every_s=60.0,
)
SPANS_NOT_SENT = Event(
    "spans could not be sent",
    "warning",
    "The OTLP collector does not take the spans. The newest are kept and sent when it does; the oldest are lost.",
    "Nothing for the money. Look at the collector (JZB_TELEMETRY__OTLP_ENDPOINT): no trace can be found meanwhile.",
    ("why", "lost"),
    every_s=60.0,
)
NUMBERS_NOT_READ = Event(
    "the platform's numbers cannot be read; they are left out",
    "warning",
    "PostgreSQL did not answer the query behind the platform's metrics, such as money in doubt.",
    PASSES,
    ("why",),
)
TOKEN_NOT_RENEWED = Event(
    "the access token could not be renewed",
    "warning",
    "The bank did not give a new access token (approveDev). The present one serves as long as the bank takes it.",
    "Nothing, unless calls end with BANK_UNAVAILABLE: then look at the line to the bank and at the PFX.",
    ("why",),
)


def errors_logged() -> dict[str, float]:
    """How many lines of each event that is an error this process has written, of those without any, too."""
    return {one.name: _errors.get(one.name, 0) for _, one in catalogue() if one.level == "error"}


def catalogue() -> Iterator[tuple[str, Event]]:
    """Every event by the name that the code has for it, in the order of this file."""
    return ((name, one) for name, one in globals().items() if isinstance(one, Event))
