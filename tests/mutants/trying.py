"""How one mutant is tried: by a process of its own, bounded, that runs the module's tests and ends with 0 if all pass.

There are two ways. `in_place` collects the tests once, and each trial changes one function or one value of the module
that is loaded: it costs the tests that it runs. `afresh` imports the mutant instead of the module, and then the tests:
it takes several times as long, and misses nothing that is done while modules are imported. A mutant is a survivor when
it survived afresh.
"""

from __future__ import annotations

import ast
import functools
import gc
import importlib.abc
import importlib.machinery
import itertools
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, TypeVar

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.mutants.mutating import Mutant, Place

if TYPE_CHECKING:
    from ctypes import Array, c_byte, c_double

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

OPTIONS = ("-x", "-q", "-n0", "--assert=plain", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-W", "ignore")

MEMORY_MAX_BYTES = 4 * 2**30
CPU_MIN_S = 5
CPU_FACTOR = 4
WALL_FACTOR = 20
"""A trial may use so many times the processor time that the tests use without a mutant, and at least ``CPU_MIN_S``;
what only waits is ended after ``WALL_FACTOR`` times that, which a busy machine does not reach."""

FRONT_MAX_S = 0.2
"""What takes longer is not run first, whatever it has seen."""

UNDECIDED = 9
"""How a trial ends when the mutant has no place in the module that is loaded."""


def _name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _compiled(path: str, tree: ast.Module) -> CodeType:
    return compile(tree, str(ROOT / path), "exec", dont_inherit=True)


def prepare() -> None:
    """Have Hypothesis play the same examples each time, and look for no smaller one that fails."""
    settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate)
    )
    settings.load_profile("mutants")


# Processes.


def _forked(trial: Callable[[], int], cpu_s: int) -> int:
    """Start a trial, whose result is how its process ends; returns the process id."""
    pid = os.fork()
    if pid:
        return pid
    status = UNDECIDED
    try:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
        status = trial()
    except BaseException:
        # Not UNDECIDED: the mutant was run, and this is what came of it.
        status = 1
    finally:
        os._exit(status)


def _ends(trials: Iterable[tuple[T, Callable[[], int]]], cpu_s: int, jobs: int) -> Iterator[tuple[T, int]]:
    """Run trials, ``jobs`` at once; gives what each is of and how it ended."""
    waiting = iter(trials)
    running: dict[int, tuple[T, float]] = {}
    while True:
        for of, trial in itertools.islice(waiting, jobs - len(running)):
            running[_forked(trial, cpu_s)] = of, time.monotonic() + WALL_FACTOR * cpu_s
        if not running:
            return
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            of, _ = running.pop(pid)
            yield of, os.waitstatus_to_exitcode(status)
            continue
        for late, (_, until_s) in running.items():
            if time.monotonic() > until_s:
                os.killpg(late, signal.SIGKILL)
        time.sleep(0.005)


# The mutant in the place of its module.


class _Mutated(importlib.abc.Loader):
    def __init__(self, code: CodeType) -> None:
        self._code = code

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - it is the project's own module, with one mistake


