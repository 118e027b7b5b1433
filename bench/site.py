"""A whole marketplace to measure: PostgreSQL, the sandbox bank and the service, each in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg

from embedded import EmbeddedPostgres, as_service, let_service_in
from jzb.v1 import (
    balance_pb2,
    balance_pb2_grpc,
    member_pb2,
    member_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
    topup_pb2,
    topup_pb2_grpc,
)
from ledger import migrate
from service.process.certificates import issue, make_ca
from service.process.client import channel_to
from service.vault import new_key

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 60.0
FUNDS_FEN = 10**12
BUYERS = 200
MERCHANTS = 50


SERVER = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
"""Memory and disk as a server with load has them; see docs/scaling.md."""


@contextmanager
def database(folder: Path, settings: Mapping[str, str] = SERVER) -> Iterator[str]:
    """A database on an embedded PostgreSQL, with its usual durability (fsync on) by the usual settings; its DSN."""
    with EmbeddedPostgres(folder / "postgres", settings=settings) as server:
        migrate(server.dsn)
        let_service_in(server.dsn)
        yield server.dsn


@contextmanager
def bank(folder: Path, delay_s: float = 0.0) -> Iterator[dict[str, Any]]:
    """A sandbox bank that answers after ``delay_s``; the settings of its client."""
    folder.mkdir(parents=True, exist_ok=True)
    with _process("sandbox", "--data-dir", str(folder), "--until-stdin-ends", SANDBOX_ANSWER_DELAY_S=str(delay_s)) as (
        process,
        _,
    ):
        del process
        yield json.loads((folder / "client.json").read_text())


@contextmanager
def collector() -> Iterator[str]:
    """A collector of traces and metrics that throws them away; its endpoint."""
    with _process("bench.collector") as (_, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def scraper(address: str) -> Iterator[None]:
    """A Prometheus that reads the metrics of a service at this address, and throws them away."""
    with _process("bench.scraper", address):
        yield


def free_address() -> str:
    """An address of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def service(dsn: str, client: Mapping[str, Any], **settings: str) -> Iterator[str]:
    """The service; its address. ``settings`` as the environment has them, without the prefix."""
    environment = {f"JZB_BANK__{name.upper()}": _text(value) for name, value in client.items()}
    environment |= {"DATABASE_URL": as_service(dsn), "JZB_LISTEN": "127.0.0.1:0"}
    # As in production: personal values are encrypted, and MACs are made.
    environment |= {"JZB_VAULT__KEYS": json.dumps([VAULT_KEY]), "JZB_SEAL__KEYS": json.dumps([SEAL_KEY])}
    environment |= {f"JZB_{name}": value for name, value in settings.items()}
    with _process("bench.server", **environment) as (_, port):
        yield f"127.0.0.1:{port}"


@contextmanager
def watchers(target: str, count: int) -> Iterator[None]:
    """So many idle watches of a service, by a process that does nothing else."""
    with _process("bench.watchers", target, str(count)):
        yield


@contextmanager
def abusers(target: str, count: int) -> Iterator[None]:
    """So many callers that send nonsense as fast as they are answered, by a process that does nothing else."""
    with _process("bench.abusers", target, str(count)):
        yield


