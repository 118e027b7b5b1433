"""What a wheel has in it. `make wheel` builds one as anybody would, installs it in an empty environment and runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ledger import newest_revision
from tests.world.process import ROOT, clean_environment

PACKAGES = ("service", "embedded", "ledger", "bankclient", "sandbox")

LOADED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from service.process.cli import app
import buf.validate.validate_pb2, jzb.v1.core_pb2, ledger, sandbox.server
for name in ("jzb.v1.core_pb2", "buf.validate.validate_pb2", "service.process.cli", "ledger", "sandbox.server"):
    print(sys.modules[name].__file__)
app(["--version"])
"""


def test_a_wheel_has_every_module_and_the_stubs_and_runs_without_the_clone(tmp_path: Path) -> None:
    library = tmp_path / "library"
    build = ("egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(library))
    subprocess.run([sys.executable, "setup.py", "--quiet", *build], cwd=ROOT, check=True, capture_output=True)

    ours = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # What protos/google has comes with googleapis-common-protos; in a wheel it would lie over that.
    stubs = {
        path.relative_to(ROOT / "protos").with_name(f"{path.stem}{ending}")
        for package in ("jzb", "buf")
        for path in (ROOT / "protos" / package).rglob("*.proto")
        for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
    }
    stubs.add(Path("jzb", "v1", "names.py"))
    assert {path.relative_to(library) for path in library.rglob("*") if path.is_file()} == ours | stubs

    said = subprocess.run(
        [sys.executable, "-c", LOADED, str(library)],
        cwd=tmp_path,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert [line for line in said[:-1] if not line.startswith(str(library))] == []
    assert said[-1].endswith(f", schema {newest_revision()}")
