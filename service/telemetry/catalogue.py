"""Every metric that leaves the service, declared once: name, unit, attributes, whose number it is, what it means.

Names, units and attributes follow OpenTelemetry's conventions where these exist (`rpc.*`, `http.*`, `db.*`,
`process.*`); ours begin with `jzb.`. The values of an attribute come from an enum or a table; a caller, a member or the
bank can add none. docs/operations/metrics.md is made from this module.
"""

from __future__ import annotations

from http import HTTPStatus

import grpc

from bankclient import CLEAN_REFUSALS, REQUESTS, SUCCESS_CODE, TOKEN_CODES, UNKNOWN_CODES, AnswerOutcome
from jzb.v1.names import ErrorReason, OperationKind
from ledger import State, WorkKind
from ledger.day import BreakKind, FileType
from service.contract import methods, path_of
from service.telemetry import events
from service.telemetry.metrics import Attribute, Counter, Gauge, Histogram, Metric, ObservedCounter, Scope

SECONDS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0),
)
"""Upper bounds of a duration's buckets. Each is at most twice the one before, which bounds the error of a quantile; the
SDK's own are meant for milliseconds and have one bucket for all below five seconds."""

SIZES = tuple(float(2**power) for power in range(11))

NONE = "none"
"""The value of an attribute where there is none: a call without an answer has no code."""

FILE = "file"
"""The interface of a file's download, which has no code (`bankclient.client.FILE`)."""

POOLS = ("engine", "lookups", "lists", "events", "writer")
"""The connections to PostgreSQL, by what they are for: reads, look-ups of members and balances, pages of lists, the
stream of events, and the ledger's writer."""

REPLICAS_MAX = 8

METHOD = Attribute("rpc.method", "the RPCs of jzb.v1", frozenset(path_of(method) for method in methods().values()))
STATUS = Attribute(
    "rpc.response.status_code", "the status codes of gRPC", frozenset(code.name for code in grpc.StatusCode)
)
REASON = Attribute("reason", "`ErrorReason` of the contract", frozenset(reason.value for reason in ErrorReason))
KIND = Attribute("kind", "`OperationKind` of the contract", frozenset(kind.name for kind in OperationKind))
STATE = Attribute("state", "the states of an operation", frozenset(state.value for state in State))
STEP = Attribute(
    "step", "the steps of a money call (ARCHITECTURE.md)", frozenset({"admission", "reserve", "bank", "settle"})
)
INTERFACE = Attribute(
    "interface", f"the bank's interfaces (docs/bank.md); `{FILE}` is a download", frozenset({*REQUESTS, FILE})
)
OUTCOME = Attribute("outcome", "`bankclient.AnswerOutcome`", frozenset(outcome.value for outcome in AnswerOutcome))
CODE = Attribute(
    "code",
    f"the return codes that the bank client knows; `{NONE}` where no answer came",
    frozenset({SUCCESS_CODE, *CLEAN_REFUSALS, *UNKNOWN_CODES, *TOKEN_CODES, NONE}),
)
HTTP_METHOD = Attribute("http.request.method", "the one method of the bank's wire", frozenset({"POST"}))
HTTP_STATUS = Attribute(
    "http.response.status_code",
    f"the registered status codes; `{NONE}` where no answer came",
    frozenset({*(str(status.value) for status in HTTPStatus), NONE}),
)
POOL = Attribute("db.client.connection.pool.name", "the connections to PostgreSQL", frozenset(POOLS))
POOL_STATE = Attribute("state", "whether somebody uses the connection", frozenset({"idle", "used"}))
CERTIFICATE = Attribute(
    "certificate",
    "`client` is the merchant's PFX, `bank` the bank's certificate, `server` our own for TLS",
    frozenset({"client", "bank", "server"}),
)
EVENT = Attribute("event", "the errors among the events of the log", frozenset(events.errors_logged()))
COLLECTION = Attribute(
    "collection",
    "what the bank does by itself: clearings (6108), returned withdrawals (6048), transfers in (6050); its files and"
    " lists of past days; and statements, from the journal",
    frozenset({"clearing", "reconciliation", "returns", "statements", "transfers"}),
)
WORK_KIND = Attribute("work_kind", "`WorkKind` of the ledger", frozenset(kind.value for kind in WorkKind))
SOURCE = Attribute("source", "the bank's files (6103) and lists of a day", frozenset(one.value for one in FileType))
BREAK_TYPE = Attribute("type", "`BreakType` of the contract", frozenset(kind.name for kind in BreakKind))
VERSION = Attribute("version", "the release of jzb-ledger", at_most=1)
SCHEMA_REVISION = Attribute("schema_revision", "the newest revision of `ledger/migrations`", at_most=1)
REPLICA = Attribute(
    "replica", f"application_name of the standby, the first {REPLICAS_MAX} that appear", at_most=REPLICAS_MAX
)

