"""`jzb run --four-eyes`: a shop, one who proposes and one who approves close a day with what the commands do."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from pathlib import Path

import grpc
import pytest
import typer

from jzb.v1 import approval_pb2
from jzb.v1 import reconciliation_pb2 as pb
from sandbox.records import Trade
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings
from service import policy
from service.bankday import bank_today
from service.process import adjusting, four_eyes
from service.process.certificates import files_of
from service.process.cli.calling import credentials_of
from service.process.client import channel_to
from service.process.deciding import Connection
from service.process.four_eyes import FINANCE, HEAD, SHOP
from service.process.reconcile import reconcile
from service.process.server import running
from tests.world.cli import Ended, jzb, jzb_run
from tests.world.days import breaks, days_ago
from tests.world.marketplace import LENIENT, Marketplace, service_settings


def test_nobody_of_the_trial_can_both_propose_and_approve(tmp_path: Path) -> None:
    first = four_eyes.settings(tmp_path)
    given = policy.read(first["policy"])
    assert given.callers.keys() == {SHOP, FINANCE, HEAD}
    for name, grant in given.callers.items():
        assert ("approve" in grant.scopes) == (name == HEAD)
        assert name != HEAD or grant.scopes == {"approve", "read.all"}
    first["policy"].write_text("# mine\n")
    assert four_eyes.settings(tmp_path) == first
    assert first["policy"].read_text() == "# mine\n", "what somebody has changed stays"
    assert all(four_eyes.certificate_of(tmp_path, name).exists() for name in (SHOP, FINANCE, HEAD))


def test_a_certificate_alone_is_used_with_what_lies_beside_it(tmp_path: Path) -> None:
    four_eyes.settings(tmp_path)
    own = four_eyes.certificate_of(tmp_path, FINANCE)
    assert isinstance(credentials_of(None, own, None), grpc.ChannelCredentials)
    own.with_suffix(".key").unlink()
    with pytest.raises(typer.BadParameter):
        credentials_of(None, own, None)


@pytest.mark.soak
async def test_jzb_run_with_four_eyes_tells_each_what_its_certificate_is_for_and_refuses_the_rest(
    tmp_path: Path,
) -> None:
    async with jzb_run(tmp_path, None, "--four-eyes") as stack:
        own = {name: stack.told(rf"(\S+{name}\.pem)") for name in ("shop", "finance", "head")}

        async def by(name: str, *arguments: str) -> Ended:
            return await jzb(*arguments, "--target", stack.target, "--certificate", own[name])

        assert f"--certificate {own['shop']}" in "".join(stack.said)
        yesterday = str(bank_today() - timedelta(days=1))
        closed = await by("finance", "reconcile", "--date", yesterday)
        assert (closed.status, "0 breaks" in closed.out) == (0, True), closed.error
        signed = await by("finance", "reconcile", "--date", yesterday, "--no-run", "--sign", "nothing happened")
        assert (signed.status, "another identity signs second" in signed.out) == (0, True), signed.error
        for name, status in (("shop", 1), ("finance", 1), ("head", 0)):
            ended = await by(name, "reconcile", "--date", yesterday, "--no-run", "--sign", "seen")
            assert (ended.status, "SCOPE_MISSING" in ended.error) == (status, bool(status)), ended.error
        waiting = await by("head", "work")
        assert (waiting.status, waiting.out) == (0, "nothing waits\n"), waiting.error


async def test_a_day_with_a_break_is_adjusted_and_closed_by_two_from_the_terminal(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = four_eyes.settings(tmp_path)
    credentials = {
        name: credentials_of(None, files_of(tmp_path / "certificates", name).certificate, None)
        for name in (SHOP, FINANCE, HEAD)
    }
    async with (
        Sandbox(SandboxSettings(**LENIENT), days_ago(3)) as sandbox,
        running(service_settings(database, sandbox, **given)) as service,
        channel_to(target := f"127.0.0.1:{service.port}", credentials[SHOP]) as channel,
    ):
        assert await service.components.clearing.enter_opening_balance()
        shop = Marketplace(database, sandbox, service, channel)
        paid = await shop.pay(await shop.buyer("buyer", 100_00), await shop.merchant("seller"), 40_00)
        await shop.clear()
        (trade,) = (one for one in sandbox.bank.store.all(Trade) if one.amount_fen == 40_00)
        sandbox.bank.store.put(dataclasses.replace(trade, amount_fen=45_00))
        day = [date.fromisoformat(paid.bank_day)]

        assert await reconcile(target, day, credentials[FINANCE]) == 1
        (found,) = await breaks(shop, type=pb.BREAK_TYPE_AMOUNT)
        assert found.break_id in capsys.readouterr().out
        account = adjusting.account("withdrawable", "seller", "", "", "")
        said = await adjusting.propose(target, credentials[FINANCE], found.break_id, account, True, 0, "45.00 stands")
        assert said[0] == f"break      amount of {day[0]}: the bank has 45.00 yuan, the books 40.00 yuan"
        assert said[1] == f"evidence   line 1 of the file with SHA-256 {found.evidence.file_sha256}"
        assert said[2] == "difference 5.00 yuan, 0.00 adjusted so far"
        proposal_id = said[3].split()[1].removesuffix(":")
        assert said[4].endswith(f": jzb proposals approve {proposal_id} --target {target}")
        async with Connection(target, credentials[HEAD]).client() as head:
            assert (await head.approve(proposal_id, "seen")).state == approval_pb2.PROPOSAL_STATE_EXECUTED

        assert await reconcile(target, day, credentials[FINANCE], sign="one amount adjusted") == 0
        said_first = capsys.readouterr().out
        assert "0 breaks are open; some were closed by people" in said_first
        assert "another identity signs second" in said_first
        with pytest.raises(grpc.aio.AioRpcError, match="SCOPE_MISSING"):
            await reconcile(target, day, credentials[FINANCE], loads=False, sign="again")
        assert await reconcile(target, day, credentials[HEAD], loads=False, sign="seen") == 0
        assert f"{day[0]} is signed by two: it is closed" in capsys.readouterr().out
