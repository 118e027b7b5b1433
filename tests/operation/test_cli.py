"""`jzb` as a user runs it: what it starts, what it says, what it leaves behind, and its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from jzb.v1 import balance_pb2, balance_pb2_grpc, core_pb2, member_pb2, member_pb2_grpc, topup_pb2, topup_pb2_grpc
from ledger import LedgerUnfit, connect, migrate, newest_revision
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.process import server
from service.process.certificates import issue, make_ca
from service.process.cli import app
from service.process.server import assembled
from tests.bankclient.keys import PASSWORD, certificate, ec_key, make_keys, pfx, rsa_key
from tests.world.cli import JZB, START_S, STOP_S, Ended, jzb, jzb_run
from tests.world.databases import PostgresServer
from tests.world.marketplace import LENIENT, TIMEOUT_S, service_settings
from tests.world.process import ROOT, as_environment, clean_environment, service_process, shop_on, until

SANDBOX = r"^sandbox bank +(http:\S+),"


def processes_on(folder: Path) -> list[str]:
    """The command lines of living processes that name a folder."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = one.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in line:
            found.append(line.replace(b"\0", b" ").decode())
    return found


async def top_up(channel: grpc.aio.Channel) -> None:
    await member_pb2_grpc.MemberServiceStub(channel).OpenMember(
        member_pb2.OpenMemberRequest(
            request_id="open", member_id="saver", property=member_pb2.MEMBER_PROPERTY_ORDINARY
        ),
        timeout=TIMEOUT_S,
    )
    await topup_pb2_grpc.TopUpServiceStub(channel).TopUp(
        topup_pb2.TopUpRequest(
            request_id="top-up",
            member_id="saver",
            amount_fen=12_34,
            order_no="T1",
            channel=topup_pb2.Channel(type=topup_pb2.CHANNEL_TYPE_WECHAT, merchant_no="1", transaction_no="1"),
        ),
        timeout=TIMEOUT_S,
    )


async def available_fen(channel: grpc.aio.Channel) -> int:
    stub = balance_pb2_grpc.BalanceServiceStub(channel)
    request = balance_pb2.GetBalanceRequest(member_id="saver")
    return int((await stub.GetBalance(request, timeout=TIMEOUT_S)).balance.available_fen)


async def test_run_starts_everything_and_a_second_run_finds_its_data_again(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    data = tmp_path / "var"
    async with jzb_run(data) as first:
        assert first.told(SANDBOX).startswith("http://127.0.0.1:")
        assert first.told(r"^PostgreSQL +127.0.0.1:(\d+),")
        assert f"jzb demo --target {first.target}" in "".join(first.said)
        async with grpc.aio.insecure_channel(first.target) as channel:
            await top_up(channel)
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            metrics = await client.get(first.told(r"^metrics +(http://\S+)"))
        assert 'rpc_method="jzb.v1.TopUpService/' in metrics.text
        assert await first.interrupt() == 0
    assert processes_on(data) == []

    async with jzb_run(data) as second:
        record_property("warm_start_s", round(second.started_in_s, 2))
        async with grpc.aio.insecure_channel(second.target) as channel:
            assert await available_fen(channel) == 12_34
        verified = await jzb("verify", "--data", str(data))
        assert (verified.status, verified.error) == (0, "")
        assert "agree" in verified.out
        # Another one on the same data says why it cannot, and leaves the first alone.
        third = await jzb("run", "--data", str(data), "--listen", "127.0.0.1:0")
        assert third.status == 1
        assert "in use" in third.error
        async with grpc.aio.insecure_channel(second.target) as channel:
            assert await available_fen(channel) == 12_34
        second.process.kill()
        await second.process.wait()
        await until(lambda: processes_on(data) == [], "database and bank end with a service that was killed", 30.0)

    verified = await jzb("verify", "--data", str(data))
    assert verified.status == 0
    assert processes_on(data) == []


async def test_sigterm_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*JZB, "run", "--data", str(tmp_path), "--listen", "127.0.0.1:0"), cwd=ROOT, env=clean_environment()
    )
    try:
        await until(lambda: any("sandbox" in line for line in processes_on(tmp_path / "sandbox")), "the bank starts")
    finally:
        process.terminate()
        await process.wait()
    await until(lambda: processes_on(tmp_path) == [], "all of it ends", 30.0)


