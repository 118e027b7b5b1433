"""The one interceptor: judges who calls, validates the request, traces and counts the call, and turns a `Problem` into
google.rpc.Status.

What happened to the money is decided here for every error that does not know it yet: a refusal says NO_EFFECT only once
the call's request id has been looked up. An error that nobody foresaw is logged once, with its trace, and reported as
SERVICE_FAULT with outcome UNKNOWN, since the request id makes it safe to ask again.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from opentelemetry import trace
from opentelemetry.context import attach, detach
from pydantic import ValidationError

from jzb.v1 import core_pb2, error_reason_pb2, operation_pb2
from jzb.v1.names import ErrorReason
from ledger import LedgerError, State
from service import policy, problems, telemetry, view
from service.catalogue.interfaces import facts
from service.path import deadline, rights
from service.path.admission import Admission, ConcurrencyLimit
from service.path.repeats import Repeats
from service.personal import looks_personal
from service.policy import LOCAL, Rights, Scope
from service.problems import NAMES_NOTHING, Problem
from service.rpc.access import Access
from service.rpc.auditing import Auditing, End
from service.rpc.context import Context
from service.rpc.shares import Shares
from service.rpc.slowing import Slowing
from service.rpc.validation import Validation
from service.settings import Settings
from service.telemetry import events

DOMAIN = "jzb.v1"

TRAILER_MAX = 7 * 1024
"""Bytes of an error on the wire. Of a trailer above 8 KiB gRPC makes a RESOURCE_EXHAUSTED without any detail."""

PARTS_MAX = 20
"""Of an operation in an error; GetOperation has all."""

NOBODY = Rights("")
"""Of a caller that is not known, or not yet."""

REFUSALS = (ErrorReason.CALLER_UNKNOWN, ErrorReason.SCOPE_MISSING)
"""What an intruder meets, and whoever keeps the policy looks for."""

NONSENSE = (ErrorReason.REQUEST_INVALID, *REFUSALS)
"""The reasons of refusals that come later and later to whoever does not stop (`Slowing`)."""

MOVES_NOTHING = (ErrorReason.MEMBER_NOT_FOUND, ErrorReason.CARD_NOT_FOUND)
"""What makes these moves no money, so that it may be on its way."""

SHOWN = {
    "request_id": "jzb.request_id",
    "order_no": "jzb.order_no",
    "member_id": "jzb.member_id",
    "payer_member_id": "jzb.member_id",
    "payee_member_id": "jzb.payee_member_id",
}
"""The fields of a request by which people look for its span, and the attributes in which they find them."""

NUMBER = re.compile(r"[!-~]{1,64}")
"""What such a field may hold to be shown, unless it looks like a card or a mobile (`service.personal`). Spans begin
before the request is judged, and a name in the wrong field is none."""

Handler = Callable[[Message, Context], Awaitable[Message]]


if TYPE_CHECKING:
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    _Interceptor = grpc.aio.ServerInterceptor


WATCHES = frozenset(f"/jzb.v1.OperationService/{name}" for name in ("WatchOperations", "WaitOperation"))
"""The RPCs that last as long as their callers like, and mean no work meanwhile."""


COMPARISONS = frozenset(f"/jzb.v1.BalanceService/{name}" for name in ("CompareWithBank", "VerifyBooks"))
"""The RPCs that read the whole of the books, or ask the bank about each member."""

OTHER_STREAMS_MAX: Final = 16
"""Streams of health and reflection that one caller may have open, by its certificate or else its connection: a probe
has one, and what no right is needed for must not fill the service.
"""


class CallInterceptor(_Interceptor):
    """Wraps every RPC of jzb.v1. Of health and reflection the streams alone are counted, for each who has them open.

    Those under way are counted here and not by gRPC's own limit, which tells no reason. Watches are counted apart:
    however many there are, they keep no call out.
    """

    def __init__(
        self,
        access: Access,
        auditing: Auditing,
        admission: Admission,
        repeats: Repeats,
        settings: Settings,
        address: str,
    ) -> None:
        grpc_, watch = settings.grpc, settings.watch
        self.rpcs = ConcurrencyLimit(grpc_.rpcs_max)
        self.watches = ConcurrencyLimit(watch.watches_max)
        comparisons = Shares("comparisons and replays", grpc_.comparisons_of_a_caller_max)
        self._shares = dict.fromkeys(COMPARISONS, comparisons) | dict.fromkeys(
            WATCHES, Shares("watches and waits", watch.of_a_caller_max)
        )
        self._others = Shares("streams of health and reflection", OTHER_STREAMS_MAX)
        self._access = access
        self._auditing = auditing
        self._admission = admission
        self._repeats = repeats
        self._validation = Validation()
        self._slowing = Slowing(grpc_.refusals_at_once, grpc_.refusals_per_s)
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._deadline_min_s = settings.deadline_min_s
        self._address = address

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """Put the wrapper around the handler of an RPC, once for each RPC."""
        method = str(details.method)
        if method in self._wrapped:
            return self._wrapped[method]
        # grpc-stubs knows the handlers of the synchronous server only.
        handler: Any = await continuation(details)
        if handler is None or not method.startswith("/jzb.v1."):
            if handler is not None and handler.response_streaming:
                handler = self._wrapped[method] = _counted(handler, self._others)
            return handler
        known = _Method.of(method, self._address)
        readable = _reader(handler.request_deserializer)
        if handler.response_streaming:
            wrapped = grpc.unary_stream_rpc_method_handler(
                self._stream(known, handler.unary_stream), readable, handler.response_serializer
            )
        else:
            wrapped = grpc.unary_unary_rpc_method_handler(
                self._unary(known, handler.unary_unary), readable, handler.response_serializer
            )
        self._wrapped[method] = wrapped
        return wrapped

    async def wait_idle(self, within_s: float) -> bool:
        """Wait until no RPC is under way; False when that takes longer."""
        return all(await asyncio.gather(self.rpcs.wait_idle(within_s), self.watches.wait_idle(within_s)))

    async def _slow_down(self, aborted: _Aborted, caller: str, context: Context) -> None:
        """Let whoever sends nonsense again and again wait for its refusal, but not beyond its own deadline."""
        if aborted.reason not in NONSENSE:
            return
        if wait_s := self._slowing.wait_s(_who(caller, context)):
            remaining_s: float | None = context.time_remaining()
            await asyncio.sleep(wait_s if remaining_s is None else min(wait_s, max(0.0, remaining_s / 2)))

    def _limit(self, method: str) -> ConcurrencyLimit:
        return self.watches if method in WATCHES else self.rpcs

    def _unary(self, method: _Method, inner: Handler) -> Handler:
        limit = self._limit(method.path)

        async def call(request: Message | None, context: Context) -> Message:
            try:
                with _CallRecord(limit, method, context, request) as record:
                    try:
                        read = await self._enter(request, record, context)
                        await self._admit(read, context)
                        deadline.begin(context.time_remaining())
                        answer = await inner(read, context)
                        if method.path in WATCHES:
                            # A wait, too, lasts longer than a right may.
                            await self._rights(record, context)
                        record.answered(answer)
                        seen = rights.visible(record.rights, answer, is_done=method.changes, by_number=method.by_number)
                        if seen is None:
                            raise rights.hidden(read)
                        return seen
                    except Exception as error:
                        raise await self._decided(error, request, record) from error
            except _Aborted as aborted:
                await self._slow_down(aborted, record.rights.caller, context)
                await context.abort(*aborted.status)

        return call

    def _stream(
        self, method: _Method, inner: Callable[..., AsyncIterator[Message]]
    ) -> Callable[..., AsyncIterator[Message]]:
        limit = self._limit(method.path)

        async def call(request: Message | None, context: Context) -> AsyncIterator[Message]:
            try:
                with _CallRecord(limit, method, context, request) as record:
                    try:
                        read = await self._enter(request, record, context)
                        await self._admit(read, context)
                        # Some clients have no stream before its headers, and an answer may be long in coming.
                        await context.send_initial_metadata(())
                        async for answer in inner(read, context):
                            # A stream lasts longer than a right may.
                            seen = rights.visible(await self._rights(record, context), answer)
                            if seen is not None:
                                yield seen
                    except Exception as error:
                        raise await self._decided(error, request, record) from error
            except _Aborted as aborted:
                await self._slow_down(aborted, record.rights.caller, context)
                await context.abort(*aborted.status)

        return call

    async def _rights(self, record: _CallRecord, context: Context) -> Rights:
        """What the caller may do now. Raises `Problem` unless that is this call."""
        scope = record.method.scope
        record.rights = await self._access.rights(context, scope)
        # Before the scope is judged: what a refusal says of the money is looked up in the caller's own namespace.
        policy.begin(record.rights)
        self._access.require(record.rights, scope, record.method.other_scopes)
        return record.rights

    async def _enter(self, request: Message | None, record: _CallRecord, context: Context) -> Message:
        """The request, of a caller that may make it. Raises `Problem`."""
        if record.is_over_limit:
            what = "watches" if record.limit is self.watches else "RPCs"
            raise problems.overloaded(f"{record.limit.maximum} {what} are under way already")
        allowed = await self._rights(record, context)
        limits = self._access.limits(allowed)
        if (shares := self._shares.get(record.method.path)) is not None:
            limits = (*limits, shares.of(_who(allowed.caller, context)))
        record.count(limits)
        read = self._read(request)
        if record.method.hides_members:
            rights.require_members(allowed, read)
        if record.method.scope in policy.AUDITED:
            record.ended = await self._auditing.begin(allowed, record.method.name, read)
        return read

    def _read(self, request: Message | None) -> Message:
        if request is None:
            if self._admission.is_closed:
                raise problems.stopping()
            raise problems.invalid(
                "request", "these bytes are no message of this type, or hold text that is no UTF-8", rule="readable"
            )
        return request

    async def _admit(self, request: Message, context: Context) -> None:
        """Raises `Problem`. Neither a stop nor a short deadline keeps out a repeat, which begins nothing."""
        if (refusal := self._refusal(request, context)) is not None:
            if "request_id" not in request.DESCRIPTOR.fields_by_name:
                raise refusal
            refusal = await self._repeats.decide(refusal, request)
            if refusal.operation is None or refusal.operation.state is State.RELEASED:
                raise refusal
        self._validation.require_valid(request)

    def _refusal(self, request: Message, context: Context) -> Problem | None:
        if self._admission.is_closed:
            return problems.stopping()
        # Only what changes something has a request id.
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            remaining_s: float | None = context.time_remaining()
            if remaining_s is not None and remaining_s < self._deadline_min_s:
                return problems.deadline_too_short(remaining_s, self._deadline_min_s)
        return None

    async def _decided(self, error: Exception, request: Message | None, record: _CallRecord) -> Problem:
        """What the caller is told, with what happened to the money."""
        problem = await self._with_outcome(record.problem(error), request, record)
        return rights.without_others(record.rights, problem, request)

    async def _with_outcome(self, problem: Problem, request: Message | None, record: _CallRecord) -> Problem:
        if problem.is_decided:
            return problem
        if not record.method.changes:
            if problem.code is grpc.StatusCode.NOT_FOUND and problem.reason not in MOVES_NOTHING:
                # What a call under way will make is not there yet: that says nothing of the money.
                return problem
            is_about_one = record.method.names_operation and problem.code is not grpc.StatusCode.INVALID_ARGUMENT
            return problem.after(None if is_about_one else NAMES_NOTHING)
        if request is None or record.is_over_limit or record.is_strange:
            # Where too many are here already there is no time to look, and what a stranger asks is not looked up.
            return problem.after(None)
        return await self._repeats.decide(problem, request)


@dataclass(frozen=True, slots=True)
class _Method:
    """One RPC of the contract. ``changes`` is for those with a request id; ``names_operation`` for those and for those
    that are about an operation which another call may be beginning; ``shows_operation`` for those whose answer has one.
    ``scope`` is what its caller needs, or one of ``other_scopes``, which it judges itself; ``hides_members`` where
    members that its request names are judged by themselves, else they are only what its answers are chosen by;
    ``by_number`` for those that are about one thing. ``name`` is the path without its first slash, ``shown`` are fields
    of the request with their attributes of the span, ``attributes`` those that every call has.
    """

    path: str
    name: str
    changes: bool
    names_operation: bool
    shows_operation: bool
    scope: Scope
    other_scopes: frozenset[Scope]
    hides_members: bool
    by_number: bool
    shown: Sequence[tuple[str, str]]
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, path: str, address: str = "") -> _Method:
        """By the path of its calls, /jzb.v1.Service/Method, and the ``address`` of the server."""
        service, _, name = path.lstrip("/").partition("/")
        method = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
        fields = method.input_type.fields_by_name
        shown = tuple((field, attribute) for field, attribute in SHOWN.items() if field in fields)
        operation = method.output_type.fields_by_name.get("operation")
        shows_operation = operation is not None and operation.message_type is core_pb2.Operation.DESCRIPTOR
        attributes = {
            telemetry.RPC_SYSTEM: "grpc",
            telemetry.RPC_METHOD: path.lstrip("/"),
            telemetry.SERVER_ADDRESS: address,
        }
        changes = "request_id" in fields
        key = fields.get("key")
        is_named = key is not None and key.message_type is operation_pb2.OperationKey.DESCRIPTOR
        declared = facts(method)
        hides_members = error_reason_pb2.ERROR_REASON_MEMBER_NOT_FOUND in declared.reasons
        others = frozenset(declared.other_scopes)
        known = (path, path.lstrip("/"), changes, changes or is_named, shows_operation, declared.scope, others)
        return cls(*known, hides_members, rights.is_by_number(method.input_type), shown, attributes)


class _CallRecord:
    """One RPC from its start to its end: counted, traced, measured, and its error turned into what the caller is told.

    A plain object: thousands of calls may wait for the bank, and this with each of them.
    """

    __slots__ = (
        *("_began_s", "_context", "_limits", "_request_id", "_span", "_token"),
        *("ended", "is_over_limit", "limit", "method", "rights"),
    )

    def __init__(self, limit: ConcurrencyLimit, method: _Method, context: Context, request: Message | None) -> None:
        self._began_s = time.perf_counter()
        self.limit = limit
        self.method = method
        self.rights = NOBODY
        self._limits: Sequence[ConcurrencyLimit] = ()
        self.ended: End | None = None
        self._context = context
        self._request_id = getattr(request, "request_id", "")
        self._span = telemetry.serve(method.name, context.invocation_metadata() or ())
        if self._span.is_recording():
            self._span.set_attributes({**method.attributes, **_numbers(method, request)})

    def __enter__(self) -> Self:
        self.is_over_limit = self.limit.is_reached
        self.limit.acquire()
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, GeneratorExit):
            # A stream that is let go unread ends in another context than it began in; there is nothing to take back.
            detach(self._token)
        self.limit.release()
        for limit in self._limits:
            limit.release()
        if isinstance(error, Problem):
            code = error.code
        else:
            # What is no Exception has cut the call off: cancelled, or a stream that nobody reads any more.
            code = grpc.StatusCode.OK if error is None else grpc.StatusCode.CANCELLED
        if self.ended is not None:
            self.ended(error.reason if isinstance(error, Problem) else code.name)
        self._span.set_attribute(telemetry.RPC_STATUS, code.name)
        self._span.end()
        telemetry.catalogue.RPC_CALL_DURATION.record(
            time.perf_counter() - self._began_s, self.method.name, code.name, span=self._span
        )
        if isinstance(error, Problem):
            raise _Aborted(error) from error

    @property
    def is_strange(self) -> bool:
        """Whether it is not known what its caller may do."""
        return self.rights is NOBODY

    def count(self, limits: Sequence[ConcurrencyLimit]) -> None:
        """It is under way for these, too."""
        for limit in limits:
            limit.acquire()
        self._limits = limits

    def answered(self, answer: Message) -> None:
        """Name on the span the operation that the answer shows."""
        if self.method.shows_operation and self._span.is_recording():
            operation: core_pb2.Operation = answer.operation  # type: ignore[attr-defined]  # by its descriptor
            self._name(operation.operation_id, operation.serial)

    def _name(self, operation_id: str, serial: str) -> None:
        # A dry run has neither.
        if operation_id:
            self._span.set_attributes({"jzb.operation_id": operation_id, "jzb.serial": serial})

    def problem(self, error: Exception) -> Problem:
        """What an error of the call is to its caller."""
        if isinstance(error, ValidationError):
            error = problems.unsendable(error)
        if isinstance(error, LedgerError):
            with suppress(LedgerError):
                error = problems.of_ledger(error)
        if isinstance(error, Problem):
            telemetry.refused(self._span, error)
            if error.reason in REFUSALS:
                events.REFUSED_CALLER.log(
                    method=self.method.name,
                    reason=error.reason,
                    why=error.metadata.get("fault") or f"{error.metadata['caller']} lacks {error.metadata['scope']}",
                    peer=self._context.peer(),
                )
            if error.operation is not None and self._span.is_recording():
                self._name(str(error.operation.id), error.operation.serial)
            telemetry.catalogue.REFUSALS.add(self.method.name, error.reason)
            return error
        telemetry.failed(self._span, error)
        telemetry.catalogue.REFUSALS.add(self.method.name, ErrorReason.SERVICE_FAULT)
        events.UNFORESEEN.log(
            error, method=self.method.path, request_id=self._request_id if _is_shown(self._request_id) else ""
        )
        return problems.service_fault()


def _who(caller: str, context: Context) -> str:
    """By what callers are told apart: their names; where nobody has one their connections; strangers by machine."""
    if caller == LOCAL:
        return str(context.peer())
    return caller or str(context.peer()).rpartition(":")[0]


def _counted(handler: Any, shares: Shares) -> Any:
    """A stream that is not of this contract, and so has neither rights nor reasons."""
    inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

    async def call(request: Any, context: Context) -> None:
        presented: Iterable[bytes] = context.auth_context().get("x509_pem_cert", ())
        who = next((sha256(pem).hexdigest() for pem in presented), str(context.peer()))
        try:
            limit = shares.of(who)
        except Problem as refused:
            await context.abort(refused.code, refused.message)
            raise
        limit.acquire()
        try:
            answers = inner(request, context)
            if isinstance(answers, Awaitable):
                await answers
            else:
                async for answer in answers:
                    await context.write(answer)
        finally:
            limit.release()

    make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
    return make(call, handler.request_deserializer, handler.response_serializer)


def _reader(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Message | None]:
    """Reads what can be read: of an exception in here gRPC makes the status UNKNOWN, without a reason."""

    def read(body: bytes) -> Message | None:
        try:
            return deserialize(body)
        except DecodeError:
            return None

    return read


class _Aborted(Exception):
    """Carries the finished status to the RPC's end."""

    def __init__(self, problem: Problem) -> None:
        try:
            status = rpc_status.to_status(status_of(problem))
        except ValueError:
            # A text that protobuf cannot carry: gRPC would tell the caller UNKNOWN, and not why.
            events.UNFORESEEN.log(reason=problem.reason)
            status = rpc_status.to_status(status_of(problems.service_fault()))
        self.reason = problem.reason
        self.status = (status.code, status.details, status.trailing_metadata)
        super().__init__(status.details)


