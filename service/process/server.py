"""One service process: its parts, put together once, in the order in which they depend on each other.

`running` is an async context manager; leaving it drains: balancers are told, no new calls are taken, those under way
end within ``drain_s`` in all, and what is left is marked as in doubt, for the resolver of another process. Then the
parts close in the reverse order.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from functools import partial
from typing import Any

import grpc
import tenacity
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from sqlalchemy.ext.asyncio import AsyncEngine

from bankclient import BankClient
from ledger import (
    AuditTrail,
    Cards,
    Entries,
    Events,
    LedgerBehind,
    LedgerUnavailable,
    LedgerUnfit,
    Lists,
    Lookups,
    Proposals,
    Reads,
    SerialNumbers,
    Usage,
    Writer,
    connect,
    copies,
    open_pool,
    require_ready,
    roles,
    turn,
    usage_of_engine,
    usage_of_pool,
)
from ledger.day import Days
from service import telemetry
from service.feed import CONNECTIONS, Feed
from service.inflows.card_list import CardList
from service.inflows.clearing import Clearing, Sweeper, SweepQuery
from service.inflows.collector import collect_all, collecting
from service.inflows.day_lists import DayLists
from service.inflows.reconciliation import Reconciliation
from service.inflows.recorder import Recorder
from service.inflows.returns import ReturnQuery, Returns
from service.inflows.transfers import Transfers
from service.path.admission import Admission
from service.path.carrying import Carrying
from service.path.proposals import Proposing, lacking
from service.path.repeats import Repeats
from service.path.resolver import Carrier, Resolver
from service.path.runner import MARK_S, Runner
from service.process.anchor import anchored, places_of, require_agreement
from service.process.components import Components
from service.process.expiry import watched
from service.process.gauges import certificates_end, observing
from service.process.listening import Certificate, require_closed
from service.process.servicers import register
from service.questions.query import Query
from service.rpc.access import Access
from service.rpc.auditing import Auditing
from service.rpc.errors import CallInterceptor
from service.rpc.identity import Identities
from service.rpc.reflection import add_reflection
from service.serials import new_serial
from service.settings import GrpcSettings, Settings, is_loopback
from service.telemetry import events
from service.vault import Vault, VaultKeyMissing

WAIT_MAX_S = 5.0
"""Between two tries to reach a database that is away when the service starts."""

SEND_S = 0.5
"""How long the last answers may take to go out."""


class Service:
    """A running service. ``port`` is where it listens."""

    def __init__(self, port: int, components: Components) -> None:
        self.port = port
        self.components = components


@asynccontextmanager
async def assembled(settings: Settings, *, catches_up: bool = False) -> AsyncIterator[Components]:
    """The parts of a service for the life of the block, before any server; the resolver and the collectors run.

    To catch up restored books is the one thing that may be done with them, and then nothing collects beside it. Raises
    BankConfigError for keys that cannot work, `LedgerUnfit` on a database or schema that does not fit, else
    `LedgerBehind` on books that have not caught up.
    """
    if catches_up:
        settings = settings.without_collectors()
    dsn = settings.database_url.get_secret_value()
    if settings.is_exposed and not settings.seal.keys:
        raise LedgerUnfit(
            "JZB_SEAL__KEYS is not set: without it whoever can write to the database has payments signed and sent."
            " `jzb seal key` makes one. Only a service on loopback, with its database on this machine, goes without"
        )
    async with AsyncExitStack() as stack:
        engine = connect(dsn, settings.database_connections)
        stack.push_async_callback(engine.dispose)
        pool = await stack.enter_async_context(open_pool(dsn))
        # Apart from the look-ups, which every payment waits for: a page of long ago may wait for the disk.
        pages = await stack.enter_async_context(open_pool(dsn))
        keys = settings.seal.of(settings.platform)
        reads, numbers = Reads(engine, Lookups(pool, settings.platform), keys), SerialNumbers(engine)
        lists = Lists(pages, settings.platform, reads.proofs)
        entries = Entries(pages, settings.platform)
        serial_source = partial(new_serial, settings.bank.uid, numbers)
        bank = await stack.enter_async_context(
            BankClient(
                settings.bank,
                query_serial=serial_source,
                around=telemetry.bank_call,
                measured=telemetry.http_request,
            )
        )
        # Behind the address and the keys, whose errors do not mend themselves; before anything that writes.
        await _require_books(engine, dsn, settings.platform, catches_up=catches_up)
        if settings.is_exposed and not catches_up:
            await asyncio.to_thread(roles.require_ordinary, dsn)
        await reads.require_ours()
        if not catches_up:
            await require_agreement(reads, places_of(settings.anchor))
        vault, proposals = settings.vault.of(settings.platform), Proposals(engine, settings.platform)
        if not catches_up and (missing := lacking(await proposals.needing(), vault.key_ids)):
            raise VaultKeyMissing(missing)
        stream = await stack.enter_async_context(open_pool(dsn, CONNECTIONS))
        feed = await stack.enter_async_context(
            Feed(Events(stream, settings.platform, reads.proofs), reads.last_event, settings.watch).running()
        )

        def committed(origins: Sequence[Any], seconds: float) -> None:
            telemetry.batch(origins, seconds)
            feed.wake()

        writer = await stack.enter_async_context(
            Writer(
                dsn,
                settings.platform,
                spend_order=settings.rules.spend_order,
                catches_up=catches_up,
                keys=keys,
                encrypt=vault.seal_answer if vault.is_open else None,
                on_batch=committed,
                origin=telemetry.origin,
            ).running()
        )
        sweeper = Sweeper(writer, reads, bank, settings)
        recorder = Recorder(writer, numbers, settings.bank.uid)
        clearing = await stack.enter_async_context(
            Clearing(writer, reads, lists, bank, recorder, sweeper, settings).running()
        )
        returns = Returns(writer, reads, bank, recorder, settings.returns)
        await stack.enter_async_context(collecting("returns", returns.collect_last_days, settings.returns.poll_s))
        transfers = Transfers(reads, bank, recorder, returns, settings)
        await stack.enter_async_context(collecting("transfers", transfers.collect_last_days, settings.transfers.poll_s))
        if not catches_up:
            statements_s = settings.statements_poll_s
            await stack.enter_async_context(collecting("statements", entries.fill, statements_s, is_traced=False))
        cards = Cards(engine, settings.platform)
        carriers: dict[type[Query], Carrier[Any]] = {SweepQuery: sweeper, ReturnQuery: returns}
        resolver = await stack.enter_async_context(
            Resolver(writer, reads, bank, cards, vault, carriers, settings).running()
        )
        reconciliation = await stack.enter_async_context(
            _reconciliation(settings, dsn, engine, vault, reads, bank, transfers, returns, clearing, resolver).running()
        )
        admission = Admission(settings.call_concurrency, settings.interface_concurrency, settings.breaker)
        trail = AuditTrail(engine, settings.platform, keys)
        proposing = Proposing(proposals, trail, vault, settings.proposal_life_s)
        repeats = Repeats(reads, proposals, vault)
        runner = await stack.enter_async_context(
            Runner(writer, reads, bank, numbers, admission, clearing, repeats, proposing, settings).running()
        )
        card_list = CardList(recorder, bank, cards, vault)
        yield Components(
            trail=trail,
            writer=writer,
            runner=runner,
            admission=admission,
            repeats=repeats,
            reads=reads,
            lists=lists,
            entries=entries,
            feed=feed,
            bank=bank,
            resolver=resolver,
            clearing=clearing,
            settings=settings,
            new_serial=serial_source,
            recorder=recorder,
            returns=returns,
            transfers=transfers,
            reconciliation=reconciliation,
            cards=cards,
            proposals=proposals,
            proposing=proposing,
            vault=vault,
            card_list=card_list,
            pools={
                "engine": partial(usage_of_engine, engine),
                "lookups": partial(usage_of_pool, pool),
                "lists": partial(usage_of_pool, pages),
                "events": partial(usage_of_pool, stream),
                "writer": lambda: Usage(idle=0, used=int(writer.is_connected), waiting=writer.waiting),
            },
        )


def _reconciliation(
    settings: Settings,
    dsn: str,
    engine: AsyncEngine,
    vault: Vault,
    reads: Reads,
    bank: BankClient,
    transfers: Transfers,
    returns: Returns,
    clearing: Clearing,
    resolver: Resolver,
) -> Reconciliation:
    """Without a key for the bank's files nothing is collected by itself."""

    async def collect(bank_day: date) -> None:
        await clearing.clear_past_days()
        await collect_all(returns.collect, bank_day, bank_day)
        await collect_all(transfers.collect, bank_day, bank_day)

    chosen = settings.reconciliation
    if chosen.poll_s is not None and not vault.is_open:
        events.DAYS_NOT_CLOSED.log()
        chosen = chosen.model_copy(update={"poll_s": None})
    return Reconciliation(
        days=Days(dsn, engine, settings.platform, encrypt=vault.seal_answer, sign=vault.sign_decision),
        reads=reads,
        bank=bank,
        lists=DayLists(bank, reads, transfers, returns, clearing),
        turn=partial(turn, dsn, settings.platform, "run of days"),
        collect=collect,
        resolve=resolver.resolve_now,
        settings=chosen,
    )


