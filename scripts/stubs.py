"""The Python code for protos/, with its types: `python scripts/stubs.py FOLDER`. Run from the root of the project.

Beside what protoc makes there is `jzb.v1.names`: kinds and reasons as texts, which the ledger stores and errors carry.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

NAMED = {"OperationKind": "OPERATION_KIND_", "ErrorReason": "ERROR_REASON_"}
"""The enums whose values are stored and compared as text, and what their names begin with."""

STORED = {
    "OPENING_BALANCE": "ADOPTION",
    "ALLOCATE_SUSPENSE": "CLEAR_SUSPENSE",
    "REVERSE_SUSPENSE_ALLOCATION": "UNDO_CLEAR_SUSPENSE",
}
"""What the journal calls kinds that 0.2.0 renamed. Seals are over these texts, so that they stay."""

HEAD = '''\
"""Values of enums of jzb.v1 as texts, without the prefix of their names. Generated."""

from enum import StrEnum
'''


def main(folder: str) -> int:
    """Run protoc of grpcio-tools with the plugin of mypy-protobuf, which is installed beside this Python."""
    # What protos/google has is in googleapis-common-protos, for Python.
    protos = sorted(str(path) for name in ("buf", "jzb") for path in Path("protos", name).rglob("*.proto"))
    described = Path(folder, "protos.binpb")
    outputs = ("python_out=", "mypy_out=quiet:", "grpc_python_out=", "mypy_grpc_out=quiet:")
    plugins = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=protos", f"--descriptor_set_out={described}"]
    status = subprocess.run(
        [*command, *(f"--{output}{folder}" for output in outputs), *protos],
        env={**os.environ, "PATH": plugins},
        check=False,
    ).returncode
    if status == 0:
        contract = FileDescriptorSet.FromString(described.read_bytes())
        Path(folder, "jzb", "v1", "names.py").write_text(HEAD + "".join(_classes(contract)), "utf-8")
    described.unlink(missing_ok=True)
    return status


def _classes(contract: FileDescriptorSet) -> Iterator[str]:
    for enum in (enum for file in contract.file for enum in file.enum_type if enum.name in NAMED):
        names = [value.name.removeprefix(NAMED[enum.name]) for value in enum.value if value.number]
        yield f"\n\nclass {enum.name}(StrEnum):\n" + "".join(
            f'    {name} = "{STORED.get(name, name)}"\n' for name in names
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
