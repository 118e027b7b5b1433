"""Which small mistakes in the money path no test of its own would see: `make mutants`, or with ARGS=ledger/rules.py.

Each mutant is a process forked from one that has loaded the libraries and nothing of the project, so a run costs its
tests and little more. Only tests without a database or a bank are run: what they do not see may be seen by others, but
later, and by whoever knows where to look. Ends with 1 when a module's score is below its bound.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.mutants.mutating import Mutant, mutants
from tests.mutants.suites import JUDGED, LIBRARIES, LOADED, SCORE_MIN, SUITES
from tests.mutants.trying import ROOT, afresh, in_place, prepare


@dataclass(slots=True)
class Score:
    """What became of a module's mutants."""

    module: str
    killed: int
    survivors: list[Mutant]
    judged: int

    @property
    def percent(self) -> float:
        """Killed, of those that are no equal of the code."""
        of = self.killed + len(self.survivors)
        return 100.0 * self.killed / of if of else 100.0


def score(path: str, tests: Sequence[str], jobs: int) -> Score:
    """Run the tests of a module against each of its mutants, ``jobs`` at once."""
    # By what they say, without their lines, which move.
    judged = {text for text, _ in JUDGED.get(path, ())}
    everything = mutants((ROOT / path).read_text())
    tried = [one for one in everything if one.what not in judged]
    left, cost_s = in_place(path, tests, tried, jobs)
    survivors = [mutant for mutant, is_seen in afresh(path, tests, left, cost_s, jobs) if not is_seen]
    return Score(path, len(tried) - len(survivors), survivors, len(everything) - len(tried))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths of modules; all that are listed without one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "stubs")]
    for library in LIBRARIES:
        importlib.import_module(library)
    prepare()
    ends = [_apart(path, given.jobs) for path in given.modules or SUITES]
    raise SystemExit(max(ends))


def _apart(path: str, jobs: int) -> int:
    """Score a module in a process of its own, which loads what the module's room does not mutate; 0 if it is enough."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    began_s = time.monotonic()
    for name in LOADED[path.partition("/")[0]]:
        importlib.import_module(name)
    if path.removesuffix(".py").replace("/", ".") in sys.modules:
        raise SystemExit(f"{path} is loaded already: its mutants would not be")
    found = score(path, SUITES[path], jobs)
    for mutant in sorted(found.survivors, key=lambda one: one.line):
        print(f"  {path}:{mutant.line}: {mutant.what}")
    print(
        f"{path}: {found.percent:.1f} % of {found.killed + len(found.survivors)} mutants are seen, "
        f"{found.judged} equal the code, {time.monotonic() - began_s:.0f} s",
        flush=True,
    )
    os._exit(int(found.percent < SCORE_MIN))


if __name__ == "__main__":
    main()