@asynccontextmanager
async def running(
    settings: Settings, more: Callable[[Components], Sequence[grpc.GenericRpcHandler[Any, Any]]] = lambda _: ()
) -> AsyncIterator[Service]:
    """The service for the life of the block. Raises `ListenRefused` for a port that would be open to strangers,
    `PolicyWrong`, and BankConfigError for keys that cannot work, before it listens; `LedgerUnfit` on a database or
    schema that does not fit, `LedgerBehind` on books that were restored and have not caught up.

    ``more`` gives handlers of other RPCs that the same server is to answer.
    """
    require_closed(settings)
    certificate = _certificate(settings)
    async with AsyncExitStack() as stack:
        components = await stack.enter_async_context(assembled(settings))
        access = await stack.enter_async_context(_access(settings).running())
        trail = components.trail
        carrying = await stack.enter_async_context(
            Carrying(components.proposals, components.proposing, trail, access.now).running()
        )
        anchor = await stack.enter_async_context(anchored(components.reads, places_of(settings.anchor)))
        auditing = await stack.enter_async_context(Auditing(trail, components.repeats).running())
        place = _address(settings.listen)
        interceptor = CallInterceptor(access, auditing, components.admission, components.repeats, settings, place)
        await stack.enter_async_context(
            observing(components, lambda: interceptor.watches.in_use, lambda: anchor.age_s, certificate)
        )
        ends = partial(certificates_end, components.bank, certificate)
        await stack.enter_async_context(watched(ends))
        server = grpc.aio.server(interceptors=[interceptor], options=_options(settings.grpc))
        status = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        services = register(server, components, carrying)
        if settings.reflects:
            add_reflection((*services, health.SERVICE_NAME), server)
        server.add_generic_rpc_handlers(more(components))
        port = _listen(server, settings.listen, certificate)
        await server.start()
        stack.push_async_callback(_drain, server, status, interceptor, components, settings)
        for name in ("", *services):
            await status.set(name, health_pb2.HealthCheckResponse.SERVING)
        yield Service(port, components)