async def test_demo_plays_a_day_and_ends_well() -> None:
    ended = await jzb("demo")
    assert ended.status == 0, ended.out + ended.error
    assert "suspense 100.00 of transfer" in ended.out
    assert "200.00 returned, bank" in ended.out
    assert "agree with the bank; the trial balance sums to zero" in ended.out


async def test_demo_says_no_when_the_bank_has_a_balance_that_the_mirror_has_not(tmp_path: Path) -> None:
    async with jzb_run(tmp_path) as stack:
        agreed = await jzb("demo", "--target", stack.target)
        assert agreed.status == 0, agreed.out + agreed.error
        # The command that it prints reaches the same service.
        assert re.search(rf"jzb reconcile --date \S+ --through \S+ --target {stack.target}$", agreed.out, re.MULTILINE)
        async with httpx.AsyncClient(trust_env=False) as control:
            given = await control.post(f"{stack.told(SANDBOX)}/control/own-funds", json={"amount_fen": 1})
            given.raise_for_status()
        different = await jzb("demo", "--target", stack.target)
        assert different.status == 1
        assert re.search(r"^1 of \d+ sub-accounts differ", different.out, re.MULTILINE), different.out
        elsewhere = f"http://{stack.target}"
        lost = await jzb("demo", "--target", stack.target, "--sandbox", elsewhere)
        assert lost.status == 1
        assert lost.error.startswith(f"jzb: --sandbox {elsewhere}"), lost.error