def _numbers(method: _Method, request: Message | None) -> dict[str, str]:
    if request is None:
        return {}
    found = ((attribute, getattr(request, field)) for field, attribute in method.shown)
    return {attribute: value for attribute, value in found if _is_shown(value)}


def _is_shown(value: str) -> bool:
    return NUMBER.fullmatch(value) is not None and not looks_personal(value)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How much of a problem is told: so many parts, violations, and characters of each text."""

    parts: int
    violations: int
    characters: int

    def text(self, whole: str) -> str:
        """As much of a text as there is room for, and of that what can be sent."""
        sendable = view.sendable(whole)
        return sendable if len(sendable) <= self.characters else f"{sendable[: self.characters - 1]}…"


_BOUNDS = (_Bounds(PARTS_MAX, 10, 1000), _Bounds(10, 5, 200), _Bounds(0, 1, 60))
"""From all that is wanted to what fits whatever the texts are."""


def status_of(problem: Problem) -> status_pb2.Status:
    """A problem as google.rpc.Status: ErrorInfo, MoneyError, and what else fits into a trailer."""
    for bounds in _BOUNDS:
        status = _status(problem, bounds)
        # The message goes percent-encoded, the details in base64, and they have the message once more.
        if 3 * len(status.message.encode()) + 4 * status.ByteSize() // 3 <= TRAILER_MAX:
            break
    return status


def _status(problem: Problem, bounds: _Bounds) -> status_pb2.Status:
    code: Any = problem.code
    status = status_pb2.Status(code=code.value[0], message=bounds.text(str(problem)))
    operation = None
    if problem.operation is not None:
        operation = view.operation(problem.operation, problem.parts[: bounds.parts])
        operation.message, operation.bank_message = bounds.text(operation.message), bounds.text(operation.bank_message)
    money = core_pb2.MoneyError(
        outcome=problem.outcome,
        operation=operation,
        amounts=[core_pb2.NamedAmount(name=name, amount_fen=fen) for name, fen in problem.amounts.items()],
        next_step=problem.next_step,
    )
    metadata = {name: bounds.text(value) for name, value in problem.metadata.items()}
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=problem.reason,
            domain=DOMAIN,
            metadata={**metadata, "outcome": core_pb2.Outcome.Name(problem.outcome).removeprefix("OUTCOME_")},
        ),
        money,
    ]
    if problem.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=field, description=bounds.text(description))
                    for field, description in problem.violations[: bounds.violations]
                ]
            )
        )
    if problem.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(int(problem.retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status