class _Finder(importlib.abc.MetaPathFinder):
    """Gives the mutant where its module is imported."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self._path = path
        self._code = _compiled(path, tree)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _name(self._path):
            return None
        spec = importlib.machinery.ModuleSpec(fullname, _Mutated(self._code), origin=str(ROOT / self._path))
        spec.has_location = True
        return spec


def afresh(
    path: str, tests: Sequence[str], mutants: Iterable[Mutant], cost_s: float, jobs: int
) -> Iterator[tuple[Mutant, bool]]:
    """Import each mutant instead of its module and run the tests; gives each with whether they saw it."""

    def trial(mutant: Mutant) -> int:
        sys.meta_path.insert(0, _Finder(path, mutant.made()))
        return int(pytest.main([*OPTIONS, *tests]))

    for mutant, status in _ends(((one, functools.partial(trial, one)) for one in mutants), _cpu_s(cost_s), jobs):
        yield mutant, status != 0


# The mutant's code, or its value, in the module that is loaded.


def in_place(path: str, tests: Sequence[str], mutants: Sequence[Mutant], jobs: int) -> tuple[list[Mutant], float]:
    """Try the mutants that have a function, all after one import of the tests.

    Returns those that are to be tried afresh, and what the tests cost without a mutant, in seconds of a processor.
    Raises SystemExit when they do not pass then.
    """
    seen = RawArray("b", len(mutants))
    cost_s = RawArray("d", 1)
    pid = os.fork()
    if not pid:
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        os._exit(int(pytest.main([*OPTIONS, *tests], plugins=[_Host(path, mutants, jobs, seen, cost_s)])))
    os.waitpid(pid, 0)
    if not cost_s[0]:
        raise SystemExit(f"the tests of {path} do not pass without a mutant: {' '.join(tests)}")
    return [mutant for mutant, was_seen in zip(mutants, seen, strict=True) if not was_seen], cost_s[0]


class _Host:
    """What pytest does instead of running the tests that it has collected."""

    def __init__(
        self, path: str, mutants: Sequence[Mutant], jobs: int, seen: Array[c_byte], cost_s: Array[c_double]
    ) -> None:
        self._path = path
        self._mutants = mutants
        self._jobs = jobs
        self._seen = seen
        self._cost_s = cost_s

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        # What Hypothesis reads of the project once, it would read in each trial.
        given(st.integers())(settings(max_examples=1)(lambda number: None))()
        functions = _functions(self._path)
        tests = session.items
        took_s = RawArray("d", len(tests))
        gc.freeze()
        if not self._pass(tests, took_s):
            return True
        self._cost_s[0] = time.process_time() + sum(took_s)
        # The quick ones first, and in front of them what saw the last mutant, as neighbours are often seen by the same.
        order = sorted(range(len(tests)), key=took_s.__getitem__)
        killer = RawArray("i", len(self._mutants))

        def trial(number: int) -> int:
            mutant = self._mutants[number]
            if not _put(self._path, mutant, functions):
                return UNDECIDED
            for place, index in enumerate(order):
                if not _passes(tests[index], tests[order[place + 1]] if place + 1 < len(order) else None):
                    killer[number] = index
                    return 1
            return 0

        numbers = [number for number, mutant in enumerate(self._mutants) if mutant.within]
        trials = ((number, functools.partial(trial, number)) for number in numbers)
        for number, status in _ends(trials, _cpu_s(sum(took_s)), self._jobs):
            self._seen[number] = status not in (0, UNDECIDED)
            if status == 1 and took_s[killer[number]] < FRONT_MAX_S:
                order.remove(killer[number])
                order.insert(0, killer[number])
        return True

    def _pass(self, tests: Sequence[pytest.Item], took_s: Array[c_double]) -> bool:
        """Whether all tests pass without a mutant; sets what each takes."""

        def trial() -> int:
            for index, test in enumerate(tests):
                began_s = time.process_time()
                if not _passes(test, tests[index + 1] if index + 1 < len(tests) else None):
                    return 1
                took_s[index] = time.process_time() - began_s
            return 0

        ((_, status),) = _ends([(0, trial)], 600, 1)
        return status == 0


def _passes(test: pytest.Item, following: pytest.Item | None) -> bool:
    return not any(report.failed for report in runtestprotocol(test, log=False, nextitem=following))


def _functions(path: str) -> dict[Place, list[FunctionType]]:
    """The functions of a module that live, however they are reached."""
    found: dict[Place, list[FunctionType]] = {}
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename == str(ROOT / path):
            found.setdefault(_place(one.__code__), []).append(one)
    return found


def _place(code: CodeType) -> Place:
    return code.co_qualname, code.co_firstlineno


def _put(path: str, mutant: Mutant, functions: Mapping[Place, Sequence[FunctionType]]) -> bool:
    """Change the loaded module into the mutant; False where that cannot be done."""
    assert mutant.within is not None
    name, line = mutant.within
    if not line:
        return _put_value(path, mutant.made(), name)
    codes = [_compiled(path, mutant.made())]
    while codes:
        code = codes.pop()
        if _place(code) == mutant.within:
            for function in functions.get(mutant.within, ()):
                if function.__code__.co_freevars != code.co_freevars:
                    return False
                function.__code__ = code
            return mutant.within in functions
        codes += (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return False


def _put_value(path: str, tree: ast.Module, name: str) -> bool:
    """Give a name of a module its value in the mutant, also where another module has it from there."""
    module = vars(sys.modules[_name(path)])
    (value,) = (
        node.value
        for node in tree.body
        if (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name)
    )
    assert value is not None
    was = module[name]
    mutated = eval(compile(ast.Expression(value), path, "eval", dont_inherit=True), module)  # noqa: S307 - the same
    if isinstance(was, dict):
        was.clear()
        was.update(mutated)
        return True
    for one in list(sys.modules.values()):
        if vars(one).get(name) is was:
            setattr(one, name, mutated)
    return True


def _cpu_s(cost_s: float) -> int:
    return max(CPU_MIN_S, math.ceil(CPU_FACTOR * cost_s))
