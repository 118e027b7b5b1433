"""Members who authorise what they pay: codes read from the sandbox's texts, signatures from its password page."""

from __future__ import annotations

from typing import Literal

import httpx

from jzb.v1 import member_pb2, verification_pb2, verification_pb2_grpc
from tests.world.marketplace import TIMEOUT_S, Marketplace

SERVICE_IDS = {
    "6133": "BatchByPassword",
    "6134": "FreezeByPassword",
    "6165": "PayFrozenByPassword",
}
"""Ids for the interfaces that have no public one; bank and service are told the same."""

MODES = ("none", "sms", "password")

Mode = Literal["none", "sms", "password"]


async def named(shop: Marketplace, member_id: str, fen: int = 0, *, collects: bool = False) -> str:
    """A member whose name the bank knows, with money that may be withdrawn."""
    property_ = member_pb2.MEMBER_PROPERTY_MERCHANT if collects else member_pb2.MEMBER_PROPERTY_ORDINARY
    request = member_pb2.OpenMemberRequest(
        request_id=shop.request_id(), member_id=member_id, property=property_, nickname=f"{member_id}名"
    )
    await shop.members.OpenMember(request, timeout=TIMEOUT_S)
    if fen:
        await shop.top_up(member_id, fen)
        await shop.clear()
    return member_id


async def sub_account(shop: Marketplace, member_id: str) -> str:
    """A member's sub-account number."""
    answer = await shop.members.GetMember(member_pb2.GetMemberRequest(member_id=member_id), timeout=TIMEOUT_S)
    return str(answer.member.sub_account)


async def ask_code(
    shop: Marketplace,
    member_id: str,
    fen: int,
    payee: str = "",
    purpose: verification_pb2.SmsPurpose.ValueType = verification_pb2.SMS_PURPOSE_PAYMENT,
) -> verification_pb2.Verification:
    """Have a code texted and read it."""
    stub = verification_pb2_grpc.VerificationServiceStub(shop.channel)
    request = verification_pb2.RequestSmsCodeRequest(
        purpose=purpose, member_id=member_id, amount_fen=fen, payee_member_id=payee
    )
    order_no = (await stub.RequestSmsCode(request, timeout=TIMEOUT_S)).message_order_no
    async with httpx.AsyncClient(base_url=shop.sandbox.url, trust_env=False) as http:
        texts = (await http.get("/control/sms")).json()
    code = next(text["code"] for text in texts if text["order_no"] == order_no)
    return verification_pb2.Verification(sms=verification_pb2.SmsVerification(message_order_no=order_no, code=code))


async def type_password(shop: Marketplace, member_id: str) -> verification_pb2.Verification:
    """Have the member type its password on the bank's page."""
    async with httpx.AsyncClient(base_url=shop.sandbox.url, trust_env=False) as http:
        command = {"sub_acct_no": await sub_account(shop, member_id)}
        signature = (await http.post("/control/web-signatures", json=command)).json()["signature"]
    return verification_pb2.Verification(password=verification_pb2.PasswordVerification(signature=signature))


async def verification(
    shop: Marketplace,
    mode: Mode,
    member_id: str,
    fen: int,
    payee: str = "",
    purpose: verification_pb2.SmsPurpose.ValueType = verification_pb2.SMS_PURPOSE_PAYMENT,
) -> verification_pb2.Verification:
    """The proof of one call in one of the three modes."""
    if mode == "sms":
        return await ask_code(shop, member_id, fen, payee, purpose)
    if mode == "password":
        return await type_password(shop, member_id)
    return verification_pb2.Verification(none=verification_pb2.NoVerification())