VAULT_KEY, SEAL_KEY = new_key(), new_key()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _process(module: str, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("JZB_", "SANDBOX_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**ours, **environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"listening on (\S+)", line):
                # A process whose log nobody reads stands still once the pipe is full.
                threading.Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
                yield process, found[1]
                break
        else:
            raise RuntimeError(f"{module} ended with status {process.wait()} before it listened")
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def new_database(dsn: str, name: str) -> str:
    """Another database on the server of ``dsn``, with empty tables; its DSN."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    migrate(beside(dsn, name))
    return beside(dsn, name)


def beside(dsn: str, name: str) -> str:
    """The DSN of the database of that name on the same server."""
    return f"{dsn.rpartition('/')[0]}/{name}"


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_numbers = itertools.count(1)


class Client:
    """One client of the service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._members = member_pb2_grpc.MemberServiceStub(channel)
        self._top_ups = topup_pb2_grpc.TopUpServiceStub(channel)
        self._payments = payment_pb2_grpc.PaymentServiceStub(channel)
        self._balances = balance_pb2_grpc.BalanceServiceStub(channel)
        self._empty = channel.unary_unary("/bench/Empty", None, None)
        self._sign_and_call = channel.unary_unary("/bench/SignAndCall", None, None)
        self._usage = channel.unary_unary("/bench/Usage", None, None)
        self._profile = channel.unary_unary("/bench/Profile", None, None)

    async def open_market(self) -> None:
        """Members ``b0``, ``b1``… with money, and ``m0``, ``m1``…"""
        await asyncio.gather(*(self._member(f"b{n}", member_pb2.MEMBER_PROPERTY_ORDINARY) for n in range(BUYERS)))
        await asyncio.gather(*(self._member(f"m{n}", member_pb2.MEMBER_PROPERTY_MERCHANT) for n in range(MERCHANTS)))

    async def _member(self, member_id: str, kind: member_pb2.MemberProperty.ValueType) -> None:
        request = member_pb2.OpenMemberRequest(request_id=f"open-{member_id}", member_id=member_id, property=kind)
        await self._members.OpenMember(request, timeout=TIMEOUT_S)
        if kind == member_pb2.MEMBER_PROPERTY_ORDINARY:
            top_up = topup_pb2.TopUpRequest(
                request_id=f"fund-{member_id}",
                member_id=member_id,
                amount_fen=FUNDS_FEN,
                channel=topup_pb2.Channel(
                    type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1900000109", transaction_no=f"T{member_id}"
                ),
                order_no=f"T{member_id}",
            )
            await self._top_ups.TopUp(top_up, timeout=TIMEOUT_S)

    async def pay(self, timeout_s: float = TIMEOUT_S) -> None:
        """One payment of 1 yuan with a fee of 1 fen. Raises what gRPC raises."""
        number = next(_numbers)
        await self.pay_between(f"b{number % BUYERS}", f"m{number % MERCHANTS}", timeout_s)

    async def pay_between(self, payer: str, payee: str, timeout_s: float = TIMEOUT_S) -> None:
        """The same between these two."""
        request = payment_pb2.PayRequest(
            request_id=f"pay-{os.getpid()}-{next(_numbers)}",
            payer_member_id=payer,
            payee_member_id=payee,
            amount_fen=100,
            fee_fen=1,
            settlement=payment_pb2.SETTLEMENT_T1,
        )
        await self._payments.Pay(request, timeout=timeout_s)

    async def balance(self) -> None:
        """One member's balance."""
        request = balance_pb2.GetBalanceRequest(member_id=f"b{next(_numbers) % BUYERS}")
        await self._balances.GetBalance(request, timeout=TIMEOUT_S)

    async def empty(self) -> None:
        """An RPC that does nothing."""
        await self._empty(b"", timeout=TIMEOUT_S)

    async def sign_and_call(self) -> None:
        """A payment at the bank without a ledger."""
        await self._sign_and_call(b"b0 m0", timeout=TIMEOUT_S)

    async def usage(self) -> dict[str, float]:
        """CPU seconds and resident bytes of the service."""
        used: dict[str, float] = json.loads(await self._usage(b"", timeout=TIMEOUT_S))
        return used

    async def profile(self, seconds: float) -> dict[str, float]:
        """CPU seconds of the service in the next ``seconds``, by what they went to."""
        spent: dict[str, float] = json.loads(await self._profile(str(seconds).encode(), timeout=TIMEOUT_S))
        return spent


@asynccontextmanager
async def client(target: str, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Client]:
    """A client over one channel, of mutual TLS where there are credentials."""
    async with channel_to(target, credentials) as channel:
        yield Client(channel)


PAYER = "spiffe://bench/payer"

POLICY = f"""
[callers."{PAYER}"]
scopes = ["money.pay", "member.write", "read.own"]
namespace = "bench"
members = ["b", "m"]
amount_per_call_fen = 100_000_000_000_00
calls_max = 100_000
"""


def locks(folder: Path) -> tuple[dict[str, str], grpc.ChannelCredentials]:
    """Settings of a service with all its locks, mutual TLS, a policy and seal keys, and what its client shows."""
    ca = make_ca(folder)
    server, payer = issue(folder, "localhost", 30), issue(folder, PAYER, 30)
    policy = folder / "policy.toml"
    policy.write_text(POLICY, "utf-8")
    settings = {
        "TLS_CERTIFICATE": str(server.certificate),
        "TLS_KEY": str(server.key),
        "TLS_CLIENT_CA": str(ca.certificate),
        "POLICY": str(policy),
        "SEAL__KEYS": json.dumps([new_key()]),
    }
    trusted = ca.certificate.read_bytes()
    return settings, grpc.ssl_channel_credentials(trusted, payer.key.read_bytes(), payer.certificate.read_bytes())
