"""The one interceptor: validates the request, traces and counts the call, and turns a `Problem` into google.rpc.Status.

Nothing leaves here as INTERNAL: an error that nobody foresaw is logged with its trace and told as UNAVAILABLE with
outcome UNKNOWN, since the request id makes it safe to ask again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import protovalidate
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from pydantic import ValidationError

from jzb.v1 import core_pb2
from ledger import LedgerUnavailable
from service import deadline, problems, telemetry, view
from service.admission import Admission, Crowd
from service.problems import Problem
from service.rpc.desk import Context

log = structlog.get_logger("jzb.rpc")

DOMAIN = "jzb.v1"

PARTS_MAX = 20
"""Details travel in a trailer, which gRPC bounds at 8 KiB; GetOperation has all parts."""

Handler = Callable[[Message, Context], Awaitable[Message]]


if TYPE_CHECKING:
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    _Interceptor = grpc.aio.ServerInterceptor


class Doors(_Interceptor):
    """Wraps every RPC of jzb.v1; health and reflection pass through.

    ``rpcs`` has those under way. They are counted here and not by gRPC's own limit, which tells no reason.
    """

    def __init__(self, admission: Admission, deadline_min_s: float, rpcs_max: int) -> None:
        self.rpcs = Crowd(rpcs_max)
        self._admission = admission
        self._validator = protovalidate.Validator()
        self._deadline_min_s = deadline_min_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """Put the wrapper around the handler of one RPC."""
        # grpc-stubs knows the handlers of the synchronous server only.
        handler: Any = await continuation(details)
        method = str(details.method)
        if handler is None or not method.startswith("/jzb.v1."):
            return handler
        carrier = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, carrier, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, carrier, handler.unary_unary),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, method: str, carrier: dict[str, str], inner: Handler) -> Handler:
        async def call(request: Message, context: Context) -> Message:
            try:
                async with self._guard(method, carrier, request):
                    self._require_time(request, context)
                    deadline.begin(context.time_remaining())
                    return await inner(request, context)
            except _Told as told:
                await context.abort(*told.status)

        return call

    def _stream(
        self, method: str, carrier: dict[str, str], inner: Callable[..., AsyncIterator[Message]]
    ) -> Callable[..., AsyncIterator[Message]]:
        async def call(request: Message, context: Context) -> AsyncIterator[Message]:
            try:
                async with self._guard(method, carrier, request):
                    async for answer in inner(request, context):
                        yield answer
            except _Told as told:
                await context.abort(*told.status)

        return call

    @asynccontextmanager
    async def _guard(self, method: str, carrier: dict[str, str], request: Message) -> AsyncIterator[None]:
        began_s = time.perf_counter()
        code = grpc.StatusCode.OK
        is_one_too_many = self.rpcs.is_full
        self.rpcs.enter()
        request_id = getattr(request, "request_id", "")
        span = telemetry.tracer.start_span(
            method.lstrip("/"), context=telemetry.context_from(carrier), kind=SpanKind.SERVER
        )
        if request_id:
            span.set_attribute("jzb.request_id", request_id)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                if self._admission.is_closed:
                    raise problems.stopping()
                if is_one_too_many:
                    raise problems.overloaded(f"{self.rpcs.limit} RPCs are under way already")
                self._validate(request)
                yield
        except (Problem, ValidationError) as known:
            problem = known if isinstance(known, Problem) else _unsendable(known)
            code = problem.code
            span.set_attribute("jzb.reason", problem.reason)
            telemetry.refusals.add(1, {"method": method, "reason": problem.reason})
            if problem.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                span.set_status(Status(StatusCode.ERROR, problem.reason))
            raise _Told(problem) from known
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception as unforeseen:
            code = grpc.StatusCode.UNAVAILABLE
            span.record_exception(unforeseen)
            span.set_status(Status(StatusCode.ERROR, type(unforeseen).__name__))
            if not isinstance(unforeseen, LedgerUnavailable):
                log.exception("unforeseen", method=method, request_id=request_id)
            raise _Told(problems.ledger_unavailable()) from unforeseen
        finally:
            self.rpcs.leave()
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            span.end()
            telemetry.requests.add(1, {"method": method, "code": code.name})
            telemetry.request_seconds.record(time.perf_counter() - began_s, {"method": method})

    def _require_time(self, request: Message, context: Context) -> None:
        # Only what changes something has a request id.
        if "request_id" not in request.DESCRIPTOR.fields_by_name:
            return
        remaining_s: float | None = context.time_remaining()
        if remaining_s is not None and remaining_s < self._deadline_min_s:
            raise problems.deadline_too_short(remaining_s, self._deadline_min_s)

    def _validate(self, request: Message) -> None:
        violations = self._validator.collect_violations(request)
        if not violations:
            return
        found = [(_path(violation), str(violation.proto.message)) for violation in violations]
        raise Problem(
            grpc.StatusCode.INVALID_ARGUMENT,
            "REQUEST_INVALID",
            "; ".join(f"{field}: {message}" for field, message in found[:5]),
            next_step="correct the request; the request id is not used up",
            metadata={"field": found[0][0], "rule": violations[0].proto.rule_id},
            violations=found,
        )


class _Told(Exception):
    """Carries the finished status to the RPC's end."""

    def __init__(self, problem: Problem) -> None:
        status = rpc_status.to_status(status_of(problem))
        self.status = (status.code, status.details, status.trailing_metadata)
        super().__init__(status.details)


def _unsendable(wrong: ValidationError) -> Problem:
    """A text that the contract allows and the bank's wire cannot carry, such as "null" (transport.md 2.3)."""
    first = wrong.errors(include_input=False, include_url=False, include_context=False)[0]
    field_name, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return problems.invalid(field_name, message, rule=first["type"])


def _path(violation: protovalidate.Violation) -> str:
    path = violation.proto.field
    names: list[str] = []
    for element in path.elements if path is not None else ():
        index = element.subscript
        names.append(f"{element.field_name}[{index.value}]" if index is not None else str(element.field_name))
    return ".".join(names) or "request"


def status_of(problem: Problem) -> status_pb2.Status:
    """A problem as google.rpc.Status: ErrorInfo, MoneyError, and what else fits."""
    code: Any = problem.code
    status = status_pb2.Status(code=code.value[0], message=str(problem))
    money = core_pb2.MoneyError(
        outcome=problem.outcome,
        operation=view.operation(problem.operation, problem.parts[:PARTS_MAX]) if problem.operation else None,
        amounts=[core_pb2.NamedAmount(name=name, amount_fen=fen) for name, fen in problem.amounts.items()],
        next_step=problem.next_step,
    )
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=problem.reason,
            domain=DOMAIN,
            metadata={**problem.metadata, "outcome": core_pb2.Outcome.Name(problem.outcome).removeprefix("OUTCOME_")},
        ),
        money,
    ]
    if problem.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
                    for field, description in problem.violations
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
