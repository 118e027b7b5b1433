"""``python -m simulate``: play seeds, count, and stop at what is wrong."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from simulate.play import Played, play
from simulate.schedule import IN_PART, PROOFS, ActionKind, of_seed
from simulate.site import opened

TEN = 10
MANY = 20
WRONG_SHOWN = 10
REFUND_SOURCES = "123456"
ASKED = frozenset(ActionKind) - {ActionKind.LOOK, ActionKind.CLEAR_DAYS, ActionKind.TRANSFER_IN, ActionKind.WITHDRAW}
"""What is answered DONE; a withdrawal is only accepted at first."""


def main(
    seeds: Annotated[str, typer.Argument(help="One seed, or a range such as 1-500.")] = "1-20",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each seed.")] = False,
    mutant: Annotated[str | None, typer.Option(help="Break the service on purpose: see simulate.mutants.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Seeds at once, each on a PostgreSQL of its own.")] = 2,
    keep_going: Annotated[bool, typer.Option(help="Play on after a seed that fails.")] = False,
    days: Annotated[bool, typer.Option(help="Reconcile the days of each seed, with faults in files.")] = False,
) -> None:
    """Break the service by schedule, seed after seed, and check that nothing is lost."""
    console = Console(width=140, highlight=False)
    first, _, last = seeds.partition("-")
    chosen = range(int(first), int(last or first) + 1)
    began_s = time.monotonic()
    run = _Run(console, iter(chosen), mutant, verbose=verbose, keep_going=keep_going, days=days)
    with tempfile.TemporaryDirectory(prefix="jzb-simulate-") as folder:
        uvloop.run(run.play(Path(folder), min(jobs, len(chosen))))
    all_played = sorted(run.played, key=lambda played: played.seed)
    console.print(_summary(all_played, time.monotonic() - began_s))
    missing = list(_missing(all_played))
    for line in missing:
        console.print(line)
    if missing or any(played.wrong for played in all_played):
        raise typer.Exit(1)


class _Run:
    """Seeds after one another, several at once."""

    def __init__(
        self, console: Console, seeds: Iterator[int], mutant: str | None, *, verbose: bool, keep_going: bool, days: bool
    ) -> None:
        self._console = console
        self._seeds = seeds
        self._mutant = mutant
        self._verbose = verbose
        self._keep_going = keep_going
        self._days = days
        self.played: list[Played] = []

    async def play(self, folder: Path, jobs: int) -> None:
        """Play all seeds, or until one fails."""
        async with asyncio.TaskGroup() as tasks:
            for job in range(jobs):
                tasks.create_task(self._play_some(folder / str(job)))

    async def _play_some(self, folder: Path) -> None:
        async with opened(folder) as site:
            for seed in self._seeds:
                schedule = of_seed(seed)
                played = await play(site, schedule, self._mutant, is_reconciled=self._days)
                self.played.append(played)
                if self._verbose:
                    self._console.print(f"seed {seed}: {played.seconds:.1f} s, {played.operations} operations")
                if played.wrong:
                    _tell(self._console, played, list(schedule.lines()), self._mutant)
                    if not self._keep_going:
                        self._seeds = iter(())
                        return


def _tell(console: Console, played: Played, schedule: list[str], mutant: str | None) -> None:
    console.print("\n".join(schedule), markup=False)
    console.print(f"seed {played.seed} is WRONG: {played.wrong[0]}", markup=False)
    for further in played.wrong[1:WRONG_SHOWN]:
        console.print(f"  then: {further}", markup=False)
    if len(played.wrong) > WRONG_SHOWN:
        console.print(f"  and {len(played.wrong) - WRONG_SHOWN} more")
    console.print("\n".join(played.trace), markup=False)
    console.print(played.log, markup=False)
    again = f' ARGS="--mutant {mutant}"' if mutant else ""
    console.print(f"again: make simulate SEEDS={played.seed}{again}")


def _missing(all_played: list[Played]) -> list[str]:
    """What seeds that were played should have had, and had not: ten in a row a kill, a lost answer and a restart of the
    database; twenty each kind of request and source of refunds, and nights with late payments.
    """
    told = []
    for start in range(0, len(all_played) - TEN + 1, TEN):
        ten = all_played[start : start + TEN]
        for what, count in (
            ("kill", sum(played.kills.total() for played in ten)),
            ("lost answer", sum(played.lost for played in ten)),
            ("restart of the database", sum(played.restarts for played in ten)),
        ):
            if not count:
                told.append(f"seeds {ten[0].seed} to {ten[-1].seed} had no {what}")
    if len(all_played) >= MANY:
        did, refunds = _total(all_played, "did"), _total(all_played, "refunds")
        told += [f"no caller did this: {kind}" for kind in sorted(ASKED) if not did[kind]]
        told += [f"no refund of source {source}" for source in REFUND_SOURCES if not refunds[source]]
        repeats = _total(all_played, "repeats")
        for how in ("with a short deadline", "while the service stops"):
            if not repeats[f"{how}, told done"]:
                told.append(f"nothing done was repeated {how}")
        proofs, faults = _total(all_played, "proofs"), _total(all_played, "faults")
        told += [f"nothing was authorised by {mode}" for mode in PROOFS if mode != "none" and not proofs[mode]]
        if not faults[IN_PART[0]]:
            told.append("the bank never did a part of a batch")
        late = sum(bool(played.spent_late) for played in all_played)
        if 2 * late <= len(all_played):
            told.append(f"in {late} seeds alone somebody spent between the bank's clearing and ours")
        if not sum(played.days_kept_back for played in all_played):
            told.append("no day's clearing stayed 3")
    return told


def _total(all_played: list[Played], counter: str) -> Counter[str]:
    return sum((getattr(played, counter) for played in all_played), Counter())


def _summary(all_played: list[Played], seconds: float) -> Table:
    table = Table("what", "count", title=f"{len(all_played)} seeds in {seconds:.0f} s")

    def add(what: str, count: int) -> None:
        table.add_row(what, f"{count:,}")

    def add_all(what: str, counts: Counter[str]) -> None:
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            add(f"  {what} {name}", count)

    add("operations", sum(played.operations for played in all_played))
    add_all("ended", _total(all_played, "states"))
    for title, counter in (
        ("answers to callers", "answers"),
        ("done, by what was asked", "did"),
        ("repeats of what had its answer", "repeats"),
        ("authorised by their payers", "proofs"),
        ("faults at the bank", "faults"),
        ("faults in files of a day", "days"),
        ("services killed", "kills"),
        ("blows", "blows"),
    ):
        counts = _total(all_played, counter)
        add(title, counts.total())
        add_all("", counts)
    add("services whose clock is off", sum(played.clocks_off for played in all_played))
    add("answers that a clearing stays 3", sum(played.days_kept_back for played in all_played))
    add("seeds with payments between the bank's clearing and ours", sum(bool(one.spent_late) for one in all_played))
    add("refunds", _total(all_played, "refunds").total())
    add_all("of source", _total(all_played, "refunds"))
    add("unknown outcomes resolved", sum(played.unknowns for played in all_played))
    add("mismatches", sum(len(played.wrong) for played in all_played))
    return table


if __name__ == "__main__":
    typer.run(main)
