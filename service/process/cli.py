"""The command line: run, serve, migrate, verify, backup, restore, catch-up, demo, reconcile, adjust, find, timeline,
work, balance, trial-balance, statement, orders, freezes, withdrawals, trace, evidence, vault, files, proposals,
certificates, docs.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import date as day_of_calendar
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, cast, get_args
from uuid import UUID

import grpc
import psycopg
import typer
import uvloop
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from bankclient import BankError, FileKind, fen, yuan
from jzb.v1 import approval_pb2
from ledger import (
    Cards,
    LedgerError,
    Lookups,
    Proposals,
    Reads,
    SealKeys,
    Summary,
    WorkKind,
    audit,
    connect,
    copies,
    migrate,
    newest_revision,
    open_pool,
    require_current,
    vouching,
)
from ledger.names import MemberCode
from service import telemetry
from service.bankday import bank_today
from service.catalogue import bank_document, log_document, metrics_document
from service.inflows.reconciliation_files import fetch, summary
from service.path.proposals import lacking
from service.policy import PolicyWrong
from service.problems import Problem
from service.process import adjusting, balances, deciding, evidence, four_eyes, inquiries, listed
from service.process import demo as day
from service.process import trace as traces
from service.process.anchor import contradiction, note_anew, places_of
from service.process.certificates import CertificateNotMade, issue, make_ca
from service.process.listening import ListenRefused
from service.process.reconcile import FORMATS, Format, reconcile
from service.process.server import assembled, running, tune_garbage_collector
from service.process.stack import (
    SEAL_KEYS,
    VAULT_KEYS,
    StackNotStarted,
    bank,
    bank_certificate,
    database,
    kept,
    key_file,
    platform_of,
    require_alone,
    require_kept,
    seal_file,
    seal_keys,
    started,
    vault_settings,
)
from service.recovery.catch_up import CatchUp, CatchUpStopped, CaughtUp
from service.secret_files import SecretFileWrong
from service.settings import (
    SealSettings,
    Settings,
    anchor_from_environment,
    database_from_environment,
    from_environment,
    is_given,
    seal_from_environment,
    secrets_that_all_may_read,
    telemetry_from_environment,
    vault_from_environment,
)
from service.telemetry import events
from service.vault import Vault, VaultError, new_key, rotate

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
files = typer.Typer(no_args_is_help=True, help="The bank's reconciliation files.")
app.add_typer(files, name="files")
vault = typer.Typer(no_args_is_help=True, help="The keys under which personal values are kept.")
app.add_typer(vault, name="vault")
seal = typer.Typer(no_args_is_help=True, help="The keys of the MACs over openings and seals.")
app.add_typer(seal, name="seal")
proposals = typer.Typer(no_args_is_help=True, help="What two people are needed for, at a running service.")
app.add_typer(proposals, name="proposals")
certificates = typer.Typer(no_args_is_help=True, help="Certificates for a trial: an authority, and what it issues.")
app.add_typer(certificates, name="certificates")
docs = typer.Typer(no_args_is_help=True, help="Documents that are made from the code.")
app.add_typer(docs, name="docs")
console = Console(highlight=False, soft_wrap=True)

TREE_WIDTH = 200
KINDS = ", ".join(get_args(FileKind))
Data = Annotated[Path, typer.Option(help="Where PostgreSQL and the sandbox keep their data.")]
Unsealed = Annotated[int, typer.Option(min=0, help="How many batches are from before there were seals.")]


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        console.print(f"jzb-ledger {version('jzb-ledger')}, schema {newest_revision()}")
        raise typer.Exit


@app.callback()
def jzb(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="The release and its schema.")
    ] = False,
) -> None:
    """The payment ledger for Ping An's JZB."""


@app.command()
def run(
    data: Data = Path("var"),
    listen: Annotated[str | None, typer.Option(help="host:port of gRPC.")] = None,
    needs_two: Annotated[
        bool,
        typer.Option("--four-eyes", help="With certificates and a policy: a shop, one who proposes, one who approves."),
    ] = False,
) -> None:
    """Start PostgreSQL, the sandbox bank and the service; Ctrl-C stops them."""
    given: dict[str, Any] = {"listen": listen} if listen else {}
    with _complaints():
        given |= four_eyes.settings(data) if needs_two else {}
    with _complaints(), started(data, settings=given) as stack:
        settings = _with_metrics(stack.settings)

        def announce(port: int) -> None:
            host = settings.listen.rsplit(":", 1)[0]
            if stack.postgres_port:
                console.print(f"PostgreSQL    127.0.0.1:{stack.postgres_port}, data in {data / 'postgres'}")
            if stack.sandbox_url:
                console.print(f"sandbox bank  {stack.sandbox_url}, books in {data / 'sandbox'}")
            shown = "reflection and health" if settings.reflects else "health"
            console.print(f"gRPC          {host}:{port}, platform {settings.platform}, {shown} on")
            if settings.telemetry.metrics_listen:
                console.print(f"metrics       http://{settings.telemetry.metrics_listen}/metrics")
            for number, line in enumerate(four_eyes.lines(data) if needs_two else ()):
                console.print(f"{'' if number else 'callers':14}{line}", markup=False)
            console.print()
            console.print("Try, in another terminal:")
            program = Path(sys.argv[0]) if Path(sys.argv[0]).name == "jzb" else Path(".venv/bin/jzb")
            option = f" --sandbox {stack.sandbox_url}" if stack.sandbox_url else ""
            if needs_two:
                option += f" --certificate {four_eyes.certificate_of(data, four_eyes.SHOP)}"
            elif settings.tls_certificate is not None:
                option += f" --ca {settings.tls_client_ca or settings.tls_certificate}"
                if settings.tls_client_ca is not None:
                    option += " --certificate YOURS.pem --key YOURS.key"
            console.print(f"  {program} demo --target {host}:{port}{option}")
            # An installed wheel brings neither buf nor the contract's files.
            if (buf := program.with_name("buf")).exists():
                scheme, line = "http", "--http2-prior-knowledge"
                if settings.tls_certificate is not None:
                    scheme, line = "https", f"--cacert {settings.tls_client_ca or settings.tls_certificate}"
                if settings.tls_client_ca is not None:
                    own = four_eyes.certificate_of(data, four_eyes.SHOP) if needs_two else Path("YOURS.pem")
                    line += f" --cert {own} --key {own.with_suffix('.key')}"
                console.print(f"  {buf} curl --protocol grpc {line} --schema protos \\")
                console.print(f"    {scheme}://{host}:{port}/jzb.v1.BalanceService/GetTrialBalance")
            if data.exists():
                console.print(f"  {program} trace NUMBER{_option(data)}   (of an order, a request, a serial)")
            console.print("Ctrl-C stops everything; the data stay.")

        with traces.keeping(data) as spans:
            _run(_serve(settings, announce, spans))