@tenacity.retry(
    retry=tenacity.retry_if_exception(
        lambda error: isinstance(error, LedgerUnavailable) and not isinstance(error, LedgerUnfit)
    ),
    wait=tenacity.wait_exponential_jitter(multiplier=0.25, max=WAIT_MAX_S, jitter=0.25),
    before_sleep=lambda state: events.DATABASE_AWAITED.log(why=str(state.outcome.exception()) if state.outcome else ""),
)
async def _require_books(engine: AsyncEngine, dsn: str, platform: str, *, catches_up: bool) -> None:
    """Waits for the database, as long as it takes: nothing is written before it is known that it can be written to.

    Raises `LedgerUnfit` for a database or a schema that does not fit, `LedgerBehind` for books that are a copy.
    """
    weaknesses = await require_ready(engine, dsn)
    if catches_up:
        return
    for weakness in weaknesses:
        events.DATABASE_WEAK.log(what=weakness)
    behind_since = await copies.behind_since(engine, platform)
    if behind_since is not None:
        raise LedgerBehind.restored(behind_since)


async def _drain(
    server: grpc.aio.Server,
    status: HealthServicer,
    interceptor: CallInterceptor,
    components: Components,
    settings: Settings,
) -> None:
    """End what is under way, within ``drain_s``, or else within the `MARK_S` that it takes to mark it."""
    leave_s = settings.grpc.leave_s
    left_s = max(0.0, settings.drain_s + MARK_S - leave_s)
    await status.enter_graceful_shutdown()
    components.resolver.rest()
    components.feed.close()
    async with asyncio.TaskGroup() as tasks:
        # What is new is refused with a reason from now on, and once callers had time to leave, by gRPC itself: a call
        # that crosses with its farewell ends CANCELLED.
        tasks.create_task(components.runner.drain(settings.drain_s))
        await asyncio.sleep(leave_s)
        tasks.create_task(server.stop(left_s))
        await interceptor.wait_idle(left_s)
        # What never ends by itself is cut off, such as a balancer that watches the health.
        await server.stop(SEND_S)


