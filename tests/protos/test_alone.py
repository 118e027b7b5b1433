"""protos/ is all that a caller needs: it compiles on its own, and what it compiles to reads every error."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from jzb.v1 import core_pb2
from jzb.v1.names import ErrorReason
from service.problems import Problem
from service.rpc.errors import status_of

PROTOS = Path(__file__).parents[2] / "protos"


def compiled(folder: Path) -> descriptor_pool.DescriptorPool:
    """A pool of what protos/ has, and of nothing that this process has by other ways."""
    out = folder / "all.binpb"
    files = [str(path.relative_to(PROTOS)) for path in sorted(PROTOS.rglob("*.proto"))]
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTOS}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={out}", *files]
    assert protoc.main(arguments) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    return pool


def test_nothing_is_imported_that_neither_this_folder_nor_protoc_has() -> None:
    for path in PROTOS.rglob("*.proto"):
        for imported in re.findall(r'^import "(.*)";', path.read_text("utf-8"), re.MULTILINE):
            assert (PROTOS / imported).exists() or imported.startswith("google/protobuf/"), f"{path} imports {imported}"


def test_every_detail_of_an_error_is_read_with_what_this_folder_has(tmp_path: Path) -> None:
    problem = Problem(
        grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.REQUEST_INVALID,
        "amount_fen: is 0",
        metadata={"field": "amount_fen"},
        amounts={"needed": 5},
        violations=(("amount_fen", "is 0"),),
        retry_after_s=1.5,
    )
    pool = compiled(tmp_path)

    def message(name: str, content: bytes) -> Any:
        # Any: a class made at run time has its fields in no stub.
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name)).FromString(content)

    read = {}
    for detail in message("google.rpc.Status", status_of(problem).SerializeToString()).details:
        name = detail.type_url.rpartition("/")[2]
        read[name] = message(name, detail.value)
    assert read.keys() == {"google.rpc.ErrorInfo", "jzb.v1.MoneyError", "google.rpc.BadRequest", "google.rpc.RetryInfo"}
    assert read["google.rpc.ErrorInfo"].reason == "REQUEST_INVALID"
    assert read["google.rpc.BadRequest"].field_violations[0].field == "amount_fen"
    assert read["google.rpc.RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 1.5
    assert read["jzb.v1.MoneyError"].outcome == core_pb2.OUTCOME_UNKNOWN


@pytest.mark.parametrize("name", ["status.proto", "error_details.proto"])
def test_what_is_googles_is_as_google_has_it(name: str) -> None:
    (theirs,) = (
        file for file in importlib.metadata.files("googleapis-common-protos") or () if str(file) == f"google/rpc/{name}"
    )
    assert (PROTOS / "google" / "rpc" / name).read_bytes() == theirs.read_binary()
