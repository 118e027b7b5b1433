"""A key of the vault that a waiting proposal needs is not dropped: nobody could decide on it any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jzb.v1 import approval_pb2, core_pb2, payment_pb2
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service.vault import Vault, VaultKeyMissing, new_key
from tests.world.approvals import asking, proposal, proposed, reject
from tests.world.cli import Ended, jzb
from tests.world.process import shop_on


async def rotated(database: str, data: Path, *keys: str) -> Ended:
    environment = {
        "DATABASE_URL": database,
        "JZB_BANK__MRCH_CODE": "9930",
        "JZB_VAULT__KEYS": json.dumps(keys),
    }
    return await jzb("vault", "rotate", "--data", str(data), environment=environment)


@pytest.mark.soak
async def test_a_rotation_is_not_done_while_a_proposal_waits_under_the_old_key_which_is_not_dropped(
    database: str, tmp_path: Path
) -> None:
    old, new = new_key(), new_key()
    key_id = Vault([old], "9930").key_id
    async with Sandbox(SandboxSettings(clear_same_day=True)) as bank:

        def serving(*keys: str, **more: Any) -> Any:
            return shop_on(database, bank, vault={"keys": list(keys), **more})

        async with serving(old) as shop:
            await shop.buyer("buyer", 100_00)
            await shop.merchant("seller")
            request = asking(shop, "buyer", "seller", 20_00)
            proposal_id = await proposed(shop, request)
        ended = await rotated(database, tmp_path, new, old)
        assert ended.status == 1
        assert f"1 proposals wait that only the key {key_id} opens" in ended.out
        assert "move the older keys" not in ended.out
        for more in ({}, {"retired_keys": [old]}):
            with pytest.raises(VaultKeyMissing, match=rf"only the key {key_id} opens.* keep it in JZB_VAULT__KEYS"):
                async with serving(new, **more):
                    raise AssertionError("it ran")
        async with serving(new, old) as shop:
            assert (await proposal(shop, proposal_id)).amount_fen == 20_00
            assert await proposed(shop, request) == proposal_id
            rejected = await reject(shop, proposal_id)
            assert rejected.state == approval_pb2.PROPOSAL_STATE_REJECTED
        assert (await rotated(database, tmp_path, new, old)).status == 0
        async with serving(new, retired_keys=[old]) as shop:
            refused = await shop.refusal(shop.payments.Pay(request))
            assert (refused.reason, refused.outcome) == ("APPROVAL_REJECTED", core_pb2.OUTCOME_NO_EFFECT)
            assert isinstance(request, payment_pb2.PayRequest)
            assert (await shop.balance("buyer")).available_fen == 100_00
