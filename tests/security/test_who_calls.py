"""Who calls is known by a certificate of the client CA, the person behind it by a token; what is wrong is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from jwt.algorithms import ECAlgorithm

from jzb.v1 import balance_pb2, balance_pb2_grpc, core_pb2, member_pb2, operation_pb2
from service.contract import methods, path_of
from service.process.certificates import issue
from service.rpc import access, identity
from service.rpc.identity import Certificate
from tests.world.callers import EVERY_SCOPE, EVERYTHING, OPERATOR, Authority, Issuer, given, locked
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace, read_one, refusal_of
from tests.world.process import until

SHOP = "spiffe://test/shop"


async def asked(channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> grpc.StatusCode:
    """How a look at the trial balance ends."""
    stub = balance_pb2_grpc.BalanceServiceStub(channel)
    try:
        await stub.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), metadata=metadata, timeout=5.0)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_stranger_without_a_certificate_gets_no_session_not_even_for_the_health(
    database: str, tmp_path: Path
) -> None:
    async with locked(database, tmp_path) as service:
        for channel in (
            grpc.aio.secure_channel(service.target, service.authority.credentials()),
            grpc.aio.insecure_channel(service.target),
        ):
            async with channel:
                assert await asked(channel) is grpc.StatusCode.UNAVAILABLE
                health = health_pb2_grpc.HealthStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await health.Check(health_pb2.HealthCheckRequest(), timeout=5.0)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_opens_nothing(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path) as service:
        other = Authority(tmp_path / "other")
        files = other.issue(OPERATOR)
        credentials = grpc.ssl_channel_credentials(
            service.authority.ca.certificate.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
        )
        async with grpc.aio.secure_channel(service.target, credentials) as channel:
            assert await asked(channel) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_has_ended_opens_nothing(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path) as service:
        service.authority.issue(OPERATOR, days=-1)
        assert await asked(await service.channel(OPERATOR)) is grpc.StatusCode.UNAVAILABLE


async def test_a_caller_with_a_certificate_and_no_line_in_the_policy_gets_nothing_but_the_health(
    database: str, tmp_path: Path
) -> None:
    async with locked(database, tmp_path) as service:
        channel = await service.channel("spiffe://test/stranger")
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5.0)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        for name, method in methods().items():
            refusal = await refused(channel, method)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"), name
            assert refusal.operation == core_pb2.Operation(), name
            assert refusal.metadata["caller"] == "spiffe://test/stranger", name


async def refused(channel: grpc.aio.Channel, method: Any) -> Any:
    """The refusal of an empty request, whatever kind of RPC it is."""

    def nothing(_: Message) -> bytes:
        return b""

    call: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    under_way = call(f"/{path_of(method)}", request_serializer=nothing)(core_pb2.Operation(), timeout=5.0)
    try:
        answer = await under_way.read() if method.server_streaming else await under_way
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError(f"{method.name} has answered a stranger: {answer}")


async def test_with_certificates_and_no_policy_nobody_may_do_anything(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path, policy=None) as service:
        assert await asked(await service.channel(OPERATOR)) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_revoked_certificate_is_refused_on_the_connection_that_it_has_and_on_its_watches(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "LOOK_EVERY_S", 0.05)
    async with locked(database, tmp_path, given(SHOP, "read.own"), watch={"heartbeat_s": 0.1}) as service:
        shop = await service.shop(SHOP)
        watch = shop.operations.WatchOperations(operation_pb2.WatchOperationsRequest(), timeout=TIMEOUT_S)
        await read_one(watch)
        digest = Certificate.of((service.authority.folder / "shop.pem").read_bytes()).digest
        service.rewrite(f'revoked = ["{digest}"]\n' + EVERYTHING, given(SHOP, "read.own"))
        refusal = await shop.refusal(end_of(watch))
        assert refusal.reason == "CALLER_UNKNOWN"
        refusal = await shop.refusal(shop.balance("anybody"))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
        assert "was revoked" in refusal.message
        assert await asked(await service.channel(OPERATOR)) is grpc.StatusCode.OK, "others are not"


async def end_of(watch: Any) -> None:
    """Read a stream until it fails."""
    while True:
        await read_one(watch)


async def test_a_renewed_server_certificate_is_served_without_a_restart(database: str, tmp_path: Path) -> None:
    async with locked(database, tmp_path) as service:
        before = await served(service.authority, service.target)
        service.authority.issue("localhost")
        after = await served(service.authority, service.target)
        assert before != after
        assert await asked(await service.channel(OPERATOR)) is grpc.StatusCode.OK


async def served(authority: Authority, target: str) -> bytes | None:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(authority.ca.certificate))
    context.set_alpn_protocols(["h2"])
    client = issue(authority.folder, "probe.example", 1)
    context.load_cert_chain(client.certificate, client.key)
    host, _, port = target.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


@pytest.mark.parametrize(
    ("name", "known_as"),
    [("spiffe://test/orders", "spiffe://test/orders"), ("orders.internal", "orders.internal"), ("127.0.0.1", "")],
)
def test_a_service_is_known_by_its_spiffe_id_else_by_its_host_name_and_by_no_address(
    tmp_path: Path, name: str, known_as: str
) -> None:
    files = Authority(tmp_path).issue(name)
    assert Certificate.of(files.certificate.read_bytes()).name == known_as


async def test_with_certificate_and_token_the_call_is_the_services_for_the_person(
    database: str, tmp_path: Path
) -> None:
    issuer = Issuer(tmp_path)
    people = given("7f0c2a", *EVERY_SCOPE, table="people")
    async with locked(database, tmp_path, people, oidc=issuer.settings) as service:
        shop = await service.shop(OPERATOR, issuer.token("7f0c2a"))
        await shop.buyer("buyer", 10_00)
        listed = await shop.operations.ListOperations(
            operation_pb2.ListOperationsRequest(member_id="buyer"), timeout=TIMEOUT_S
        )
        assert {(one.caller, one.person) for one in listed.operations} == {(OPERATOR, "7f0c2a")}
        await shop.assert_agrees()


async def test_a_person_whom_the_policy_does_not_name_gets_nothing_through_a_service_that_may_all(
    database: str, tmp_path: Path
) -> None:
    issuer = Issuer(tmp_path)
    reader = given("reads", "read.all", table="people")
    async with locked(database, tmp_path, reader, oidc=issuer.settings) as service:
        assert await asked(await service.channel(OPERATOR, issuer.token("nobody"))) is grpc.StatusCode.PERMISSION_DENIED
        shop = await service.shop(OPERATOR, issuer.token("reads"))
        await shop.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S)
        refusal = await shop.refusal(shop.member("buyer", member_pb2.MEMBER_PROPERTY_ORDINARY))
        assert (refusal.reason, refusal.metadata["scope"]) == ("SCOPE_MISSING", "member.write")
        assert refusal.metadata["person"] == "reads"


def unsigned(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def signed_with_the_public_key(issuer: Issuer) -> str:
    """The classic: the key that everybody has, as the secret of an HMAC."""
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = f"{unsigned({'alg': 'HS256', 'kid': 'one'})}.{unsigned(issuer.claims('7f0c2a'))}"
    made = hmac.HMAC(public, hashes.SHA256())
    made.update(body.encode())
    return f"{body}.{base64.urlsafe_b64encode(made.finalize()).decode().rstrip('=')}"


async def test_keys_that_cannot_be_read_let_nobody_in(database: str, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    issuer.jwks.write_text("[" * 5000)
    async with locked(
        database, tmp_path, given("7f0c2a", *EVERY_SCOPE, table="people"), oidc=issuer.settings
    ) as service:
        channel = await service.channel(OPERATOR)
        token = issuer.token("7f0c2a")
        assert await asked(channel, ("authorization", f"Bearer {token}")) is grpc.StatusCode.UNAUTHENTICATED


def wrong_tokens(issuer: Issuer) -> dict[str, str]:
    """Tokens that somebody without the issuer's key can make, or that were made for something else."""
    claims = issuer.claims("7f0c2a")
    other = rsa.generate_private_key(65537, 2048)
    right = issuer.token("7f0c2a")
    head, body, signature = right.split(".")
    another_body = unsigned(issuer.claims("somebody-else"))
    return {
        "alg none": f"{unsigned({'alg': 'none', 'kid': 'one'})}.{unsigned(claims)}.",
        "HS256 with the public key": signed_with_the_public_key(issuer),
        "another key": jwt.encode(claims, other, "RS256", {"kid": "one"}),
        "a key that is not the issuer's": jwt.encode(claims, other, "RS256", {"kid": "three"}),
        "no key named": jwt.encode(claims, other, "RS256"),
        "another algorithm of the same key": jwt.encode(claims, issuer.key, "RS512", {"kid": "one"}),
        "its body exchanged": f"{head}.{another_body}.{signature}",
        "its signature cut off": f"{head}.{body}.",
        "another audience": issuer.token("7f0c2a", aud="another-service"),
        "no audience": issuer.token("7f0c2a", aud=None),
        "another issuer": issuer.token("7f0c2a", iss="https://evil.example"),
        "no issuer": issuer.token("7f0c2a", iss=None),
        "ended": issuer.token("7f0c2a", exp=issuer.claims("")["iat"] - 3600),
        "without an end": issuer.token("7f0c2a", exp=None),
        "not valid yet": issuer.token("7f0c2a", nbf=issuer.claims("")["iat"] + 3600),
        "without a subject": issuer.token("7f0c2a", sub=None),
        "an empty subject": issuer.token(""),
        "a subject that is a list": f"{unsigned({'alg': 'RS256'})}.e30.e30",
        "a head that is nested without end": f"{base64.urlsafe_b64encode(b'[' * 3000).decode()}.e30.e30",
        "no token": "x",
        "far too long": "x" * 6000,
    }


