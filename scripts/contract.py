"""The contract of the last release, against which protos/ is held: `python scripts/contract.py check` or `keep`.

It is one file, protos/released/<version>.binpb: a FileDescriptorSet as buf builds it, which a clone has without tags
and a check reads without a network. `check` is part of `make lint`, `keep` is `make contract` and part of every
release (CONTRIBUTING.md). Run from the root of the project.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

FOUND = 100
"""How buf exits when something is wrong with the files."""

Version = tuple[int, ...]


def parsed(text: str) -> Version:
    """``0.1.0`` as numbers."""
    return tuple(int(number) for number in text.split("."))


def may_break(released: Version, coming: Version) -> bool:
    """Whether callers of one version must expect an incompatible change in another: by Semantic Versioning, until 1.0
    in a new minor version, from then on in a new major one."""
    significant = 1 if released[0] > 0 else 2
    return coming[:significant] > released[:significant]


def coming_version(root: Path) -> str:
    """The version in pyproject.toml, which the next release will have."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def last_release(root: Path) -> str | None:
    """The newest version that CHANGELOG.md has a heading for."""
    heading = re.search(r"^## \[?(\d+\.\d+\.\d+)", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    return heading[1] if heading else None


def kept_contract(root: Path) -> Path:
    """The one file of the last release's contract."""
    (kept,) = (root / "protos" / "released").glob("*.binpb")
    return kept


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run buf, which is installed beside this Python."""
    command = [str(Path(sys.executable).parent / "buf"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def check(root: Path) -> str | None:
    """What is wrong with the contract as it stands, or None."""
    kept, coming, last = kept_contract(root), coming_version(root), last_release(root)
    if last not in (None, kept.stem):
        return f"CHANGELOG.md has a release {last}, and {kept} is of {kept.stem}. Run `make contract` at the release."
    compared = buf("breaking", root / "protos", "--against", kept)
    if compared.returncode == 0:
        return None
    found = compared.stdout + compared.stderr
    # It exits with the same number for incompatible changes and for what does not compile.
    if compared.returncode != FOUND or buf("build", root / "protos").returncode != 0:
        return found
    if may_break(parsed(kept.stem), parsed(coming)):
        print(f"{len(found.splitlines())} incompatible changes since {kept.stem}, which {coming} may make; all are in")
        print(f"    buf breaking protos --against {kept.relative_to(root)}")
        return None
    return (
        f"{found}Callers who compiled against {kept.stem} break, and {coming} in pyproject.toml does not say so.\n"
        "Make the change compatible; or raise the version first (CONTRIBUTING.md, 'The contract')."
    )


def keep(root: Path) -> str | None:
    """Replace the contract that is kept by the present one, under the present version; once, for a release stands."""
    folder = root / "protos" / "released"
    new = folder / f"{coming_version(root)}.binpb"
    if new.exists():
        return f"{new} is kept already. Raise the version in pyproject.toml; or delete it, if it was not released."
    built = buf("build", root / "protos", "--exclude-source-info", "--as-file-descriptor-set", "-o", new)
    if built.returncode != 0:
        return built.stdout + built.stderr
    for old in set(folder.glob("*.binpb")) - {new}:
        old.unlink()
    print(f"kept {new.relative_to(root)}")
    return None


def main(command: str) -> int:
    """Run one of the two; 1 and a reason when it fails."""
    wrong = {"check": check, "keep": keep}[command](Path())
    if wrong is not None:
        print(wrong, file=sys.stderr)
    return int(wrong is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
