"""The Python code for protos/, with its types: `python scripts/stubs.py FOLDER`. Run from the root of the project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main(folder: str) -> int:
    """Run protoc of grpcio-tools with the plugin of mypy-protobuf, which is installed beside this Python."""
    # What protos/google has is in googleapis-common-protos, for Python.
    protos = sorted(str(path) for name in ("buf", "jzb") for path in Path("protos", name).rglob("*.proto"))
    outputs = ("python_out=", "mypy_out=quiet:", "grpc_python_out=", "mypy_grpc_out=quiet:")
    plugins = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=protos"]
    return subprocess.run(
        [*command, *(f"--{output}{folder}" for output in outputs), *protos],
        env={**os.environ, "PATH": plugins},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