METRICS_LISTEN = "127.0.0.1:9464"
"""Where `jzb run` serves metrics, unless the environment names an address; somewhere else where that is taken."""


def _with_metrics(settings: Settings) -> Settings:
    if settings.telemetry.metrics_listen is not None:
        return settings
    host, _, port = METRICS_LISTEN.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            probe.bind((host, 0))
        address = f"{host}:{probe.getsockname()[1]}"
    telemetry_too = settings.telemetry.model_copy(update={"metrics_listen": address})
    return settings.model_copy(update={"telemetry": telemetry_too})


@app.command()
def serve() -> None:
    """Run the service alone, with the settings of the environment."""
    with _complaints():
        settings = from_environment()

        def announce(port: int) -> None:
            if settings.telemetry.log_json:
                events.LISTENS.log(port=port)
            else:
                console.print(f"gRPC listens on port {port}")

        _run(_serve(settings, announce))


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database of the environment up to date."""
    with _complaints():
        lacking = migrate(database_from_environment(), keys=seal_from_environment().bytes)
        console.print("the database is up to date")
        if lacking:
            console.print("its roles are not: this user may not make them. Have somebody run, then migrate again:")
            for statement in lacking:
                console.print(f"  {statement}")


@app.command("verify")
def verify_command(
    data: Data = Path("var"),
    noted: Annotated[
        str, typer.Option(help="A digest that an earlier run printed; it must still be in the chain of seals.")
    ] = "",
    unsealed: Unsealed = 0,
) -> None:
    """Replay the journal, compare it with the balances and with its seals; exits 1 when they differ."""
    with _complaints():
        if not re.fullmatch("([0-9a-f]{64})?", noted):
            raise typer.BadParameter("a digest has 64 hexadecimal digits", param_hint="--noted")
        platform = platform_of(data)
        with kept(data) as dsn:
            keys = seal_keys(data).of(platform)
            summary = asyncio.run(_verify(dsn, platform, bytes.fromhex(noted), unsealed, keys))
            for line in asyncio.run(_anchors(dsn, platform, compare=True)):
                console.print(f"an anchor contradicts the books: {line}", markup=False)
                summary.findings += 1
        if not summary.findings:
            console.print("the journal, the balances and the seals agree")
        console.print(
            f"{summary.batches} batches, {summary.operations} operations, {summary.transactions} transactions,"
            f" {summary.legs} legs, {summary.findings} findings"
        )
        if summary.batches_unsealed:
            console.print(
                f"the first {summary.batches_unsealed} batches have no seal, as if from before there were any"
            )
        if summary.members_unsealed:
            console.print(f"{summary.members_unsealed} members are from before they were sealed")
        if keys is None:
            console.print("no MAC was checked: JZB_SEAL__KEYS is not set")
        if summary.digest:
            console.print(f"last digest, to be noted elsewhere for --noted: {summary.digest.hex()}")
        if summary.findings:
            raise typer.Exit(1)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes; it must not be there yet.")],
    data: Data = Path("var"),
) -> None:
    """Copy the books into one file, as of one moment, while the service runs; sealed under JZB_SEAL__KEYS."""
    with _complaints(), kept(data) as dsn:
        keys = seal_keys(data).bytes
        for copied in copies.back_up(dsn, file, keys):
            console.print(_head(copied))
        console.print(f"copied to {file}; the keys (JZB_VAULT__KEYS, JZB_SEAL__KEYS) are not in it")
        if not keys:
            console.print("it is not sealed, and anybody can read and change it: JZB_SEAL__KEYS is not set")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `jzb backup` made.")],
    data: Data = Path("var"),
    unsealed: Unsealed = 0,
    unsealed_copy: Annotated[
        bool, typer.Option(help="Restore a copy that is not sealed, because you know who made it.")
    ] = False,
) -> None:
    """Fill an empty database from a copy; no service starts on it before `jzb catch-up`.

    Exits 1 when the books that were restored contradict themselves, which the catch-up would cover up.
    """
    with _complaints():
        copies.require_file(file)
    with _complaints(), database(data) as (dsn, _):
        contradictions = 0
        keys = seal_keys(data).bytes
        for copied in copies.restore(dsn, file, keys, is_trusted=unsealed_copy):
            console.print(_head(copied))
            contradictions += asyncio.run(
                _verify(dsn, copied.platform, b"", unsealed, seal_keys(data).of(copied.platform))
            ).findings
        if contradictions:
            console.print(
                "restored, and the books stay closed: they were wrong when they were copied. Restore an older"
            )
            console.print("copy into another database, or correct these by `jzb catch-up`, which takes the bank's word")
            raise typer.Exit(1)
        console.print("restored; the bank has gone on since: run `jzb catch-up` next")


@app.command("catch-up")
def catch_up_command(
    data: Data = Path("var"),
    member: Annotated[
        list[str] | None, typer.Option(help="A member that was opened since, as CODE=00 or CODE=SH; may be repeated.")
    ] = None,
    patience_s: Annotated[float, typer.Option(help="How long operations of the copy may take to end.")] = 1800.0,
    even_so: Annotated[bool, typer.Option(help="Open the books although something is not explained.")] = False,
) -> None:
    """Bring restored books up to the bank: take over what it did since, and list it; exits 1 while they stay closed.

    Repeat nothing that was sent after the copy was made before it was compared with the list.
    """
    opened = {MemberCode(code): kind for code, _, kind in (one.partition("=") for one in member or ())}
    if any(member_property not in ("00", "SH") for member_property in opened.values()):
        raise typer.BadParameter("a member is named with its property, CODE=00 or CODE=SH", param_hint="--member")
    with _complaints():
        require_kept(data, bank_too=True)
    with (
        _complaints(),
        started(data) as stack,
        copies.catching_up(stack.dsn, stack.settings.platform) as books,
    ):
        if books.since is None:
            console.print("these books are not restored ones, or have caught up already")
            return
        found = asyncio.run(_catch_up(stack.settings, books.since, patience_s, opened))
        _print_caught_up(found)
        if found.unexplained and not even_so:
            console.print("the books stay closed: look at what is not explained, then run this again with --even-so")
            raise typer.Exit(1)
        books.open()
        console.print("the books are open again")
        asyncio.run(_anchors(stack.dsn, stack.settings.platform, compare=False))


@app.command()
def demo(
    target: Annotated[
        str | None, typer.Option(help="A running service; without it one is started for the demo.")
    ] = None,
    sandbox_url: Annotated[
        str | None,
        typer.Option(
            "--sandbox", help="With --target, its sandbox bank: there an order is acquired and a transfer comes in."
        ),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="With --target, whose certificate the service must have (PEM): TLS.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="With --ca, the certificate of the caller.")] = None,
    key: Annotated[Path | None, typer.Option(help="With --certificate, its key.")] = None,
) -> None:
    """Play a marketplace day through the gRPC API, then compare every balance with the bank's own."""
    with _complaints():
        if target:
            raise typer.Exit(asyncio.run(day.run_demo(target, sandbox_url, _credentials(ca, certificate, key))))
        with tempfile.TemporaryDirectory(prefix="jzb-demo-") as folder:
            settings = {"listen": "127.0.0.1:0", "telemetry": {"log_level": "error"}}
            with started(Path(folder), settings=settings) as stack:
                raise typer.Exit(asyncio.run(_demo(stack.settings, stack.sandbox_url)))


