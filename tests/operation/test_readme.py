"""The examples in Python of the READMEs, as they stand there."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from typing import Any

import grpc
import pytest

from jzb.v1 import operation_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.process import ROOT, clean_environment


async def test_the_python_example_of_the_readme_prints_what_it_says(shop: Marketplace) -> None:
    readme = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```\n\nIt prints", readme, re.DOTALL)
    await shop.buyer("alice")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", example.replace("127.0.0.1:50051", f"127.0.0.1:{shop.service.port}")),
        env=clean_environment(PYTHONPATH=str(ROOT / "stubs")),
        stdout=PIPE,
    )
    said, _ = await process.communicate()
    key = operation_pb2.OperationKey(request_id="wx-4200001")
    found = await shop.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S)
    assert said.decode() == f"OPERATION_STATE_DONE {found.operation.serial} The bank has done it.\n"


async def test_the_python_example_of_the_contract_reads_an_error_of_the_service_and_no_other(shop: Marketplace) -> None:
    readme = (ROOT / "protos" / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - it is the project's own document
    await shop.buyer("alice")
    await shop.merchant("bookshop")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.payments.Pay(shop.pay_request("alice", "bookshop", 1_00), timeout=TIMEOUT_S)
    reason, metadata, outcome, next_step = names["read"](refused.value)
    assert (reason, metadata["member_id"], outcome) == ("INSUFFICIENT_FUNDS", "alice", "OUTCOME_NO_EFFECT")
    assert next_step.startswith("top the payer up")
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await shop.channel.unary_unary("/jzb.v1.PaymentService/Nothing", bytes, bytes)(b"", timeout=TIMEOUT_S)
    assert names["read"](unknown.value) is None
