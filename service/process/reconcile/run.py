"""One run of `jzb reconcile`: the days one after the other, then what is shown and written of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import grpc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from jzb.v1 import reconciliation_pb2 as pb
from jzb.v1 import reconciliation_pb2_grpc
from service.process.client import channel_to
from service.process.output import Format, written
from service.process.reconcile import tables
from service.process.reconcile.tables import Words

RUN_S: Final = 1800.0
"""How long the service may take for a day. What it has begun it ends by itself."""

READ_S: Final = 60.0
WIDTH_MIN: Final = 200
"""A narrow terminal folds a line of a table that would else be cut into columns of five letters."""

LOOK_EVERY_S: Final = 0.5
PAGE: Final = 200

CLEAN: Final = (pb.RECONCILIATION_STATE_NONE, pb.RECONCILIATION_STATE_CLEAN)
"""The states in which nothing is to be done about a file or list."""


@dataclass(slots=True)
class Proof:
    """What the balance proof of a day comes to."""

    sub_accounts: int = 0
    wrong: int = 0
    """Of these, whose opening balance and movements do not make the closing one."""
    with_bank: int = 0
    different: int = 0
    """Of these, whose closing balance is not the bank's."""


@dataclass(slots=True)
class Reconciled:
    """What came of a day."""

    day: pb.ReconciledDay
    breaks: list[pb.Break] = field(default_factory=list)
    proof: Proof = field(default_factory=Proof)

    @property
    def is_clean(self) -> bool:
        """Whether every file and list is there and has no open break, and every balance is proved. One that differs
        from the bank's is a break of its own, which others may explain, or an adjustment of a later day.
        """
        is_matched = bool(self.day.sources) and all(
            source.state in CLEAN or (source.state == pb.RECONCILIATION_STATE_SIGNED and not source.breaks)
            for source in self.day.sources
        )
        return is_matched and not (self.breaks or self.proof.wrong)


async def reconcile(
    target: str,
    days: Sequence[date],
    credentials: grpc.ChannelCredentials | None = None,
    *,
    out: Path | None = None,
    wanted: Format = "xlsx",
    loads: bool = True,
    sign: str | None = None,
    console: Console | None = None,
) -> int:
    """Reconcile these days at the service on ``target`` (host:port), in plaintext unless there are credentials.

    Without ``loads`` the bank is not asked: what the service knows is shown. With ``sign``, a note, the only day is
    signed as it was shown: first, or second after another. Returns the exit status: 1 when a file or list is missing,
    a break is open, or a balance is not proved. Raises gRPC's errors, and OSError.
    """
    console = console or Console(highlight=False)
    shown = Console(highlight=False, width=max(console.width, WIDTH_MIN))
    async with channel_to(target, credentials) as channel:
        client = Client(channel)
        found = await _run(client, days, console, loads=loads)
        if out is not None:
            written_to = await _write(client, found, out, wanted, console)
        if sign is not None:
            found[0].day.CopyFrom(await client.sign(found[0].day, sign))
    shown.print(tables.days_table([one.day for one in found]))
    breaks = [one for day in found for one in day.breaks]
    if breaks:
        shown.print(tables.breaks_table(breaks))
    for one in found:
        shown.print(_proof_line(one))
    if out is not None:
        shown.print(f"written to {', '.join(str(path) for path in written_to)}", markup=False)
    if sign is not None:
        shown.print(_signed(found[0].day))
    unclean = [one.day.bank_day for one in found if not one.is_clean]
    if unclean:
        shown.print(f"not clean: {', '.join(unclean)}")
        return 1
    decided = any(source.file.rows > source.matched_lines for one in found for source in one.day.sources)
    shown.print("0 breaks are open; some were closed by people" if decided else "every posting is matched, 0 breaks")
    return 0