async def test_run_with_certificates_shows_a_call_that_gets_in(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    make_ca(folder)
    issue(folder, "localhost", days=1)
    issue(folder, "spiffe://trial/shop", days=1)
    policy = tmp_path / "policy.toml"
    policy.write_text('[callers."spiffe://trial/shop"]\nscopes = ["read.all"]\nnamespace = ""\nmembers = ["*"]\n')
    environment = {
        "JZB_TLS_CERTIFICATE": str(folder / "localhost.pem"),
        "JZB_TLS_KEY": str(folder / "localhost.key"),
        "JZB_TLS_CLIENT_CA": str(folder / "ca.pem"),
        "JZB_POLICY": str(policy),
    }
    async with jzb_run(tmp_path / "var", environment) as stack:
        shown = stack.told(r"^  (\S*buf curl .*\\\n.*)")
        shown = shown.replace("YOURS", str(folder / "shop"))

        async def has_rows() -> bool:
            call = await asyncio.create_subprocess_shell(shown, cwd=ROOT, stdout=PIPE)
            answer, _ = await asyncio.wait_for(call.communicate(), START_S)
            return bool(json.loads(answer).get("rows"))

        # The books have nothing until the opening balance is entered.
        await until(has_rows, "the call that is shown gets the trial balance", START_S)


async def test_demo_without_a_service_says_that_it_cannot_be_reached() -> None:
    ended = await jzb("demo", "--target", "127.0.0.1:9")
    assert ended.status == 1
    assert ended.error.startswith("jzb: the service answered UNAVAILABLE")
    assert "Traceback" not in ended.error


async def test_verify_shows_a_balance_that_the_journal_does_not_explain(database: str, tmp_path: Path) -> None:
    async with Sandbox(SandboxSettings(clear_same_day=True)) as bank, shop_on(database, bank) as shop:
        await shop.buyer("buyer", 100_00)
    environment = {"DATABASE_URL": database, "JZB_BANK__MRCH_CODE": "9930"}
    whole = await jzb("verify", "--data", str(tmp_path / "none"), environment=environment)
    assert whole.status == 0
    (digest,) = re.findall(r"last digest, .*: ([0-9a-f]{64})$", whole.out, re.MULTILINE)
    for noted, status in ((digest, 0), ("0" * 64, 1), ("0" * 63, 2)):
        ended = await jzb("verify", "--data", str(tmp_path), "--noted", noted, environment=environment)
        assert (ended.status, ended.out.count("no seal has it")) == (status, int(status == 1)), ended.out
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute("UPDATE account SET balance_fen = balance_fen + 7 WHERE kind = 'own-funds'")
    ended = await jzb("verify", "--data", str(tmp_path / "none"), environment=environment)
    assert ended.status == 1
    assert "balance equals the sum of legs: own-funds: expected " in ended.out
    told = await jzb("verify", "--data", str(tmp_path), "--unsealed", "1", environment=environment)
    assert (told.status, told.out.count("found 0 of ")) == (1, 1), told.out
    strange = {**environment, "JZB_BANK__MRCH_CODE": "8888"}
    missing = await jzb("verify", "--data", str(tmp_path), environment=strange)
    assert (missing.status, missing.out.count("none; there are those of 9930")) == (1, 1), missing.out
    assert not (tmp_path / "none").exists()


async def test_verify_of_a_folder_without_books_says_so(tmp_path: Path) -> None:
    ended = await jzb("verify", "--data", str(tmp_path / "empty"))
    assert ended.status == 1
    assert "holds no books yet" in ended.error
    assert not (tmp_path / "empty").exists()


async def test_run_uses_the_database_and_the_bank_that_the_environment_names(
    empty_database: str, tmp_path: Path
) -> None:
    async with Sandbox(SandboxSettings(clear_same_day=True)) as bank:
        environment = {"DATABASE_URL": empty_database, **as_environment({"bank": bank.client_settings})}
        async with jzb_run(tmp_path / "var", environment) as stack:
            said = "".join(stack.said)
            assert "PostgreSQL" not in said
            assert "sandbox bank" not in said
            async with grpc.aio.insecure_channel(stack.target) as channel:
                await top_up(channel)
                assert await available_fen(channel) == 12_34
            assert await stack.interrupt() == 0
        assert bank.books.difference_fen() == 0
        assert any(row.serial for row in bank.requests)
    async with await psycopg.AsyncConnection.connect(empty_database) as connection:
        found = await (await connection.execute("SELECT count(*) FROM member")).fetchone()
    assert found == (1,)
    assert not (tmp_path / "var").exists()


def in_this_process(command: Sequence[str], environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Ended:
    """A command in this process, for what stops it before it starts."""
    monkeypatch.setattr("service.telemetry.set_up", lambda *_: lambda: None)
    for name in [name for name in os.environ if name.startswith("JZB_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    ended = CliRunner().invoke(app, command, env=environment)
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


def serve(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Ended:
    """`jzb serve` in this process."""
    return in_this_process(["serve"], environment, monkeypatch)


@pytest.fixture(scope="module")
def bank_settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a client of a bank needs, with keys that work."""
    folder, keys = tmp_path_factory.mktemp("keys"), make_keys()
    (folder / "merchant.pfx").write_bytes(keys.merchant_pfx)
    (folder / "merchant.pfx").chmod(0o600)
    (folder / "bank.pem").write_bytes(keys.bank_pem)
    return {
        "base_url": "http://127.0.0.1:9",
        "app_id": "app",
        "mrch_code": "9930",
        "fund_summary_acct_no": "15000000000000",
        "uid": "ABC123",
        "pfx_path": str(folder / "merchant.pfx"),
        "pfx_password": PASSWORD,
        "bank_certificate_path": str(folder / "bank.pem"),
    }


def _no_key(folder: Path) -> dict[str, Any]:
    return {"pfx_path": str(folder / "gone.pfx")}


def _wrong_password(folder: Path) -> dict[str, Any]:
    return {"pfx_password": "not-the-password"}


def _no_pkcs12(folder: Path) -> dict[str, Any]:
    (folder / "text.pfx").write_text("no key")
    return {"pfx_path": str(folder / "text.pfx")}


def _expired_key(folder: Path) -> dict[str, Any]:
    key = rsa_key()
    (folder / "old.pfx").write_bytes(pfx(key, certificate(key, -30, -1)))
    return {"pfx_path": str(folder / "old.pfx")}


def _key_of_another_kind(folder: Path) -> dict[str, Any]:
    key = ec_key()
    (folder / "ec.pfx").write_bytes(pfx(key, certificate(key)))
    return {"pfx_path": str(folder / "ec.pfx")}


def _no_bank_certificate(folder: Path) -> dict[str, Any]:
    return {"bank_certificate_path": str(folder / "gone.pem")}


def _bank_certificate_of_yesterday(folder: Path) -> dict[str, Any]:
    (folder / "old.pem").write_bytes(certificate(rsa_key(), -30, -1).public_bytes(Encoding.PEM))
    return {"bank_certificate_path": str(folder / "old.pem")}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_no_key, r"cannot open the merchant key \S+gone.pfx: No such file"),
        (_wrong_password, "the password does not open the merchant key file"),
        (_no_pkcs12, "the merchant key file is not PKCS#12"),
        (_expired_key, r"the merchant certificate expired on \d{4}-\d\d-\d\d"),
        (_key_of_another_kind, "the merchant key is not RSA"),
        (_no_bank_certificate, r"cannot open the bank certificate \S+gone.pem: No such file"),
        (_bank_certificate_of_yesterday, r"the bank certificate expired on \d{4}-\d\d-\d\d"),
    ],
)
def test_a_key_that_cannot_work_stops_the_start_and_is_named(
    bank_settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], dict[str, Any]],
    says: str,
) -> None:
    settings = {"database_url": "postgresql://127.0.0.1:9/jzb", "bank": {**bank_settings, **change(tmp_path)}}
    ended = serve(as_environment(settings), monkeypatch)
    assert ended.status == 1
    assert re.fullmatch(rf"jzb: {says}.*\n", ended.error), ended.error
    assert "not-the-password" not in ended.error


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("JZB_BANK__UID", "1", "JZB_BANK__UID"),
        ("JZB_BANK__SERVICE_IDS", "not json", "JZB_BANK"),
        ("JZB_RESOLVER__POLL_S", "-1", "JZB_RESOLVER__POLL_S"),
        ("JZB_RESOLVER__POL_S", "1", "JZB_RESOLVER__POL_S"),
        ("DATABASE_URL", "not an address", "DATABASE_URL"),
    ],
)
def test_a_wrong_setting_is_named(
    bank_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    environment = {
        "DATABASE_URL": "postgresql://127.0.0.1:9/jzb",
        **as_environment({"bank": bank_settings, "listen": "127.0.0.1:0"}),
        name: value,
    }
    ended = serve(environment, monkeypatch)
    assert ended.status == 1
    assert ended.error.startswith("jzb: ")
    assert says in ended.error
    assert "Traceback" not in ended.error


async def test_a_port_that_is_taken_is_named(database: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with Sandbox(SandboxSettings()) as bank:
            settings = {"database_url": database, "bank": bank.client_settings}
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            ended = await jzb("serve", environment=as_environment({**settings, "listen": listen}))
    assert ended.status == 1
    assert f"jzb: cannot listen on {listen} (JZB_LISTEN)" in ended.error
    assert "Traceback" not in ended.error


def test_missing_settings_are_all_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = serve({}, monkeypatch)
    assert ended.status == 1
    bank = ("BASE_URL", "APP_ID", "MRCH_CODE", "FUND_SUMMARY_ACCT_NO", "UID", "PFX_PATH", "PFX_PASSWORD")
    missing = ["DATABASE_URL", *(f"JZB_BANK__{name}" for name in (*bank, "BANK_CERTIFICATE_PATH"))]
    assert [line.split(":")[1].split()[1] for line in ended.error.splitlines()] == missing


def test_a_database_is_migrated_by_its_address_alone(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = in_this_process(("migrate",), {"DATABASE_URL": empty_database}, monkeypatch)
    assert (ended.status, ended.out) == (0, "the database is up to date\n"), ended
    assert in_this_process(("migrate",), {}, monkeypatch).error == "jzb: setting DATABASE_URL: Field required\n"


async def test_a_database_that_is_away_is_said_without_its_password(
    bank_settings: dict[str, Any], tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": "postgresql://jzb:very-secret@127.0.0.1:9/jzb",
        **as_environment({"bank": bank_settings}),
    }
    ended = await jzb("run", "--data", str(tmp_path), environment=environment)
    assert ended.status == 1
    assert "the ledger's database cannot be reached" in ended.error
    assert "very-secret" not in ended.error
    assert "Traceback" not in ended.error


@pytest.mark.parametrize(
    ("revision", "says"),
    [
        ("0009", f"revision 0009, this program needs {newest_revision()}: run `jzb migrate`"),
        ("9999", f"revision 9999, this program knows them up to {newest_revision()}: use the release"),
        (None, f"no schema yet, this program needs revision {newest_revision()}: run `jzb migrate`"),
    ],
    ids=["older", "newer", "none"],
)
def test_a_schema_of_another_revision_stops_the_start_and_both_are_named(
    bank_settings: dict[str, Any],
    empty_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    revision: str | None,
    says: str,
) -> None:
    if revision is not None:
        migrate(empty_database, "0009")
        with psycopg.connect(empty_database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [revision])
    environment = as_environment({"bank": bank_settings, "listen": "127.0.0.1:0", "database_url": empty_database})
    data = ("--data", str(tmp_path))
    commands: list[tuple[str, ...]] = [("serve",), ("verify", *data), ("vault", "rotate", *data)]
    if revision == "9999":
        # These bring an older one up to date, and no newer one down.
        commands += [("migrate",), ("run", *data), ("catch-up", *data)]
    environment["DATABASE_URL"] = environment.pop("JZB_DATABASE_URL")
    for command in commands:
        ended = in_this_process(command, environment, monkeypatch)
        assert (ended.status, ended.error.startswith("jzb: ")) == (1, True), ended
        assert says in ended.error


async def test_a_catch_up_of_an_older_schema_is_refused(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0009'")
    async with Sandbox(SandboxSettings()) as bank:
        with pytest.raises(LedgerUnfit, match="revision 0009, this program needs"):
            async with assembled(service_settings(database, bank), catches_up=True):
                pass


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_database_in_another_encoding_stops_the_start_and_the_setting_is_named(
    bank_settings: dict[str, Any], postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    name = f"latin_{command}_{os.getpid()}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0".encode()
        )
    try:
        environment = {"DATABASE_URL": postgres.dsn_of(name), **as_environment({"bank": bank_settings})}
        ended = in_this_process((command,), environment, monkeypatch)
        assert (ended.status, ended.error.count("\n")) == (1, 1)
        assert ended.error.startswith("jzb: server_encoding is LATIN1 and must be UTF8: ")
    finally:
        postgres.drop(name)


@pytest.mark.parametrize(
    "command",
    [
        ("files", "fetch", "--date", "2026-11-22", "--type", "CZ"),
        ("backup", "copy"),
        ("catch-up",),
        ("verify",),
        ("vault", "rotate"),
        ("restore", "copy"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("names", ["nothing", "a platform", "a database"])
def test_before_the_first_run_a_command_that_needs_books_leaves_nothing_behind(
    command: tuple[str, ...], names: str, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "nothing": {},
        "a platform": {"JZB_BANK__MRCH_CODE": "9930"},
        "a database": {"DATABASE_URL": empty_database},
    }[names]
    ended = in_this_process((*command, "--data", "var"), environment, monkeypatch)
    assert (ended.status, ended.error.count("\n"), ended.error[:5]) == (1, 1, "jzb: "), ended
    if command[0] == "restore":
        assert ended.error == "jzb: there is no file copy\n"
    elif names != "a database":
        assert "holds no books yet: start `jzb run` first" in ended.error
    assert [*tmp_path.iterdir()] == []


def test_the_release_and_its_schema_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = in_this_process(("--version",), {}, monkeypatch)
    assert (ended.status, ended.out) == (0, f"jzb-ledger {version('jzb-ledger')}, schema {newest_revision()}\n")


@pytest.fixture(params=["refuses", "swallows"])
async def database_away(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The address of no database: connections are refused there, or taken and never answered."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        if request.param == "swallows":
            place.listen()
        yield f"postgresql://jzb@127.0.0.1:{place.getsockname()[1]}/jzb?connect_timeout=2"


async def test_sigterm_ends_a_service_that_waits_for_its_database(
    database_away: str, bank_settings: dict[str, Any]
) -> None:
    settings = {"bank": bank_settings, "telemetry": {"log_json": True}}
    environment = clean_environment(DATABASE_URL=database_away, **as_environment(settings))
    process = await asyncio.create_subprocess_exec(*JZB, "serve", env=environment, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    try:
        assert process.stdout is not None
        said = await asyncio.wait_for(process.stdout.readline(), START_S)
        assert "waits for its database" in json.loads(said)["event"]
        process.terminate()
        began_s = time.monotonic()
        assert await asyncio.wait_for(process.wait(), STOP_S) == 0
        assert time.monotonic() - began_s < 4.0
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_service_asks_less_and_less_often_for_a_database_that_is_away(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    class Enough(Exception):
        pass

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 10:
            raise Enough

    waits = server._require_books.retry_with(sleep=sleep)
    dsn = f"{empty_database.rsplit('/', 1)[0]}/no_such_database"
    engine = connect(dsn, 1)
    with pytest.raises(Enough):
        await waits(engine, dsn, "9930", catches_up=False)
    await engine.dispose()
    assert pauses[0] < 1.0
    assert pauses[:5] == sorted(pauses[:5])
    assert 4.0 < pauses[-1] <= server.WAIT_MAX_S


async def test_lines_of_libraries_are_json_when_ours_are() -> None:
    said = """
import logging, warnings
from service import telemetry
from service.settings import TelemetrySettings
telemetry.set_up(TelemetrySettings(log_json=True), "9930")
logging.getLogger("psycopg.pool").warning("error connecting in %r", "pool-1")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("asyncio").exception("Task exception was never retrieved")
warnings.warn("of old")
logging.getLogger("quiet").debug("not said")
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", said), env=clean_environment(), cwd=ROOT, stderr=PIPE
    )
    _, error = await process.communicate()
    pool, task, warning = (json.loads(line) for line in error.decode().splitlines())
    assert (pool["event"], pool["level"], pool["logger"]) == (
        "error connecting in 'pool-1'",
        "warning",
        "psycopg.pool",
    )
    assert "ZeroDivisionError" in task["exception"]
    assert "of old" in warning["event"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line["timestamp"]) for line in (pool, task, warning))


async def test_payments_end_whatever_the_environment_says_about_sessions(database: str) -> None:
    environment = {
        "PGCLIENTENCODING": "LATIN1",
        "PGDATESTYLE": "German",
        "PGOPTIONS": "-c default_transaction_read_only=on -c statement_timeout=1",
        "PGTARGETSESSIONATTRS": "standby",
    }
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await shop.buyer("buyer", 100_00)
            await shop.merchant("seller")
            request = shop.pay_request("buyer", "seller", 30_00, remark="退款😀")
        async with service_process(database, bank, environment=environment) as service:
            answer = await service.payments.Pay(request, timeout=TIMEOUT_S)
            assert answer.operation.state == core_pb2.OPERATION_STATE_DONE
        async with shop_on(database, bank) as shop:
            assert (await shop.balance("seller")).available_fen == 30_00
            await shop.assert_agrees()