RPC_CALL_DURATION = Histogram(
    "rpc.server.call.duration",
    "RPCs by method and status code, and how long they took.",
    METHOD,
    STATUS,
    unit="s",
    bounds=SECONDS,
    has_exemplars=True,
)
REFUSALS = Counter("jzb.refusals", "RPCs that ended in an error, by method and reason.", METHOD, REASON)
OUTCOMES = Counter(
    "jzb.outcomes",
    "Money calls, and what the bank does by itself, by kind and the state they reached.",
    KIND,
    STATE,
)
STEP_DURATION = Histogram(
    "jzb.step.duration",
    "How long each step of a money call took: admission (facts, plan, access token), reserve, bank, settle.",
    STEP,
    unit="s",
    bounds=SECONDS,
)
CALLS_UNDER_WAY = Gauge("jzb.calls.under_way", "Money calls under way.")
CALLS_LIMIT = Gauge("jzb.calls.limit", "How many money calls may be under way at once; the next is refused.")
BANK_CALL_DURATION = Histogram(
    "jzb.bank.call.duration",
    "Bank calls by interface and outcome, and how long they took, the wait for a connection included.",
    INTERFACE,
    OUTCOME,
    unit="s",
    bounds=SECONDS,
    has_exemplars=True,
)
BANK_ANSWERS = Counter(
    "jzb.bank.answers", "Bank calls by interface, outcome and the bank's code.", INTERFACE, OUTCOME, CODE
)
BANK_BREAKER = Gauge("jzb.bank.breaker", "By interface: 0 closed, 1 one call on trial, 2 open.", INTERFACE)
BANK_CONNECTIONS_WAITING = Gauge("jzb.bank.connections.waiting", "Calls that wait for a connection to the bank.")
HTTP_REQUEST_DURATION = Histogram(
    "http.client.request.duration",
    "HTTP requests to the bank, each try by itself, those for access tokens and files among them.",
    HTTP_METHOD,
    HTTP_STATUS,
    unit="s",
    bounds=SECONDS,
)
DB_PENDING_REQUESTS = Gauge(
    "db.client.connection.pending_requests", "Who waits for a connection to PostgreSQL, by pool.", POOL
)
DB_CONNECTIONS = Gauge(
    "db.client.connection.count", "Connections to PostgreSQL by pool, used or idle.", POOL, POOL_STATE
)
LEDGER_QUEUE = Gauge("jzb.ledger.queue", "Steps that wait for their batch.")
BATCH_SIZE = Histogram("jzb.ledger.batch.size", "Steps taken into one commit.", bounds=SIZES)
BATCH_DURATION = Histogram(
    "jzb.ledger.batch.duration", "Duration of one commit.", unit="s", bounds=SECONDS, has_exemplars=True
)
WATCHES_OPEN = Gauge("jzb.watches.open", "Watches and waits of callers that are open (`OperationService`).")
LOOP_LAG = Histogram(
    "jzb.loop.lag", "How much later than asked the event loop woke up: what every call waits.", unit="s", bounds=SECONDS
)
MEMORY = Gauge("process.memory.usage", "Resident memory.", unit="By")
CPU_TIME = ObservedCounter("process.cpu.time", "CPU time, user and system.", unit="s")
FILE_DESCRIPTORS = Gauge("process.open_file_descriptor.count", "Open file descriptors, sockets among them.")
BUILD = Gauge("jzb.build", "Always 1; the labels name the release and its schema.", VERSION, SCHEMA_REVISION)
CERTIFICATE_REMAINING = Gauge(
    "jzb.certificate.remaining",
    "How long each certificate is still valid; negative once it has expired.",
    CERTIFICATE,
    unit="s",
)
DIGEST_NOTED_AGE = Gauge(
    "jzb.digest.noted.age",
    "How long ago this process last wrote the end of the chain of seals to its log (docs/seals.md), or was started.",
    unit="s",
)
COLLECTION_AGE = Gauge(
    "jzb.collection.age",
    "How long ago this process last collected everything of this kind, or was started.",
    COLLECTION,
    unit="s",
)
LOG_ERRORS = ObservedCounter(
    "jzb.log.errors", "Lines of the log that are something to do, by event (docs/operations/logs.md).", EVENT
)
SPANS_LOST = ObservedCounter(
    "jzb.spans.lost", "Spans that the collector of traces did not take, or that waited for it too long."
)
RESOLVER_LAG = Gauge(
    "jzb.resolver.lag",
    "How long the operation whose question is due longest has been waiting for it; 0 when none is due.",
    unit="s",
    scope=Scope.PLATFORM,
)
DOUBT_OPERATIONS = Gauge(
    "jzb.doubt.operations",
    "Operations whose money is in doubt: outcomes unknown, reservations whose process died, orders accepted long ago.",
    KIND,
    scope=Scope.PLATFORM,
)
DOUBT_AMOUNT = Gauge("jzb.doubt.amount", "Money in doubt, by kind.", KIND, unit="fen", scope=Scope.PLATFORM)
DOUBT_AGE = Gauge(
    "jzb.doubt.age", "Age of the oldest operation in doubt; 0 without any.", unit="s", scope=Scope.PLATFORM
)
ACCEPTED_AGE = Gauge(
    "jzb.accepted.age",
    "Age of the oldest operation that the bank has accepted and not ended; 0 without any.",
    unit="s",
    scope=Scope.PLATFORM,
)
ORPHANS = Gauge(
    "jzb.orphans", "Reservations that nobody settled: their process died, or PostgreSQL was away.", scope=Scope.PLATFORM
)
SUSPENSE_AMOUNT = Gauge(
    "jzb.suspense.amount", "Transfers that came in and belong to no member yet.", unit="fen", scope=Scope.PLATFORM
)
SUSPENSE_AGE = Gauge(
    "jzb.suspense.age", "Age of the oldest transfer in suspense; 0 without any.", unit="s", scope=Scope.PLATFORM
)
DIFFERENCE_AMOUNT = Gauge(
    "jzb.difference.amount",
    "What adjustments have moved and nothing explains yet, each break counted above zero.",
    unit="fen",
    scope=Scope.PLATFORM,
)
DIFFERENCE_AGE = Gauge(
    "jzb.difference.age",
    "For how long the oldest difference of adjustments has not come back to zero; 0 without any.",
    unit="s",
    scope=Scope.PLATFORM,
)
WORK_AMOUNT = Gauge(
    "jzb.work.amount",
    "Money that waits for a person or for the bank, by kind (`WorkService.ListWork`).",
    WORK_KIND,
    unit="fen",
    scope=Scope.PLATFORM,
)
WORK_AGE = Gauge(
    "jzb.work.age",
    "Age of the oldest of what waits, by kind; 0 without any.",
    WORK_KIND,
    unit="s",
    scope=Scope.PLATFORM,
)
CLEARING_BLOCKED_DAYS = Gauge(
    "jzb.clearing.blocked_days",
    "Bank days that are over and that the bank has not cleared, by its last answers (6108).",
    scope=Scope.PLATFORM,
)
CLEARING_SHORTFALL = Gauge(
    "jzb.clearing.shortfall",
    "What the bank still has to clear of the oldest of these days (待清算总金额).",
    unit="fen",
    scope=Scope.PLATFORM,
)
DAY_FILES_MISSING = Gauge(
    "jzb.day.files.missing",
    "Files and lists of past bank days that are late or damaged, by source.",
    SOURCE,
    scope=Scope.PLATFORM,
)
DAY_BREAKS = Gauge(
    "jzb.day.breaks",
    "Breaks that are open, by type; those that rest or are carried over are not.",
    BREAK_TYPE,
    scope=Scope.PLATFORM,
)
DAY_BREAKS_AMOUNT = Gauge(
    "jzb.day.breaks.amount",
    "What bank and ledger differ by in open breaks, by type, whichever of the two has more.",
    BREAK_TYPE,
    unit="fen",
    scope=Scope.PLATFORM,
)
DAY_BREAKS_AGE = Gauge(
    "jzb.day.breaks.age",
    "Age of the oldest open break, by type; 0 without any.",
    BREAK_TYPE,
    unit="s",
    scope=Scope.PLATFORM,
)
DAY_UNSIGNED = Gauge(
    "jzb.day.unsigned", "Past bank days that were loaded and are not signed by two.", scope=Scope.PLATFORM
)
STATEMENTS_LAG = Gauge(
    "jzb.statements.lag",
    "How far statements are behind the journal: the age of the oldest event that is not in them yet; 0 without any.",
    unit="s",
    scope=Scope.PLATFORM,
)
SEAL_AGE = Gauge("jzb.seal.age", "How long ago the last batch was sealed.", unit="s", scope=Scope.PLATFORM)
REPLICATION_LAG = Gauge(
    "jzb.replication.lag",
    "How far a standby is behind, as PostgreSQL measures it (replay_lag).",
    REPLICA,
    unit="s",
    scope=Scope.PLATFORM,
)

METRICS: tuple[Metric, ...] = tuple(one for one in list(globals().values()) if isinstance(one, Metric))
"""All of them, in the order of this module."""