def tune_garbage_collector() -> None:
    """Tell the garbage collector that what a process has loaded stays, and to look less often; for a process's start.

    Under load a collection of everything held calls up, and found next to nothing: no cycle is on a payment's way.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    # https://github.com/grpc/grpc/blob/master/doc/keepalive.md
    options = [
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        ("grpc.max_concurrent_streams", settings.streams_max),
        ("grpc.max_connection_idle_ms", int(settings.connection_idle_s * 1000)),
        ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1000)),
        # Without the second a connection without a call may be pinged every two hours, whatever the first says.
        ("grpc.http2.min_ping_interval_without_data_ms", int(settings.ping_min_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),
        # By default gRPC's core cancels, without a word, what comes while 1000 to 3000 wait to be taken in.
        ("grpc.server.max_pending_requests", settings.rpcs_max),
        ("grpc.server.max_pending_requests_hard_limit", settings.rpcs_max),
    ]
    if settings.connection_age_s is not None:
        options.append(("grpc.max_connection_age_ms", int(settings.connection_age_s * 1000)))
    return options


def _address(listen: str) -> str:
    """The host in an address; this machine's name where it listens on all of them."""
    host = listen.rpartition(":")[0].strip("[]")
    return socket.gethostname() if host in ("", "::", "0.0.0.0") else host  # noqa: S104 - it is no bind


def _certificate(settings: Settings) -> Certificate | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


def _access(settings: Settings) -> Access:
    """Who may call, said once where that is anybody or nobody."""
    asks = settings.tls_client_ca is not None
    access = Access(Identities(asks_certificates=asks, oidc=settings.oidc), settings.policy)
    if asks and not access.has_policy:
        events.NOBODY_MAY.log()
    rights = "by the policy" if access.has_policy else "every right"
    if not asks and is_loopback(settings.listen):
        events.LOCAL_CALLERS.log(listen=settings.listen, rights=rights)
    elif not asks:
        events.INSECURE.log(listen=settings.listen, rights=rights)
    return access


def _listen(server: grpc.aio.Server, address: str, certificate: Certificate | None) -> int:
    try:
        if certificate is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, certificate.credentials())
    except RuntimeError as taken:
        raise OSError(f"cannot listen on {address} (JZB_LISTEN): {taken}") from None
