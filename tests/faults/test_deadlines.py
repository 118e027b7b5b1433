"""A caller who is gone: what has not been reserved by then is not reserved, what has is carried to its end."""

from __future__ import annotations

import asyncio

import grpc
import psycopg
import pytest

from jzb.v1 import core_pb2
from tests.world.marketplace import TIMEOUT_S, Marketplace
from tests.world.process import until, writer_held


async def test_a_payment_whose_deadline_passes_in_the_ledgers_queue_is_not_reserved(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00)
    patient = shop.pay_request("buyer", "seller", 1_00)
    async with writer_held(shop.dsn, "9930") as lock:
        first = asyncio.ensure_future(shop.payments.Pay(patient, timeout=TIMEOUT_S))
        await until(lock.is_awaited, "the ledger stands still")
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await shop.payments.Pay(request, timeout=0.6)
        assert gone.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await first).operation.state == core_pb2.OPERATION_STATE_DONE
    await until(lambda: shop.service.components.admission.calls.in_use == 0, "the step has had its turn")
    buyer = await shop.balance("buyer")
    assert (buyer.available_fen, buyer.held_fen) == (99_00, 0)
    assert shop.calls_received("MemberTransaction") == 1
    # The request id is not used up.
    assert (await shop.payments.Pay(request, timeout=TIMEOUT_S)).operation.state == core_pb2.OPERATION_STATE_DONE
    await shop.assert_agrees()


async def test_a_caller_who_cancels_while_his_payment_waits_for_the_ledger_leaves_no_orphan(shop: Marketplace) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    request = shop.pay_request("buyer", "seller", 30_00)
    async with writer_held(shop.dsn, "9930") as lock:
        call = asyncio.ensure_future(shop.payments.Pay(request, timeout=TIMEOUT_S))
        await until(lock.is_awaited, "the step has arrived")
        call.cancel()
        await asyncio.sleep(0.1)
    await until(lambda: shop.service.components.admission.calls.in_use == 0, "the call has ended")
    async with await psycopg.AsyncConnection.connect(shop.dsn) as connection:
        found = await connection.execute("SELECT state FROM operation WHERE request_id = %s", [request.request_id])
        assert await found.fetchall() == [("done",)]
    await shop.assert_agrees()


TROUBLE = """
CREATE SEQUENCE trouble;
CREATE FUNCTION make_trouble() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
  -- A sequence is not rolled back: three times in all.
  IF nextval('trouble') <= 3 THEN RAISE EXCEPTION 'made by the test' USING ERRCODE = '{}'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER trouble AFTER INSERT ON {} FOR EACH STATEMENT EXECUTE FUNCTION make_trouble();
"""


@pytest.mark.parametrize("code", ["40P01", "40001"], ids=["deadlock", "serialization failure"])
@pytest.mark.parametrize("table", ["operation", "leg"], ids=["reserving", "settling"])
async def test_what_postgres_asks_to_run_again_is_run_again_and_no_caller_hears_of_it(
    shop: Marketplace, code: str, table: str
) -> None:
    await shop.buyer("buyer", 100_00)
    await shop.merchant("seller")
    async with await psycopg.AsyncConnection.connect(shop.dsn, autocommit=True) as connection:
        await connection.execute(TROUBLE.format(code, table))
        paid = await asyncio.gather(
            *(shop.payments.Pay(shop.pay_request("buyer", "seller", 1_00), timeout=TIMEOUT_S) for _ in range(5))
        )
        found = await connection.execute("SELECT last_value > 3 FROM trouble")
        assert await found.fetchone() == (True,)
    assert [answer.operation.state for answer in paid] == [core_pb2.OPERATION_STATE_DONE] * 5
    assert shop.calls_received("MemberTransaction") == 5
    await shop.assert_agrees()
