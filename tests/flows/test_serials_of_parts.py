"""What the bank calls each part, compared with the bank's own records: whichever answer, list or query named it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest

from jzb.v1 import core_pb2, operation_pb2, topup_pb2
from sandbox.records import Trade
from tests.world.batches import batches, confirm_request, prepaid
from tests.world.freezes import freeze, pay_frozen
from tests.world.marketplace import TIMEOUT_S, Marketplace, bank_day, open_marketplace
from tests.world.returns import collect as collect_returns
from tests.world.returns import send_back
from tests.world.suspense import collect, come_in
from tests.world.topups import split_request
from tests.world.verifying import SERVICE_IDS, named
from tests.world.withdrawals import withdraw_to_the_end


@pytest.fixture
async def market(database: str) -> AsyncIterator[Marketplace]:
    """A buyer with 500.00 and two sellers, where answers can be lost and are asked for soon."""
    async with open_marketplace(
        database,
        {"service_ids": SERVICE_IDS},
        bank={"service_ids": SERVICE_IDS},
        rules={"batch_direct_pay": True},
    ) as shop:
        await named(shop, "buyer", 500_00)
        await named(shop, "shoes", collects=True)
        await named(shop, "hats", collects=True)
        yield shop


def at_bank(shop: Marketplace, *serials: str) -> list[str]:
    """What the bank calls the transactions that it knows by these serials."""
    found = [shop.sandbox.bank.store.get(Trade, serial) for serial in serials]
    return ["" if trade is None else trade.front_seq_no for trade in found]


def of_parts(operation: core_pb2.Operation) -> list[str]:
    """The bank's serial of each part that is posted."""
    return [part.bank_serial for part in operation.parts if part.state == core_pb2.PART_STATE_POSTED]


async def assert_found(shop: Marketplace, operation: core_pb2.Operation, serials: Sequence[str]) -> None:
    """By each of these serials the operation is found."""
    assert all(serials)
    for serial in serials:
        request = operation_pb2.ListOperationsRequest(bank_serial=serial)
        page = await shop.operations.ListOperations(request, timeout=TIMEOUT_S)
        assert operation.operation_id in {one.operation_id for one in page.operations}


async def test_a_payment_has_the_serial_of_its_answer_and_its_day(shop: Marketplace) -> None:
    buyer, seller = await shop.buyer("buyer", 100_00), await shop.merchant("seller")
    paid = await shop.pay(buyer, seller, 30_00)
    (part,) = paid.parts
    assert [part.bank_serial] == at_bank(shop, paid.serial) == [paid.bank_serial]
    assert part.bank_day == paid.bank_day == str(bank_day(shop))
    await assert_found(shop, paid, [part.bank_serial])


@pytest.mark.parametrize("lost", [False, True])
async def test_each_share_of_a_split_top_up_and_of_its_revocation_has_its_own(shop: Marketplace, lost: bool) -> None:
    for member_id in "AB":
        await shop.merchant(member_id)
    request = split_request(shop, ("A", 50_00, 5_00), ("B", 30_00, 0), remark="[[lose_after]]" if lost else "")
    call = shop.top_ups.SplitTopUp(request, timeout=TIMEOUT_S)
    if lost:
        operation = await shop.until_final((await shop.refusal(call)).operation.operation_id)
    else:
        operation = (await call).operation
    serials = at_bank(shop, *(part.serial for part in operation.parts))
    assert of_parts(operation) == serials
    assert len(set(serials)) == 2
    await assert_found(shop, operation, serials)
    revoke = topup_pb2.RevokeSplitTopUpRequest(
        request_id=shop.request_id(),
        top_up_serial=operation.serial,
        shares=[topup_pb2.RevokedShare(member_id=member, amount_fen=1_00) for member in "BA"],
    )
    if lost:
        shop.sandbox.faults.add("lose_after", service_id="RevokeOnWayTopThirdPaySplit")
        refusal = await shop.refusal(shop.top_ups.RevokeSplitTopUp(revoke, timeout=TIMEOUT_S))
        revoked = await shop.until_final(refusal.operation.operation_id)
    else:
        revoked = (await shop.top_ups.RevokeSplitTopUp(revoke, timeout=TIMEOUT_S)).operation
    assert of_parts(revoked) == at_bank(shop, *(part.serial for part in revoked.parts))
    assert not set(of_parts(revoked)) & set(serials)
    await shop.assert_agrees()


async def test_rows_of_a_batch_have_the_serial_of_the_call_until_a_list_names_their_own(market: Marketplace) -> None:
    shoes, hats = await prepaid(market)
    confirmed = (await batches(market).BatchConfirm(confirm_request(market, shoes, hats), timeout=TIMEOUT_S)).operation
    # The answer of 6052 has one serial.
    assert of_parts(confirmed) == at_bank(market, confirmed.serial) * 2
    shoes, hats = await prepaid(market)
    market.sandbox.faults.add("lose_after", service_id="MembershipBatchTransactions")
    refusal = await market.refusal(
        batches(market).BatchConfirm(confirm_request(market, shoes, hats), timeout=TIMEOUT_S)
    )
    found = await market.until_final(refusal.operation.operation_id)
    # 6072 lists each row with its own.
    assert of_parts(found) == at_bank(market, *(part.serial for part in found.parts))
    assert len(set(of_parts(found))) == 2
    await assert_found(market, found, of_parts(found))
    await market.assert_agrees()


async def test_rows_of_a_frozen_payment_have_the_serial_of_the_call(market: Marketplace) -> None:
    operation = await pay_frozen(
        market, await freeze(market, "buyer", 100_00), [("shoes", 50_00), ("hats", 30_00)], fee_fen=8_00
    )
    assert of_parts(operation) == at_bank(market, operation.serial) * 3


async def test_a_payment_whose_answer_was_lost_has_the_serial_that_the_query_named(shop: Marketplace) -> None:
    buyer, seller = await shop.buyer("buyer", 100_00), await shop.merchant("seller")
    request = shop.pay_request(buyer, seller, 30_00, remark="[[lose_after]]")
    refusal = await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))
    assert [part.bank_serial for part in refusal.operation.parts] == [""]
    paid = await shop.until_final(refusal.operation.operation_id)
    assert of_parts(paid) == at_bank(shop, paid.serial)


async def test_what_comes_in_has_the_serial_of_its_list(shop: Marketplace) -> None:
    await shop.merchant("seller", 100_00, withdrawable=True)
    withdrawal = await withdraw_to_the_end(shop, "seller", 40_00, 1_00)
    assert of_parts(withdrawal) == at_bank(shop, withdrawal.serial) * 2
    send_back(shop, withdrawal)
    (returned,) = (await collect_returns(shop)).returns
    assert of_parts(returned) == [returned.bank_serial] != [""]
    transfers = [await come_in(shop, 50_00), await come_in(shop, 30_00, "seller")]
    page = await collect(shop)
    assert [of_parts(one.operation) for one in page.transfers] == [[serial] for serial in transfers]
    await shop.clear()
    # The clearing of a day (6108) has none: it is known by its day.
    with psycopg.connect(shop.dsn) as connection:
        cleared = connection.execute(
            "SELECT DISTINCT r.bank_serial FROM resolution r JOIN operation o ON o.id = r.operation_id"
            " WHERE o.kind = 'CLEARING'"
        ).fetchall()
    assert cleared == [("",)]
    await shop.assert_agrees()