def _credentials(ca: Path | None, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials | None:
    """Those of a client; None for plaintext."""
    if certificate is not None and ca is None and key is None:
        # As `jzb certificates` leaves them.
        beside = certificate.with_suffix(".key"), certificate.with_name("ca.pem")
        if all(path.exists() for path in beside):
            key, ca = beside
    if ca is None:
        if certificate is not None or key is not None:
            wanted = "a certificate is shown over TLS alone, and its key and ca.pem are not beside it"
            raise typer.BadParameter(wanted, param_hint="--ca")
        return None
    if (certificate is None) != (key is None):
        raise typer.BadParameter("a certificate and its key come together", param_hint="--key")
    own = (None, None) if certificate is None or key is None else (key.read_bytes(), certificate.read_bytes())
    return grpc.ssl_channel_credentials(ca.read_bytes(), *own)


NUMBER = "[!-~]{1,64}"


def _require_number(text: str) -> None:
    if not re.fullmatch(NUMBER, text):
        raise typer.BadParameter("a number has up to 64 letters, digits and signs", param_hint="NUMBER")


@app.command("find")
def find_command(
    number: Annotated[
        str,
        typer.Argument(
            help="Any number that somebody holds: of a request, an order, a channel; a serial of ours or the bank's; a"
            " member, a sub-account, an operation id."
        ),
    ],
    is_open: Annotated[bool, typer.Option("--open", help="Only what still waits for the bank.")] = False,
    data: Data = Path("var"),
) -> None:
    """Print the operations that a number names, newest first, and what of each it is; exits 1 without any."""
    with _complaints():
        _require_number(number)
        platform = platform_of(data)
        with kept(data) as dsn:
            found = asyncio.run(inquiries.find(dsn, platform, number, is_open=is_open))
        if not found:
            which = "no open operation" if is_open else "no operation"
            console.print(f"platform {platform} has {which} with number {number}", markup=False)
            raise typer.Exit(1)
        _wide().print(inquiries.found_table(found))
        if len(found) == inquiries.LISTED_MAX:
            console.print(f"these are the newest {len(found)}: FindOperations has pages, and more filters")


Target = Annotated[str, typer.Option(help="A running service, host:port.")]
Authority = Annotated[Path | None, typer.Option(help="Whose certificate the service must have (PEM): TLS.")]
CallerCertificate = Annotated[
    Path | None,
    typer.Option(help="The certificate of the caller; without --ca and --key, with its key and ca.pem beside it."),
]
CallerKey = Annotated[Path | None, typer.Option(help="With --certificate, its key.")]
PastDay = Annotated[str, typer.Option(help="As of the end of this bank day, YYYY-MM-DD.")]
PastTime = Annotated[str, typer.Option(help="As of this time, 2026-11-30T18:00; in Shanghai unless it has a zone.")]
LOCAL = "127.0.0.1:50051"


@app.command("balance")
def balance_command(
    member: Annotated[str, typer.Argument(help="The code of the member.")],
    date: PastDay = "",
    time: PastTime = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Print a member's balance, now, as of a time, or as of the end of a bank day."""
    with _complaints():
        as_of = _as_of(date, time)
        title, table = asyncio.run(balances.balance(target, _credentials(ca, certificate, key), member, as_of))
        console.print(title, markup=False)
        console.print(table)


@app.command("trial-balance")
def trial_balance_command(
    date: PastDay = "",
    time: PastTime = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Print the totals of each kind of account, now, as of a time, or as of the end of a bank day."""
    with _complaints():
        as_of = _as_of(date, time)
        title, table = asyncio.run(balances.trial_balance(target, _credentials(ca, certificate, key), as_of))
        console.print(title, markup=False)
        console.print(table)


@app.command("statement")
def statement_command(
    member: Annotated[str, typer.Argument(help="The code of the member.")],
    first: Annotated[str, typer.Option("--from", help="The first bank day; without it from the first.")] = "",
    last: Annotated[str, typer.Option("--to", help="The last bank day; without it up to now.")] = "",
    wanted: Annotated[str, typer.Option("--format", help=f"Write a file: {', '.join(FORMATS)}.")] = "",
    out: Annotated[Path, typer.Option(help="With --format, the folder of the file.")] = Path("."),
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Print a member's statement (流水): each posting and what was left after it; or write it into a file."""
    with _complaints():
        days = _day_or_none("--from", first), _day_or_none("--to", last)
        credentials = _credentials(ca, certificate, key)
        if wanted:
            rows = asyncio.run(balances.write_statement(target, credentials, member, *days, _format(wanted), out))
            console.print(f"{rows} entries of member {member}, in {out}", markup=False)
            return
        table, is_cut = asyncio.run(balances.statement(target, credentials, member, *days))
        _wide().print(table)
        if is_cut:
            console.print(f"these are the first {balances.SHOWN_MAX}: --format csv writes all")


ListedMember = Annotated[str, typer.Argument(help="The code of a member; without it all members'.")]
OnlyOpen = Annotated[bool, typer.Option("--open", help="Only those that still hold money, or wait for the bank.")]
FirstDay = Annotated[str, typer.Option("--from", help="The first bank day; without it from the first.")]
LastDay = Annotated[str, typer.Option("--to", help="With --from, the last bank day; without it today.")]


def _listed_command(name: str, says: str, read: Callable[..., Coroutine[Any, Any, tuple[Table, bool]]]) -> None:
    @app.command(name, help=says)
    def command(
        member: ListedMember = "",
        is_open: OnlyOpen = False,
        first: FirstDay = "",
        last: LastDay = "",
        target: Target = LOCAL,
        ca: Authority = None,
        certificate: CallerCertificate = None,
        key: CallerKey = None,
    ) -> None:
        with _complaints():
            if last and not first:
                raise typer.BadParameter("comes with --from", param_hint="--to")
            began = _day_or_none("--from", first)
            ended = (_day_or_none("--to", last) or bank_today()) if began else None
            credentials = _credentials(ca, certificate, key)
            filters = listed.wanted(member, began, ended)
            table, is_cut = asyncio.run(read((target, credentials), filters, is_open=is_open))
            _wide().print(table)
            if is_cut:
                console.print(f"these are the first {listed.SHOWN_MAX}: the RPCs have pages, and more filters")


_listed_command(
    "orders",
    "Print prepaid orders, newest first: what is confirmed, cancelled, and still in escrow, in yuan.",
    listed.orders,
)
_listed_command(
    "freezes",
    "Print frozen orders, newest first: what is given back, paid out, and still frozen, in yuan.",
    listed.freezes,
)
_listed_command(
    "withdrawals",
    "Print withdrawals: those that the bank has not ended, the oldest first, then all others, the newest first.",
    listed.withdrawals,
)


def _format(wanted: str) -> Format:
    if wanted not in FORMATS:
        raise typer.BadParameter(f"{wanted} is none of {', '.join(FORMATS)}", param_hint="--format")
    return wanted


def _as_of(bank_day: str, time: str) -> dict[str, Any]:
    if bank_day and time:
        raise typer.BadParameter("a time and a bank day are asked for one at a time", param_hint="--time")
    try:
        at = datetime.fromisoformat(time) if time else None
    except ValueError:
        raise typer.BadParameter(f"{time} is no time, as in 2026-11-30T18:00", param_hint="--time") from None
    return balances.moment(_day_or_none("--date", bank_day), at)


def _day_or_none(option: str, text: str) -> day_of_calendar | None:
    return _calendar_day(option, text) if text else None


DAYS_MAX = 62
"""So many bank days are reconciled by one command."""


@app.command("reconcile")
def reconcile_command(
    date: Annotated[str, typer.Option(help="The bank day, YYYY-MM-DD; without it the one before today.")] = "",
    through: Annotated[str, typer.Option(help="The last of several days, YYYY-MM-DD.")] = "",
    out: Annotated[Path | None, typer.Option(help="A folder for the tables, with every line of the bank's.")] = None,
    wanted: Annotated[str, typer.Option("--format", help=f"With --out: {', '.join(FORMATS)}.")] = "xlsx",
    loads: Annotated[
        bool, typer.Option("--run/--no-run", help="Whether the bank is asked now, or what is known is shown.")
    ] = True,
    sign: Annotated[
        str | None,
        typer.Option(help="Sign the day as it is shown, with a note: as the first, or the second after another."),
    ] = None,
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Close bank days: have the bank's files loaded and matched, and show what does not agree; exits 1 with breaks."""
    with _complaints():
        first = _calendar_day("--date", date) if date else bank_today() - timedelta(days=1)
        last = _calendar_day("--through", through) if through else first
        if not 0 <= (last - first).days < DAYS_MAX:
            raise typer.BadParameter(f"is not within {DAYS_MAX} days from {first} on", param_hint="--through")
        if sign is not None and first != last:
            raise typer.BadParameter("one day is signed at a time", param_hint="--sign")
        chosen = _format(wanted)
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        credentials = _credentials(ca, certificate, key)
        closing = reconcile(target, days, credentials, out=out, wanted=chosen, loads=loads, sign=sign)
        raise typer.Exit(asyncio.run(closing))


def _calendar_day(option: str, text: str) -> day_of_calendar:
    try:
        return day_of_calendar.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is no day of the calendar", param_hint=option) from None


@app.command("adjust")
def adjust_command(
    break_id: Annotated[UUID, typer.Argument(help="The break, as `jzb reconcile` has it.")],
    why: Annotated[str, typer.Option(help="Why, for whoever approves and reads it later; no place for personal data.")],
    add: Annotated[str, typer.Option(help="The account that gets the amount, such as withdrawable.")] = "",
    take: Annotated[str, typer.Option(help="The account that gives it.")] = "",
    member: Annotated[str, typer.Option(help="Whose account it is.")] = "",
    order: Annotated[str, typer.Option(help="The order number of frozen, escrow or parked money.")] = "",
    bank_day: Annotated[str, typer.Option(help="The bank day of uncleared money or money in transit.")] = "",
    transfer: Annotated[str, typer.Option(help="The bank serial of a transfer in suspense.")] = "",
    amount: Annotated[str, typer.Option("--yuan", help="How much, in yuan; without it all that differs.")] = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
) -> None:
    """Propose an adjustment of a break, with the break's own evidence; another identity approves it (jzb proposals)."""
    with _complaints():
        if bool(add) == bool(take):
            raise typer.BadParameter("one of --add and --take names the account", param_hint="--add")
        if (add or take) not in adjusting.KINDS:
            raise typer.BadParameter(f"{add or take} is none of {', '.join(adjusting.KINDS)}", param_hint="--add")
        account = adjusting.account(add or take, member, order, bank_day, transfer)
        credentials = _credentials(ca, certificate, key)
        amount_fen = fen(amount) if amount else 0
        proposing = adjusting.propose(target, credentials, str(break_id), account, bool(add), amount_fen, why)
        for line in asyncio.run(proposing):
            console.print(line, markup=False)


@app.command("timeline")
def timeline_command(
    number: Annotated[
        str, typer.Argument(help="Of an order or a request; a serial of ours or the bank's; an operation id.")
    ],
    data: Data = Path("var"),
) -> None:
    """Print all that happened to an operation, or to those of an order, in the order of time; exits 1 without any.

    States with the bank's words, queries, holds, postings, who acted; times are those of Asia/Shanghai.
    """
    with _complaints():
        _require_number(number)
        platform = platform_of(data)
        with kept(data) as dsn:
            operations, moments = asyncio.run(inquiries.timeline(dsn, platform, number))
        if not operations:
            console.print(f"platform {platform} has no operation with number {number}", markup=False)
            raise typer.Exit(1)
        for operation in operations:
            console.print(traces.title_of(operation), markup=False)
        _wide().print(inquiries.timeline_table(operations, moments))
        if len(moments) == inquiries.MOMENTS_MAX:
            console.print(f"these are the first {len(moments)}: GetTimeline has pages")


@app.command("work")
def work_command(
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only what this person has; '' for what nobody has.")] = None,
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    data: Data = Path("var"),
) -> None:
    """Print what waits for a person or for the bank, in yuan, oldest first, and the sums by kind.

    A running service is asked. Where none answers the books are read: what could not be collected is not in them.
    """
    with _complaints():
        known = [kind.value for kind in WorkKind]
        if unknown := [kind for kind in kinds or () if kind not in known]:
            raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(known)}", param_hint="--kind")
        wanted = inquiries.wanted_work(kinds or (), owner)
        found = asyncio.run(inquiries.queue(target, _credentials(ca, certificate, key), wanted))
        if found is None:
            console.print(f"no service answers on {target}: this is from the books, without what it could not collect")
            platform = platform_of(data)
            with kept(data) as dsn:
                found = asyncio.run(inquiries.waiting(dsn, platform, wanted))
        if not found.sums:
            console.print("nothing waits")
            return
        _wide().print(inquiries.work_table(found.items))
        if len(found.items) == inquiries.WORK_MAX:
            console.print(f"these are the oldest {len(found.items)}: ListWork has pages")
        console.print(inquiries.sums_table(found.sums))


@app.command("trace")
def trace_command(
    number: Annotated[
        str,
        typer.Argument(help="Of an order or a request; a serial of ours or the bank's; an operation id; a trace id."),
    ],
    data: Data = Path("var"),
) -> None:
    """Print what happened to an operation, step by step, the bank calls and later queries with it.

    The trace is read from the Jaeger that JZB_TELEMETRY__JAEGER_URL names, else from the `jzb run` on --data.
    """
    with _complaints():
        _require_number(number)
        jaeger_url = telemetry_from_environment().jaeger_url
        platform = platform_of(data)
        with kept(data) as dsn:
            operations = asyncio.run(traces.find(dsn, platform, number))
        if not operations and not traces.is_trace_id(number):
            raise traces.TraceNotFound(
                f"platform {platform} has no operation with number {number}: `jzb trace` takes the number of an order"
                " or a request, a serial of ours or of the bank, the id of an operation or of a trace. What was refused"
                " before anything was reserved is in no book"
            )
        source = traces.Source.of(jaeger_url, data)
        by_trace: dict[str, list[str]] = {} if operations else {number: []}
        for operation in operations:
            by_trace.setdefault(operation.trace_id, []).append(traces.title_of(operation))
        missing = 0
        for trace_id, titles in by_trace.items():
            for title in titles:
                console.print(title, markup=False)
            try:
                if not trace_id:
                    raise traces.TraceNotFound("it has no trace: it was entered before there were any")
                steps = source.read(trace_id)
                tree = traces.drawn(steps, f"trace {trace_id}, {traces.began(steps)}")
                _wide().print(tree)
            except traces.TraceNotFound as not_found:
                missing += 1
                print(f"jzb: {not_found}", file=sys.stderr)
        if missing == len(by_trace):
            raise typer.Exit(1)


@app.command("evidence")
def evidence_command(
    number: Annotated[
        str, typer.Argument(help="Of an order or a request; a serial of ours or the bank's; an operation id.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="A folder for the signed texts, which have personal data, and signatures.")
    ] = None,
    certificate: Annotated[
        list[Path] | None, typer.Option(help="The bank's certificate of that time; may be repeated.")
    ] = None,
    data: Data = Path("var"),
) -> None:
    """Prove what was recorded of an operation by what the bank has signed; exits 1 when something is not proved.

    With --to, anybody who has the bank's public key can check the signature:
    `openssl dgst -md5 -verify BANK.pub -signature X.sig X.txt`.
    """
    with _complaints():
        platform = platform_of(data)
        keys = vault_settings(data)
        bank = evidence.certificates(certificate or [bank_certificate(data)])
        with kept(data) as dsn:
            operations = asyncio.run(traces.find(dsn, platform, number))
            decisions = asyncio.run(evidence.decisions_of(dsn, platform, operations))
        if not operations:
            raise traces.TraceNotFound(f"platform {platform} has no operation with number {number}")
        unproved = 0
        for operation, decided in zip(operations, decisions, strict=True):
            console.print(traces.title_of(operation), markup=False)
            if not decided:
                console.print("  nothing was recorded of it by a signed answer of the bank")
            for decision in decided:
                console.print(f"  {decision.at:%Y-%m-%d %H:%M:%S}  {decision.state} {decision.bank_code}".rstrip())
                for one in evidence.proved(decision, keys.of(platform), bank):
                    unproved += bool(one.fault)
                    said = one.fault or f"signed by {one.signer}"
                    written = f", in {evidence.write(one, to)}" if to and one.canonical else ""
                    console.print(f"    {one.digest.hex()[:16]}  {said}{written}", markup=False)
        if unproved:
            raise typer.Exit(1)


@files.command("fetch")
def files_fetch(
    date: Annotated[str, typer.Option(help="The bank day, YYYY-MM-DD.")],
    kinds: Annotated[
        list[str], typer.Option("--type", help=f"CZ top-ups, TX withdrawals, JY transactions, YE balances; {KINDS}.")
    ],
    out: Annotated[Path, typer.Option(help="Where the plain files go.")] = Path("."),
    data: Data = Path("var"),
) -> None:
    """Fetch the bank's files of a day and write them plainly; exits 1 when a row is quarantined or missing."""
    with _complaints():
        bank_day = _calendar_day("--date", date)
        if unknown := [kind for kind in kinds if kind not in get_args(FileKind)]:
            raise typer.BadParameter(f"{unknown[0]} is none of {KINDS}", param_hint="--type")
        with kept(data) as dsn, bank(data) as given:
            settings = from_environment(database_url=dsn, **given)
            fetched = asyncio.run(fetch(settings, bank_day, cast("list[FileKind]", kinds), out))
        console.print(summary(bank_day, fetched, out))
        if not all(one.is_complete for one in fetched):
            raise typer.Exit(1)


@vault.command("key")
def vault_key() -> None:
    """Print a new random key for JZB_VAULT__KEYS."""
    print(new_key())


@vault.command("rotate")
def vault_rotate(data: Data = Path("var")) -> None:
    """Put everything personal under the newest key; exits 1 while proposals wait that need an older one.

    The newest key is the first of JZB_VAULT__KEYS. A service must know the new key before this runs, and the old ones
    until it has ended; move them to JZB_VAULT__RETIRED_KEYS then, or repeats of their time are refused. Without that
    setting a new key is put first in the key file under --data; then no service may run, since it reads that file when
    it starts.
    """
    with _complaints():
        platform = platform_of(data)
        with kept(data) as dsn:
            if is_given(VAULT_KEYS):
                keys = [key.get_secret_value() for key in vault_from_environment().keys]
            else:
                require_alone(dsn)
                key_file(data).add()
                keys = key_file(data).keys()
            moved, waiting = asyncio.run(_rotate(dsn, Vault(keys, platform)))
        console.print(f"{moved} cards were put under the newest key; none is under another")
        if waiting:
            # Nobody can change a proposal, nor what was decided of it: it ends under the key that it began with.
            console.print(waiting, markup=False)
            raise typer.Exit(1)
        if is_given(VAULT_KEYS):
            console.print("move the older keys to JZB_VAULT__RETIRED_KEYS: by them repeats of requests are recognised")


@seal.command("key")
def seal_key() -> None:
    """Print a new random key for JZB_SEAL__KEYS."""
    print(new_key())


@seal.command("rotate")
def seal_rotate(data: Data = Path("var")) -> None:
    """Put a MAC under the newest key over all that is carried on; then the older keys are needed no more.

    The newest key is the first of JZB_SEAL__KEYS. Every service must know it before this runs, and the old ones until
    it has ended. Without that setting a new key is put first in the key file under --data; then no service may run.
    """
    with _complaints(), kept(data) as dsn:
        if not is_given(SEAL_KEYS):
            require_alone(dsn)
            seal_file(data).add()
        _vouch(dsn, seal_keys(data), vouching.rotated)


@seal.command("vouch")
def seal_vouch(
    operations: Annotated[list[UUID] | None, typer.Argument(help="The ids of operations that are right.")] = None,
    last_batch: Annotated[
        bool,
        typer.Option(help="The ends of the chain of seals and of the audit trail are right, and members, too."),
    ] = False,
    data: Data = Path("var"),
) -> None:
    """Say that operations are right which have no right MAC, or list them; exits 1 while there are any.

    For books whose keys were lost, or that went without. Whatever is vouched for is carried on: look at each one first,
    and run `jzb verify`.
    """
    with _complaints(), kept(data) as dsn:
        ids = frozenset(operations or ())
        _vouch(
            dsn, seal_keys(data), lambda connection, keys: vouching.said(connection, keys, ids, last_batch=last_batch)
        )


def _vouch(
    dsn: str, settings: SealSettings, vouch: Callable[[psycopg.Connection[Any], SealKeys], vouching.Vouched]
) -> None:
    if not settings.keys:
        raise StackNotStarted("there is no key: set JZB_SEAL__KEYS (`jzb seal key` makes one)")
    is_whole = True
    with vouching.connected(dsn) as connection:
        for platform in vouching.platforms(connection):
            found = vouch(connection, SealKeys(platform, settings.bytes))
            console.print(f"platform {platform}: {found.put} MACs were put under the newest key")
            for one in found.openings:
                line = f"without a right MAC: {one.id} {one.kind} {one.state} {yuan(one.amount_fen)} {one.serial}"
                console.print(line, markup=False)
            for code in found.members:
                console.print(f"without a right MAC: the sub-account of member {code}", markup=False)
            if found.last_batch is not None:
                console.print(f"without a right MAC: the last batch, number {found.last_batch}")
            if found.last_entry is not None:
                console.print(f"without a right MAC: the last entry of the audit trail, number {found.last_entry}")
            is_whole = is_whole and found.is_whole
    # Apart, since it reads the whole chain: payments go on meanwhile.
    with vouching.connected(dsn) as connection:
        for platform in vouching.platforms(connection):
            vouching.milestones(connection, SealKeys(platform, settings.bytes))
    if not is_whole:
        raise typer.Exit(1)


Token = Annotated[Path | None, typer.Option(help="A file with the bearer token of the person who decides.")]
ProposalId = Annotated[UUID, typer.Argument(help="The proposal's id, as the list has it.")]
Note = Annotated[str, typer.Option(help="A note, kept for ever; no place for personal data.")]


@proposals.command("list")
def proposals_list(
    state: Annotated[str, typer.Option(help=f"One of {', '.join(deciding.STATES)}; empty for all.")] = "pending",
    at_most: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the newest.")] = 50,
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    token: Token = None,
) -> None:
    """List what waits for a second person, or other proposals, newest first."""
    with _complaints():
        if state and state not in deciding.STATES:
            raise typer.BadParameter(f"{state} is none of {', '.join(deciding.STATES)}", param_hint="--state")

        async def listed() -> list[approval_pb2.Proposal]:
            async with deciding.Connection(target, _credentials(ca, certificate, key), token).client() as client:
                return await client.list(state, at_most)

        found = asyncio.run(listed())
        if not found:
            console.print(f"no {state} proposals" if state else "no proposals")
            return
        _wide().print(deciding.listed(found))


def _proposal(
    connection: deciding.Connection, asked: Callable[[deciding.Client], Awaitable[approval_pb2.Proposal]]
) -> approval_pb2.Proposal:
    """Ask for something about one proposal, and print it as it is then."""

    async def answered() -> approval_pb2.Proposal:
        async with connection.client() as client:
            return await asked(client)

    one = asyncio.run(answered())
    for line in deciding.lines(one):
        console.print(line, markup=False)
    return one


@proposals.command("show")
def proposals_show(
    proposal_id: ProposalId,
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    token: Token = None,
) -> None:
    """Show a proposal with its request, which whoever approves it has to see before."""
    with _complaints():
        connection = deciding.Connection(target, _credentials(ca, certificate, key), token)
        _proposal(connection, lambda client: client.get(str(proposal_id)))


@proposals.command("approve")
def proposals_approve(
    proposal_id: ProposalId,
    note: Note = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    token: Token = None,
) -> None:
    """Approve a proposal as another than its proposer, and have it carried out; exits 1 unless that is done."""
    with _complaints():
        connection = deciding.Connection(target, _credentials(ca, certificate, key), token)
        one = _proposal(connection, lambda client: client.approve(str(proposal_id), note))
        if one.state != approval_pb2.PROPOSAL_STATE_EXECUTED:
            raise typer.Exit(1)


@proposals.command("reject")
def proposals_reject(
    proposal_id: ProposalId,
    note: Note = "",
    target: Target = LOCAL,
    ca: Authority = None,
    certificate: CallerCertificate = None,
    key: CallerKey = None,
    token: Token = None,
) -> None:
    """Reject a proposal: it will never run. Its proposer may do so, too."""
    with _complaints():
        connection = deciding.Connection(target, _credentials(ca, certificate, key), token)
        _proposal(connection, lambda client: client.reject(str(proposal_id), note))


CertificateFolder = Annotated[Path, typer.Option("--folder", help="Where the authority and its certificates are.")]


@certificates.command("ca")
def certificates_ca(folder: CertificateFolder = Path("var/certificates")) -> None:
    """Make an authority: its certificate is what the service and its callers trust."""
    with _complaints():
        made = make_ca(folder)
        console.print(f"wrote {made.certificate}, which all trust, and {made.key}, which nobody else may have")


@certificates.command("issue")
def certificates_issue(
    names: Annotated[
        list[str],
        typer.Argument(help="A host for the service (localhost), a SPIFFE id or a host name for who calls it."),
    ],
    folder: CertificateFolder = Path("var/certificates"),
    days: Annotated[int, typer.Option(min=1, max=825, help="How long they are valid.")] = 90,
) -> None:
    """Issue certificates, or renew them: a running service takes its new one with the next connection."""
    with _complaints():
        for name in names:
            made = issue(folder, name, days)
            console.print(f"{name}: wrote {made.certificate} and {made.key}")


@docs.command("bank")
def docs_bank(
    out: Annotated[Path, typer.Option(help="Where it is written.")] = bank_document.PATH,
) -> None:
    """Write docs/bank.md from the code: the interfaces, and the choices that the bank's documents leave."""
    with _complaints():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(bank_document.render(), "utf-8")
        console.print(f"wrote {out}")


@docs.command("metrics")
def docs_metrics(
    out: Annotated[Path, typer.Option(help="Where it is written.")] = metrics_document.PATH,
) -> None:
    """Write docs/operations/metrics.md from the code: each metric, and which dashboards and alerts use it."""
    with _complaints():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(metrics_document.render(), "utf-8")
        console.print(f"wrote {out}")


@docs.command("logs")
def docs_logs(
    out: Annotated[Path, typer.Option(help="Where it is written.")] = log_document.PATH,
) -> None:
    """Write docs/operations/logs.md from the code: every event of the log, and what to do about it."""
    with _complaints():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(log_document.render(), "utf-8")
        console.print(f"wrote {out}")


async def _demo(settings: Settings, sandbox_url: str | None) -> int:
    telemetry.set_up(settings.telemetry, settings.platform)
    async with running(settings) as service:
        return await day.run_demo(f"127.0.0.1:{service.port}", sandbox_url)


async def _verify(dsn: str, platform: str, noted: bytes, unsealed: int, keys: SealKeys | None) -> Summary:
    engine = connect(dsn, 1)
    summary = Summary()
    try:
        await require_current(engine)
        async for found in audit(engine, platform, noted, unsealed, keys):
            if isinstance(found, Summary):
                summary = found
            else:
                line = f"{found.check}: {found.where}: expected {found.expected}, found {found.found}"
                console.print(line, markup=False)
    finally:
        await engine.dispose()
    return summary


async def _anchors(dsn: str, platform: str, *, compare: bool) -> list[str]:
    """How the books contradict the places of JZB_ANCHOR; or note there anew where they end."""
    places = places_of(anchor_from_environment())
    engine = connect(dsn, 1)
    try:
        async with open_pool(dsn) as pool:
            reads = Reads(engine, Lookups(pool, platform))
            if not compare:
                await note_anew(reads, places)
                return []
            found = [await contradiction(reads, place) for place in places]
            return [line for line in found if line]
    finally:
        await engine.dispose()


async def _catch_up(
    settings: Settings, since: datetime, patience_s: float, opened: Mapping[MemberCode, str]
) -> CaughtUp:
    telemetry.set_up(settings.telemetry, settings.platform)
    async with assembled(settings, catches_up=True) as components:
        catch_up = CatchUp(
            since=since,
            reads=components.reads,
            bank=components.bank,
            recorder=components.recorder,
            resolver=components.resolver,
            clearing=components.clearing,
            returns=components.returns,
            transfers=components.transfers,
            cards=components.cards,
            vault=components.vault,
            rules=settings.rules,
        )
        return await catch_up.run(patience_s, opened)


def _wide() -> Console:
    """A narrow terminal folds a line that rich would cut."""
    return Console(highlight=False, width=max(console.width, TREE_WIDTH))


def _option(data: Path) -> str:
    return "" if data == Path("var") else f" --data {data}"


def _head(copied: copies.Copied) -> str:
    at = f"{copied.at:%Y-%m-%d %H:%M:%S %Z}" if copied.at else "never"
    return (
        f"platform {copied.platform}: {copied.batches} batches, the last {at}, digest {copied.digest.hex() or 'none'}"
    )


def _print_caught_up(found: CaughtUp) -> None:
    lost = inquiries.table("bank serial", "booked", "what", "yuan", "out of", "into", "remark")
    for one in sorted(found.lost.values(), key=lambda one: one.booked_at):
        booked = f"{one.booked_at:%Y-%m-%d %H:%M:%S}"
        lost.add_row(one.bank_serial, booked, one.kind, yuan(one.amount_fen), one.payer, one.payee, one.remark)
    taken = inquiries.table("account", "member", "before", "after")
    for change in found.account_changes:
        taken.add_row(change.account, change.member_id, yuan(change.before_fen), yuan(change.after_fen))
    console.print(f"{len(found.lost)} transactions of the bank are lost here")
    console.print(lost)
    console.print(f"{len(found.account_changes)} accounts taken over from the bank, in yuan")
    console.print(taken)
    console.print(f"not explained: {len(found.unexplained)}")
    for line in found.unexplained:
        console.print(f"  {line}", markup=False)


async def _rotate(dsn: str, sealed: Vault) -> tuple[int, str]:
    """How many cards were put under the newest key, and which proposals still need another."""
    engine = connect(dsn, 1)
    try:
        # Services run meanwhile: under their schema, and not one that this makes.
        await require_current(engine)
        moved = await rotate(sealed, Cards(engine, sealed.platform))
        return moved, lacking(await Proposals(engine, sealed.platform).needing(), [sealed.key_id])
    finally:
        await engine.dispose()


async def _serve(settings: Settings, announce: Callable[[int], None], spans: telemetry.KeptSpans | None = None) -> None:
    flush = telemetry.set_up(settings.telemetry, settings.platform, spans)
    for name, path in secrets_that_all_may_read(settings):
        events.SECRET_OPEN_TO_ALL.log(setting=name, path=str(path))
    stop, is_up = asyncio.Event(), asyncio.Event()

    async def served() -> None:
        async with running(settings) as service:
            is_up.set()
            tune_garbage_collector()
            announce(service.port)
            await stop.wait()

    serving = asyncio.create_task(served())

    def end() -> None:
        stop.set()
        if not is_up.is_set():
            # It may wait for its database for as long as it likes: there is nothing to drain yet.
            serving.cancel()

    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, end)
    try:
        await serving
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        flush()


def _run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(main)


MENDED = (
    BankError,
    CatchUpStopped,
    CertificateNotMade,
    LedgerError,
    ListenRefused,
    OSError,
    PolicyWrong,
    Problem,
    SecretFileWrong,
    StackNotStarted,
    traces.TraceNotFound,
    VaultError,
)
"""What says by itself what is wrong and what to do."""


class _complaints:
    """Turns what a user can mend into one line on standard error and exit status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        # What is raised in the midst of a service comes out of the task groups around it.
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, ValidationError):
            for one in error.errors(include_input=False):
                name = "__".join(str(part) for part in one["loc"]).upper()
                prefix = "" if name in ("DATABASE_URL", "JZB_DATABASE_URL") else "JZB_"
                print(f"jzb: setting {prefix}{name}: {one['msg']}", file=sys.stderr)
            raise typer.Exit(1) from None
        if isinstance(error, SettingsError):
            # It names the group only; its cause quotes the value.
            group = str(error).partition('"')[2].partition('"')[0].upper()
            print(f"jzb: a setting of JZB_{group}: what holds more than one value is written as JSON", file=sys.stderr)
            raise typer.Exit(1) from None
        if isinstance(error, grpc.aio.AioRpcError):
            print(f"jzb: the service answered {error.code().name}: {error.details()}", file=sys.stderr)
            raise typer.Exit(1) from None
        refused = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(refused, psycopg.errors.InsufficientPrivilege):
            print(
                f"jzb: PostgreSQL refused: {refused.diag.message_primary}. This command needs a DATABASE_URL of another"
                " role (docs/operations/security.md, Roles of the database)",
                file=sys.stderr,
            )
            raise typer.Exit(1) from None
        if isinstance(error, MENDED):
            print(f"jzb: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
