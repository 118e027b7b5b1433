"""Traces, metrics and logs: one trace for one operation, over every process that works on it.

Spans carry ids, serials, codes and amounts; never a card, an identity or a phone number. The trace of the first
request is stored with the operation, and the resolver continues it.
"""

from service.telemetry import catalogue as catalogue
from service.telemetry import events as events
from service.telemetry.export import set_up as set_up
from service.telemetry.kept import KeptSpans as KeptSpans
from service.telemetry.kept import served as served
from service.telemetry.metrics import Observable as Observable
from service.telemetry.metrics import Observed as Observed
from service.telemetry.metrics import Shown as Shown
from service.telemetry.metrics import is_recording as is_recording
from service.telemetry.tracing import RPC_METHOD as RPC_METHOD
from service.telemetry.tracing import RPC_STATUS as RPC_STATUS
from service.telemetry.tracing import RPC_SYSTEM as RPC_SYSTEM
from service.telemetry.tracing import SERVER_ADDRESS as SERVER_ADDRESS
from service.telemetry.tracing import bank_call as bank_call
from service.telemetry.tracing import batch as batch
from service.telemetry.tracing import below as below
from service.telemetry.tracing import carrier as carrier
from service.telemetry.tracing import count_outcome as count_outcome
from service.telemetry.tracing import failed as failed
from service.telemetry.tracing import http_request as http_request
from service.telemetry.tracing import later as later
from service.telemetry.tracing import note as note
from service.telemetry.tracing import origin as origin
from service.telemetry.tracing import refused as refused
from service.telemetry.tracing import root as root
from service.telemetry.tracing import serve as serve
from service.telemetry.tracing import step_took as step_took
from service.telemetry.tracing import trace_id as trace_id
