"""`jzb proposals`: a second person decides from the terminal, with a certificate and a token, and without code."""

from __future__ import annotations

from pathlib import Path

import pytest

from jzb.v1 import core_pb2
from service.process.deciding import Connection, lines
from tests.world.approvals import asking, proposed
from tests.world.callers import OPERATOR, Issuer, Locked, given, locked
from tests.world.cli import Ended, jzb
from tests.world.marketplace import TIMEOUT_S

CONSOLE = "spiffe://test/console"
ANN, BEN = "ann", "ben"
SCOPES = ("money.pay", "approve", "read.own")
POLICY = (
    given(CONSOLE, *SCOPES, namespace="console", needs_person=True),
    given(ANN, *SCOPES, table="people"),
    given(BEN, "approve", "read.own", table="people"),
    '[[approvals]]\nscopes = ["money.pay"]\namount_above_fen = 1000\ncallers = ["spiffe://test/console"]\n',
)


async def decide(service: Locked, token: Path, *arguments: str) -> Ended:
    files = service.authority.issue(CONSOLE)
    return await jzb(
        *("proposals", *arguments, "--target", service.target, "--token", str(token)),
        *("--ca", str(service.authority.ca.certificate)),
        *("--certificate", str(files.certificate), "--key", str(files.key)),
    )


@pytest.mark.soak
async def test_what_one_person_proposes_another_lists_shows_approves_and_rejects(database: str, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    async with locked(database, tmp_path, *POLICY, oidc=issuer.settings) as service:
        operator = await service.shop(OPERATOR)
        await operator.buyer("buyer", 300_00)
        await operator.merchant("seller")
        tokens = {}
        for person in (ANN, BEN):
            tokens[person] = tmp_path / f"{person}.token"
            tokens[person].write_text(issuer.token(person) + "\n")
        anns = await service.shop(CONSOLE, issuer.token(ANN))
        request = asking(anns, "buyer", "seller", 20_00)
        first = await proposed(anns, request)
        second = await proposed(anns, asking(anns, "buyer", "seller", 30_00))

        listed = await decide(service, tokens[BEN], "list")
        assert listed.status == 0, listed.error
        assert all(word in listed.out for word in (first, second, "20.00", "30.00", "a supplier is owed", ANN))
        own = await decide(service, tokens[ANN], "approve", first)
        assert (own.status, "APPROVER_IS_PROPOSER" in own.error, "Traceback" in own.error) == (1, True, False)
        assert (await operator.balance("seller")).available_fen == 0
        approved = await decide(service, tokens[BEN], "approve", first, "--note", "seen")
        assert (approved.status, "executed" in approved.out) == (0, True), approved.error
        paid = (await anns.payments.Pay(request, timeout=TIMEOUT_S)).operation
        assert (paid.state, paid.approver_person) == (core_pb2.OPERATION_STATE_DONE, BEN)
        assert paid.operation_id in approved.out

        connection = Connection(service.target, service.authority.credentials(CONSOLE), tokens[BEN])
        async with connection.client() as client:
            shown = lines(await client.get(second))
            assert any("30.00 yuan from buyer to seller" in line for line in shown)
            assert '"payee_member_id": "seller"' in shown[-1]
            assert any("twice" in line for line in lines(await client.reject(second, "twice")))
            assert await client.list("pending", 50) == []
            assert [one.proposal_id for one in await client.list("rejected", 50)] == [second]
            assert [one.proposal_id for one in await client.list("", 1)] == [second]
        assert (await operator.balance("seller")).available_fen == 20_00


async def test_a_wrong_state_is_told_in_a_line() -> None:
    ended = await jzb("proposals", "list", "--state", "open")
    assert (ended.status, "is none of pending" in ended.error) == (2, True)
