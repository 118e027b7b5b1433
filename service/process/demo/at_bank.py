"""The scenes of the demo's day that begin at the bank, where others act: the sandbox's control plane has them act."""

from __future__ import annotations

from typing import Any

import httpx

from jzb.v1 import acquiring_pb2, operation_pb2, suspense_pb2, withdrawal_pb2
from service.process.client import yuan
from service.process.demo.client import TIMEOUT_S, Client, console


async def _act(sandbox_url: str, path: str, command: dict[str, Any]) -> httpx.Response:
    """Have somebody act at the sandbox bank. Raises `ConnectionError` where there is no sandbox bank."""
    try:
        async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, timeout=TIMEOUT_S) as bank:
            answer = await bank.post(path, json=command)
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        raise ConnectionError(f"--sandbox {sandbox_url}: {failure}; `jzb run` prints the address") from None
    if not answer.is_success:
        raise ConnectionError(
            f"--sandbox {sandbox_url} answered {path} with HTTP {answer.status_code}: it is no sandbox bank, or knows"
            " nothing of it; `jzb run` prints the address"
        )
    return answer


async def an_acquired_order_is_missed(client: Client, sandbox_url: str) -> None:
    """An acquiring product collects an order for A and B, and the bank misses it."""
    order = f"Q{client.run}"
    shares = [
        acquiring_pb2.OrderShare(
            member_id=client.id(name),
            amount_fen=fen,
            fee_fen=fee_fen,
            credit=acquiring_pb2.ORDER_CREDIT_AVAILABLE,
            sub_order_no=f"{order}{name}",
        )
        for name, fen, fee_fen in (("A", 8_000, 400), ("B", 2_000, 0))
    ]
    build = acquiring_pb2.BuildOrderRemarkRequest(
        product=acquiring_pb2.REMARK_PRODUCT_AGGREGATED,
        carrier=acquiring_pb2.REMARK_CARRIER_CASHIER_PAGE,
        amount_fen=10_000,
        shares=shares,
    )
    remark = (await client.ask(client.acquiring.BuildOrderRemark, build)).remark
    paid = {"channel": "YST1", "order_no": order, "amount_fen": 10_000, "remark": remark, "missed": True}
    await _act(sandbox_url, "/control/acquired_orders", paid)
    await client.step(
        "An acquired order of 100.00 that the bank missed: asked for, fetched, entered; A 80 with fee 4, B 20",
        client.acquiring.RecordOrder,
        acquiring_pb2.RecordOrderRequest(
            channel=acquiring_pb2.ACQUIRING_CHANNEL_CLOUD,
            order_no=order,
            amount_fen=10_000,
            shares=shares,
        ),
        "A",
        "B",
    )


async def the_withdrawal_comes_back(client: Client, sandbox_url: str, operation_id: str) -> None:
    """The card's bank returns a withdrawal that had ended well."""
    key = operation_pb2.OperationKey(operation_id=operation_id)
    found = await client.ask(client.operations.GetOperation, operation_pb2.GetOperationRequest(key=key))
    await _act(sandbox_url, f"/control/withdrawals/{found.operation.serial}", {"result": "return"})
    day = found.operation.bank_day
    page = await client.step(
        "The card's bank returns the 200.00: they are A's again; which withdrawal it was, the bank says a day later",
        client.withdrawals.CollectReturns,
        withdrawal_pb2.CollectReturnsRequest(first_bank_day=day, last_bank_day=day),
        "A",
    )
    for entered in page.returns:
        console.print(f"  {yuan(entered.amount_fen)} returned, bank {entered.bank_serial}")


async def money_is_found_in_suspense(client: Client, sandbox_url: str) -> None:
    """A transfer comes in that the bank can match to nobody; it is collected, cleared, and in part put back."""
    console.print("\n[bold]A stranger transfers 300.00: the bank puts them into suspense[/bold]")
    command = {"amount_fen": 30_000, "payer_name": "Fictitious Trading Ltd", "remark": "for C"}
    sent = (await _act(sandbox_url, "/control/transfers", command)).json()
    day, transfer_bank_serial = sent["bank_day"], sent["front_seq_no"]
    bank_day = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    request = suspense_pb2.CollectTransfersRequest(first_bank_day=bank_day, last_bank_day=bank_day, page_size=200)
    page = await client.ask(client.suspense.CollectTransfers, request)
    console.print(f"  {page.entered} collected on {bank_day}")
    await _show_suspense(client, transfer_bank_serial)
    cleared = await client.step(
        "It was meant for C: 300.00 are cleared to C, which may withdraw them today",
        client.suspense.AllocateSuspense,
        suspense_pb2.AllocateSuspenseRequest(
            transfer_bank_serial=transfer_bank_serial,
            member_id=client.id("C"),
            amount_fen=30_000,
            order_no=f"U{client.run}",
        ),
        "C",
    )
    await client.step(
        "100.00 of it were not C's after all: they go back into suspense",
        client.suspense.ReverseSuspenseAllocation,
        suspense_pb2.ReverseSuspenseAllocationRequest(allocation_serial=cleared.operation.serial, amount_fen=10_000),
        "C",
    )
    await _show_suspense(client, transfer_bank_serial)


async def _show_suspense(client: Client, transfer_bank_serial: str) -> None:
    token = ""
    while True:
        request = suspense_pb2.ListSuspenseRequest(page_size=200, page_token=token)
        page = await client.ask(client.suspense.ListSuspense, request)
        for entry in page.entries:
            if entry.transfer_bank_serial == transfer_bank_serial:
                console.print(f"  suspense {yuan(entry.remaining_fen)} of transfer {transfer_bank_serial}")
        token = page.next_page_token
        if not token:
            return
