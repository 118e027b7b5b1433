"""The service as a process, with three RPCs more on the same server to compare it with.

``/bench/Empty`` answers at once. ``/bench/SignAndCall`` makes one RSA signature and one HTTP call as the service makes
them: a payment of one fen that the bank carries out, without a ledger around it; the request names payer and payee.
``/bench/Usage`` tells the process's CPU seconds and resident bytes, ``/bench/Profile`` what the CPU seconds of the next
seconds, which the request names, went to; both as JSON.

The settings are the environment's. It ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bankclient.client import _signed
from bench.parent import wanted_no_more
from bench.profile import profiled
from jzb.v1 import payment_pb2
from ledger.names import MemberCode
from service import telemetry
from service.bankday import bank_today
from service.plans import payments
from service.plans.plan import Serials
from service.process.components import Components
from service.process.server import running, tune_garbage_collector
from service.rpc.context import Context
from service.rpc.facts import MemberFacts
from service.settings import from_environment

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Comparisons:
    """What the service's own RPCs are compared with."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._fields: dict[str, object] = {}

    async def empty(self, request: bytes, context: Context) -> bytes:
        """Nothing."""
        return b""

    async def sign_and_call(self, request: bytes, context: Context) -> bytes:
        """A signed payment, as the wire has it."""
        bank = self._components.bank
        opened = bank._opened()
        if not self._fields:
            payer, payee = request.decode().split()
            pay = payment_pb2.PayRequest(
                payer_member_id=payer, payee_member_id=payee, amount_fen=1, settlement=payment_pb2.SETTLEMENT_T1
            )
            facts = await MemberFacts(self._components.reads).facts([MemberCode(payer)], [MemberCode(payee)])
            message = payments.pay(
                pay, facts, Serials.make(self._components.settings.bank.uid, bank_today(), [0])
            ).message
            self._path = f"/api/group/{bank.service_id(type(message))}"
            self._fields = bank._fields(message, "")
        serial = await self._components.new_serial()
        token = await opened.tokens.current()
        content = await _signed(opened, {**self._fields, "CnsmrSeqNo": serial, "AppAccessToken": token})
        received = await opened.connection.post(self._path, content)
        if json.loads(received.content).get("TxnReturnCode") != "000000":
            raise RuntimeError(f"the bank refused: {received!r}")
        return b""

    async def usage(self, request: bytes, context: Context) -> bytes:
        """What this process has used so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES  # noqa: ASYNC240
        return json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "resident_bytes": resident}).encode()

    async def profile(self, request: bytes, context: Context) -> bytes:
        """What CPU time goes to."""
        return json.dumps(await profiled(float(request))).encode()


def handlers(components: Components) -> Sequence[grpc.GenericRpcHandler[Any, Any]]:
    """The RPCs under ``/bench/``; requests and answers are bytes."""
    comparisons = Comparisons(components)
    methods: Any = {
        "Empty": grpc.unary_unary_rpc_method_handler(comparisons.empty),
        "SignAndCall": grpc.unary_unary_rpc_method_handler(comparisons.sign_and_call),
        "Profile": grpc.unary_unary_rpc_method_handler(comparisons.profile),
        "Usage": grpc.unary_unary_rpc_method_handler(comparisons.usage),
    }
    return [grpc.method_handlers_generic_handler("bench", methods)]


async def _serve() -> None:
    settings = from_environment()
    flush = telemetry.set_up(settings.telemetry, settings.platform)
    stop = wanted_no_more()
    async with running(settings, handlers) as service:
        tune_garbage_collector()
        print(f"listening on {service.port}", flush=True)
        await stop.wait()
    flush()


if __name__ == "__main__":
    uvloop.run(_serve())
