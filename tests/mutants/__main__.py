"""Which small mistakes in the money path no test of its own would see: `make mutants`, or with ARGS=ledger/rules.py.

Each mutant is a process forked from one that has loaded the libraries and nothing of the project, so a run costs its
tests and little more. Only tests without a database or a bank are run: what they do not see may be seen by others, but
later, and by whoever knows where to look. Ends with 1 when a module's score is below its bound.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from tests.mutants.mutating import Mutant, mutants
from tests.mutants.suites import JUDGED, LIBRARIES, LOADED, SCORE_MIN, SUITES

ROOT = Path(__file__).parents[2]


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


class _Mutated(importlib.abc.Loader):
    def __init__(self, code: CodeType) -> None:
        self._code = code

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - it is the project's own module, with one mistake


class _Finder(importlib.abc.MetaPathFinder):
    """Gives the mutant where its module is imported."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name = name
        self._path = path
        self._code = compile(tree, str(path), "exec")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, _Mutated(self._code), origin=str(self._path))
        spec.has_location = True
        return spec


def _forked(path: str, tree: ast.Module | None, tests: Sequence[str]) -> int:
    """Start the tests of a module, with a mutant in its place or without; returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2) if tree is not None else (0, 1):
        os.dup2(quiet, number)
    if tree is not None:
        name = path.removesuffix(".py").replace("/", ".")
        sys.meta_path.insert(0, _Finder(name, ROOT / path, tree))
    import pytest

    status = pytest.main(
        ["-x", "-q", "-n0", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-W", "ignore", *tests]
    )
    os._exit(int(status))


def _passes(path: str, tests: Sequence[str]) -> float:
    """How long the tests take without a mutant, in seconds. Raises SystemExit when they do not pass then."""
    began_s = time.monotonic()
    _, status = os.waitpid(_forked(path, None, tests), 0)
    if status != 0:
        raise SystemExit(f"the tests of {path} do not pass without a mutant: {' '.join(tests)}")
    return time.monotonic() - began_s


def score(path: str, tests: Sequence[str], jobs: int) -> Score:
    """Run the tests of a module against each of its mutants, ``jobs`` at once."""
    bound_s = 5.0 + 5 * _passes(path, tests)
    # By what they say, without their lines, which move.
    judged = {text for text, _ in JUDGED.get(path, ())}
    waiting = list(mutants((ROOT / path).read_text()))
    found = Score(path, 0, [], sum(one.what in judged for one in waiting))
    waiting = [one for one in waiting if one.what not in judged]
    running: dict[int, tuple[Mutant, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop(0)
            running[_forked(path, mutant.tree, tests)] = mutant, time.monotonic() + bound_s
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            for late, (_, until_s) in running.items():
                if time.monotonic() > until_s:
                    os.killpg(late, signal.SIGKILL)
            time.sleep(0.01)
            continue
        mutant, _ = running.pop(pid)
        if status == 0:
            found.survivors.append(mutant)
        else:
            found.killed += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="paths of modules; all that are listed without one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "stubs")]
    for library in LIBRARIES:
        importlib.import_module(library)
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
