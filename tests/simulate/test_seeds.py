"""Seeds played for real: services in processes of their own, PostgreSQL, the sandbox over its wire."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulate.mutants import MUTANTS
from simulate.play import Played, play
from simulate.schedule import of_seed
from simulate.site import opened

ROOT = Path(__file__).parents[2]

SEES: dict[str, list[int]] = {
    "drop-hold-on-unknown": [3, 2, 4, 6],
    "post-twice": [2, 1],
    # Only a withdrawal that fails in the end shows that it was too early.
    "settle-before-the-end": [26, 41, 58, 25],
    "forget-late-payments": [2, 1, 3, 5],
}
"""Seeds that show each mutant, tried one after the other until one does.

"settle-without-terminal-check" has none: only a commit whose answer is cut off has its step judged a second time, and
few cuts hit one that settles. `tests/ledger/test_writer.py` shows it.
"""

SHOWN_BY_THE_WRITERS_TESTS = {"settle-without-terminal-check"}
SHOWN_BY_THE_COMMAND = {"forget-fee-leg"}
"""In the test below of what a failing seed prints."""

WRONG_MONEY = re.compile(
    r"GetBalance says|the bank had to refuse|\w+ \S+ was to move|\w+ \S+ moved|.* holds \S+ fen here"
)
"""What they show: not that a seed does not come to rest, but a wrong amount, or money promised twice."""


@pytest.mark.parametrize("seeds", [range(2, 4), range(5, 7)], ids=["2-3", "5-6"])
async def test_nothing_is_lost_though_all_of_it_breaks(tmp_path: Path, seeds: range) -> None:
    all_played: list[Played] = []
    async with opened(tmp_path) as site:
        for seed in seeds:
            played = await play(site, of_seed(seed))
            assert not played.wrong, "\n".join([*played.wrong, played.log, *of_seed(seed).lines()])
            all_played.append(played)
    assert sum(played.kills.total() for played in all_played) >= 1
    assert sum(played.lost for played in all_played) >= 1
    assert sum(played.restarts for played in all_played) >= 1
    assert sum(played.unknowns for played in all_played) >= 1
    assert all(played.operations > 20 for played in all_played)


def test_every_mutant_is_shown_somewhere() -> None:
    assert SEES.keys() | SHOWN_BY_THE_WRITERS_TESTS | SHOWN_BY_THE_COMMAND == MUTANTS.keys()


@pytest.mark.parametrize("mutant", SEES)
async def test_a_mutant_is_seen(tmp_path: Path, mutant: str) -> None:
    told: list[str] = []
    async with opened(tmp_path) as site:
        for seed in SEES[mutant]:
            told += (await play(site, of_seed(seed), mutant, rest_s=6.0)).wrong
            if any(WRONG_MONEY.match(wrong) for wrong in told):
                return
    pytest.fail(f"{mutant} was not seen by any of the seeds {SEES[mutant]}, which told {told}")


def test_the_command_prints_what_it_counted_and_exits_0() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "simulate", "7"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 seeds in" in ended.stdout
    assert "mismatches" in ended.stdout


def test_a_failing_seed_prints_its_schedule_the_first_wrong_fact_and_how_to_run_it_again() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "simulate", "4", "--mutant", "forget-fee-leg"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    for told in ("seed 4: ", "  caller 0: ", "seed 4 is WRONG: ", "make simulate SEEDS=4"):
        assert told in ended.stdout
    assert WRONG_MONEY.search(ended.stdout.partition("seed 4 is WRONG: ")[2]), ended.stdout
