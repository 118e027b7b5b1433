"""Keys of the seals from the command line: made, rotated between two starts, lost and vouched for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jzb.v1 import core_pb2
from ledger import LedgerCorrupt
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from tests.world.cli import Ended, jzb
from tests.world.marketplace import LENIENT, SEAL_KEY, TIMEOUT_S
from tests.world.process import shop_on


async def command(dsn: str, *arguments: str, keys: tuple[str, ...]) -> Ended:
    listed = ",".join(f'"{key}"' for key in keys)
    environment = {"DATABASE_URL": dsn, "JZB_BANK__MRCH_CODE": "9930", "JZB_SEAL__KEYS": f"[{listed}]"}
    return await jzb(*arguments, environment=environment)


async def new_key() -> str:
    made = await jzb("seal", "key")
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=\n", made.out)
    return made.out.strip()


async def test_a_key_is_rotated_and_the_old_one_is_needed_no_more(database: str) -> None:
    fresh = await new_key()
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await shop.buyer("buyer", 100_00)
            await shop.merchant("seller")
            request = shop.pay_request("buyer", "seller", 11_00, remark="[[lose_after]]")
            lost = (await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))).operation
        async with shop_on(database, bank, seal={"keys": [fresh, SEAL_KEY]}):
            pass
        rotated = await command(database, "seal", "rotate", keys=(fresh, SEAL_KEY))
        assert rotated.status == 0, rotated.out + rotated.error
        async with shop_on(database, bank, seal={"keys": [fresh]}) as shop:
            assert (await shop.until_final(lost.operation_id)).state == core_pb2.OPERATION_STATE_DONE
            await shop.pay("buyer", "seller", 1_00)
        verified = await command(database, "verify", keys=(fresh,))
        assert verified.status == 0, verified.out


async def test_after_a_lost_key_a_person_vouches_for_what_is_right(database: str) -> None:
    fresh = await new_key()
    async with Sandbox(SandboxSettings(**LENIENT)) as bank:
        async with shop_on(database, bank) as shop:
            await shop.buyer("buyer", 100_00)
            await shop.merchant("seller")
            request = shop.pay_request("buyer", "seller", 11_00, remark="[[lose_after]]")
            lost = (await shop.refusal(shop.payments.Pay(request, timeout=TIMEOUT_S))).operation
        with pytest.raises(LedgerCorrupt, match="no MAC under any of JZB_SEAL__KEYS"):
            async with shop_on(database, bank, seal={"keys": [fresh]}):
                raise AssertionError("it ran")
        listed = await command(database, "seal", "vouch", keys=(fresh,))
        assert listed.status == 1
        assert f"without a right MAC: {lost.operation_id} PAY_T1 unknown 11.00 {lost.serial}" in listed.out
        assert "without a right MAC: the last batch" in listed.out
        vouched = await command(database, "seal", "vouch", "--last-batch", lost.operation_id, keys=(fresh,))
        # The operation's, the batch's, and those of the two members, who are as the journal has them.
        assert (vouched.status, "4 MACs were put" in vouched.out) == (0, True), vouched.out + vouched.error
        async with shop_on(database, bank, seal={"keys": [fresh]}) as shop:
            assert (await shop.until_final(lost.operation_id)).state == core_pb2.OPERATION_STATE_DONE
            await shop.assert_agrees()


async def test_without_a_key_nothing_is_vouched_for(database: str, tmp_path: Path) -> None:
    ended = await jzb("seal", "vouch", "--data", str(tmp_path), environment={"DATABASE_URL": database})
    assert (ended.status, "set JZB_SEAL__KEYS" in ended.error) == (1, True)