async def test_a_wrong_token_is_refused_even_with_a_certificate_that_may_all(database: str, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    people = given("7f0c2a", *EVERY_SCOPE, table="people")
    async with locked(database, tmp_path, people, oidc=issuer.settings) as service:
        channel = await service.channel(OPERATOR)
        assert await asked(channel, ("authorization", f"Bearer {issuer.token('7f0c2a')}")) is grpc.StatusCode.OK
        for what, token in wrong_tokens(issuer).items():
            assert await asked(channel, ("authorization", f"Bearer {token}")) is grpc.StatusCode.UNAUTHENTICATED, what
        for what, value in {
            "of another kind": f"Basic {issuer.token('7f0c2a')}",
            "empty": "",
            "no kind": issuer.token("7f0c2a"),
        }.items():
            assert await asked(channel, ("authorization", value)) is grpc.StatusCode.UNAUTHENTICATED, what
        both = ("authorization", f"Bearer {issuer.token('7f0c2a')}")
        assert await asked(channel, both, both) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_that_the_issuer_has_added_is_found_and_one_that_it_withdrew_is_not(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "KEYS_AGAIN_S", 0.0)
    issuer = Issuer(tmp_path)
    people = given("7f0c2a", *EVERY_SCOPE, table="people")
    async with locked(database, tmp_path, people, oidc=issuer.settings) as service:
        channel = await service.channel(OPERATOR)
        assert await asked(channel, ("authorization", f"Bearer {issuer.token('7f0c2a')}")) is grpc.StatusCode.OK
        issuer.publish(new=ECAlgorithm.to_jwk(issuer.curve.public_key()))
        added = jwt.encode(issuer.claims("7f0c2a"), issuer.curve, "ES256", {"kid": "new"})
        assert await asked(channel, ("authorization", f"Bearer {added}")) is grpc.StatusCode.OK
        old = issuer.token("7f0c2a", jti="another")
        assert await asked(channel, ("authorization", f"Bearer {old}")) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_is_never_ignored_where_none_are_taken(shop: Marketplace) -> None:
    token = ("authorization", "Bearer anything")
    assert await asked(shop.channel, token) is grpc.StatusCode.UNAUTHENTICATED
    assert await asked(shop.channel) is grpc.StatusCode.OK


async def test_on_loopback_whoever_calls_is_local_and_a_policy_holds_for_it_too(database: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(given("local", "read.all"))
    async with open_marketplace(database, policy=policy) as shop:
        await shop.balances.GetTrialBalance(balance_pb2.GetTrialBalanceRequest(), timeout=TIMEOUT_S)
        refusal = await shop.refusal(shop.member("x", member_pb2.MEMBER_PROPERTY_ORDINARY))
        assert (refusal.reason, refusal.outcome) == ("SCOPE_MISSING", core_pb2.OUTCOME_NO_EFFECT)


def with_dns_name(name: str) -> bytes:
    """A certificate for a host; an authority that is careless about what a host is called has signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("name", ["local", "spiffe://test/operator", "shop.example/x"])
def test_a_dns_name_is_no_name_of_another_kind(name: str) -> None:
    """Neither that of the local caller, which has everything while there is no policy, nor a SPIFFE id."""
    assert Certificate.of(with_dns_name(name)).name == ""


def test_a_host_is_known_by_its_name() -> None:
    assert Certificate.of(with_dns_name("shop.example")).name == "shop.example"


async def test_a_wait_tells_nothing_to_who_has_lost_its_right_meanwhile(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "LOOK_EVERY_S", 0.05)
    async with locked(database, tmp_path, given(SHOP, "read.own", "money.pay")) as service:
        operator, shop = await service.shop(OPERATOR), await service.shop(SHOP)
        await operator.buyer("buyer", 100_00)
        await operator.merchant("seller")
        request = shop.pay_request("buyer", "seller", 1_00, remark="[[delay:2]]")
        paying = asyncio.ensure_future(shop.payments.Pay(request, timeout=TIMEOUT_S))
        key = operation_pb2.OperationKey(request_id=request.request_id)

        async def is_under_way() -> bool:
            try:
                await shop.operations.GetOperation(operation_pb2.GetOperationRequest(key=key), timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(is_under_way, "the payment is under way")
        waiting = asyncio.ensure_future(
            shop.operations.WaitOperation(operation_pb2.WaitOperationRequest(key=key), timeout=TIMEOUT_S)
        )
        await asyncio.sleep(0)
        service.rewrite(EVERYTHING, given(SHOP, "money.pay"))
        assert (await shop.refusal(waiting)).reason == "SCOPE_MISSING"
        await paying