class Client:
    """The calls that are made."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._service = reconciliation_pb2_grpc.ReconciliationServiceStub(channel)

    async def run_day(self, day: date) -> pb.ReconciledDay:
        """Have a day loaded and matched now."""
        answer = await self._service.RunDay(pb.RunDayRequest(bank_day=day.isoformat()), timeout=RUN_S)
        return answer.day

    async def day(self, day: date) -> pb.ReconciledDay:
        """A day as it stands."""
        request = pb.GetReconciledDayRequest(bank_day=day.isoformat())
        return (await self._service.GetReconciledDay(request, timeout=READ_S)).day

    async def sign(self, shown: pb.ReconciledDay, note: str) -> pb.ReconciledDay:
        """Sign a day as it was shown: whoever comes second says by its digest what the first has signed."""
        if not shown.signatures:
            proposing = pb.ProposeSignOffRequest(bank_day=shown.bank_day, note=note)
            return (await self._service.ProposeSignOff(proposing, timeout=READ_S)).day
        digest = shown.signatures[0].digest
        approving = pb.ApproveSignOffRequest(bank_day=shown.bank_day, digest=digest, note=note)
        return (await self._service.ApproveSignOff(approving, timeout=READ_S)).day

    async def breaks(self, day: date) -> list[pb.Break]:
        """The breaks of a day that are not closed."""
        found: list[pb.Break] = []
        token = ""
        while True:
            request = pb.ListBreaksRequest(
                page_size=PAGE,
                page_token=token,
                first_bank_day=day.isoformat(),
                last_bank_day=day.isoformat(),
                states=tables.NOT_CLOSED,
            )
            page = await self._service.ListBreaks(request, timeout=READ_S)
            found += page.breaks
            token = page.next_page_token
            if not token:
                return found

    async def proof(self, day: date) -> AsyncIterator[pb.GetBalanceProofResponse]:
        """The balance proof, sub-account by sub-account."""
        request = pb.GetBalanceProofRequest(bank_day=day.isoformat())
        async for row in self._service.GetBalanceProof(request, timeout=RUN_S):
            yield row

    async def lines(self, day: date, source: pb.BankSource.ValueType) -> AsyncIterator[pb.BankLine]:
        """The lines of the version that counts."""
        request = pb.ListBankLinesRequest(bank_day=day.isoformat(), source=source)
        async for answer in self._service.ListBankLines(request, timeout=RUN_S):
            yield answer.line


async def _run(client: Client, days: Sequence[date], console: Console, *, loads: bool) -> list[Reconciled]:
    found = []
    with _progress(console) as progress:
        task = progress.add_task("", total=len(days) * len(tables.SOURCES))
        for number, day in enumerate(days):
            done = number * len(tables.SOURCES)
            progress.update(task, description=day.isoformat(), completed=done)
            one = await _loaded(client, day, progress, task, done) if loads else await client.day(day)
            found.append(Reconciled(one, await client.breaks(day), await _proof(client, day)))
            progress.update(task, completed=done + len(tables.SOURCES))
    return found


async def _loaded(client: Client, day: date, progress: Progress, task: TaskID, done: int) -> pb.ReconciledDay:
    """Have a day loaded, and show meanwhile how much of it is there."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(client.run_day(day))
        while not (await asyncio.wait((running,), timeout=LOOK_EVERY_S))[0]:
            so_far = await client.day(day)
            there = sum(source.state != pb.RECONCILIATION_STATE_EXPECTED for source in so_far.sources)
            progress.update(task, completed=done + there)
    return running.result()


async def _proof(client: Client, day: date) -> Proof:
    proof = Proof()
    async for row in client.proof(day):
        proof.sub_accounts += bool(row.sub_account)
        proof.wrong += not row.is_proved
        if row.HasField("bank_fen"):
            proof.with_bank += 1
            proof.different += row.bank_fen != row.closing_fen
    return proof


def _proof_line(one: Reconciled) -> str:
    proof = one.proof
    proved = "all proved" if not proof.wrong else f"{proof.wrong} NOT proved"
    bank = f"{proof.with_bank} beside the bank's file of balances, "
    bank += "none differs" if not proof.different else f"{proof.different} DIFFER"
    return f"{one.day.bank_day}: opening + movements = closing for {proof.sub_accounts} sub-accounts, {proved}; {bank}"


def _signed(day: pb.ReconciledDay) -> str:
    if day.state == pb.RECONCILIATION_STATE_SIGNED:
        return f"{day.bank_day} is signed by two: it is closed"
    return f"{day.bank_day} has its first signature, under {day.signatures[0].digest}; another identity signs second"


async def _write(
    client: Client, found: Sequence[Reconciled], out: Path, wanted: Format, console: Console
) -> list[Path]:
    first, last = found[0].day.bank_day, found[-1].day.bank_day
    name = f"reconciliation-{first}" if first == last else f"reconciliation-{first}-to-{last}"
    words = Words()
    with _progress(console) as progress, written(out, name, wanted) as book:
        days = book.begin(tables.DAYS)
        for one in found:
            for source in one.day.sources:
                days.add(words.source(one.day.bank_day, source))
        breaks = book.begin(tables.BREAKS)
        for one in found:
            for broken in one.breaks:
                breaks.add(words.broken(broken))
        balances = book.begin(tables.BALANCES)
        for one in found:
            async for row in client.proof(date.fromisoformat(one.day.bank_day)):
                balances.add(words.proof(one.day.bank_day, row))
        lines = book.begin(tables.LINES)
        total = sum(source.file.rows for one in found for source in one.day.sources)
        task = progress.add_task("lines", total=total)
        for one in found:
            for source in one.day.sources:
                if source.HasField("file"):
                    async for line in client.lines(date.fromisoformat(one.day.bank_day), source.source):
                        lines.add(words.line(one.day.bank_day, source.source, line))
                        progress.advance(task)
    return book.paths


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
