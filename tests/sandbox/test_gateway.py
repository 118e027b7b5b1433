from __future__ import annotations

import json

from bankclient.canonical import canonical_string
from bankclient.messages import MemberBalances
from tests.sandbox.conftest import Opened
from tests.sandbox.wire import Merchant


async def gateway_code(bank: Merchant, **changed: str) -> str:
    body = bank.body(MemberBalances(TranNetMemberCode="a"), bank.new_serial()) | changed
    answer = (await bank.post("QueryCustAcctId", body)).json()
    assert "RsaSign" not in answer
    assert "TxnReturnCode" not in answer
    return str(answer["errorCode"])


async def test_approval_gives_a_signed_token_of_32_characters(bank: Merchant) -> None:
    answer = await bank.approve()
    assert answer["errorCode"] == "OPEN-E-000000"
    assert len(answer["appAccessToken"]) == 32
    assert bank.bank.verify(canonical_string(answer), answer["RsaSign"])


async def test_approval_is_refused_to_another_key_application_or_content(bank: Merchant) -> None:
    assert (await bank.approve(RandomNumber="482916"))["errorCode"] == "OPEN-E-100074"
    assert (await bank.approve(PK="AAAA"))["errorCode"] == "OPEN-E-100074"
    assert (await bank.approve(ApplicationID="other"))["errorCode"] == "OPEN-E-100001"


async def test_both_spellings_of_the_escaped_fields_are_understood(bank: Merchant) -> None:
    key = bank.identity.public_key_text
    for text in (key, key.replace("+", "%2b").replace("=", "%3d"), key.replace("+", "%2B")):
        assert (await bank.approve(PK=text))["errorCode"] == "OPEN-E-000000"


async def test_a_missing_or_unknown_token_is_refused_unsigned(bank: Merchant) -> None:
    assert await gateway_code(bank, AppAccessToken="") == "OPEN-E-100071"
    assert await gateway_code(bank, AppAccessToken="0" * 32) == "OPEN-E-100073"
    assert await gateway_code(bank, ApplicationID="other") == "OPEN-E-100001"


async def test_a_new_token_leaves_the_old_one_alive_until_its_time(open_bank: Opened) -> None:
    bank = await open_bank()
    old = bank.token
    await bank.approve()
    bank.token, new = old, bank.token
    await bank.member("a", "00")
    bank.token = new
    await bank.control("DELETE", "tokens")
    assert await gateway_code(bank) == "OPEN-E-100073"


async def test_a_token_ends_after_its_life(open_bank: Opened) -> None:
    bank = await open_bank(token_life_s=1e-6)
    assert await gateway_code(bank) == "OPEN-E-100073"


async def test_a_request_changed_on_the_way_is_refused_unsigned(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    body = bank.body(bank.top_up_request(member, 100, 0, "T1"), bank.new_serial())
    signature = bank.identity.sign(canonical_string(body))
    changed = body | {"MemberFillAmt": "100000.00", "RsaSign": signature}
    answer = (await bank.http.post("/api/group/MemberRechargeThirdPay", json=changed)).json()
    assert answer["errorCode"] == "OPEN-E-100074"
    unsigned = (await bank.http.post("/api/group/MemberRechargeThirdPay", json=body)).json()
    assert unsigned["errorCode"] == "OPEN-E-100074"
    assert await bank.balances(member) == (0, 0, 0)


async def test_a_signature_with_line_breaks_is_accepted(bank: Merchant) -> None:
    await bank.member("a", "00")
    body = bank.body(MemberBalances(TranNetMemberCode="a"), bank.new_serial())
    signature = bank.identity.sign(canonical_string(body))
    broken = signature[:76] + "\r\n" + signature[76:] + "\n"
    answer = (await bank.http.post("/api/group/QueryCustAcctId", json=body | {"RsaSign": broken})).json()
    assert answer["TxnReturnCode"] == "000000"


async def test_every_value_of_an_answer_is_text(bank: Merchant) -> None:
    member = await bank.member("a", "00")
    await bank.top_up(member, 100)
    answer = await bank.raw(MemberBalances(TranNetMemberCode="a"))
    assert all(isinstance(value, str) for value in answer.values())
    assert answer["SubAcctAvailBal"] == "1.00"
    assert answer["tokenExpiryFlag"] == "false"


async def test_an_unknown_service_is_refused_by_the_gateway(bank: Merchant) -> None:
    body = bank.body(MemberBalances(TranNetMemberCode="a"), bank.new_serial())
    answer = (await bank.post("NoSuchService", body)).json()
    assert answer["errorCode"] == "OPEN-E-100003"


async def test_what_is_no_json_object_or_too_large_is_an_http_error(bank: Merchant) -> None:
    address = "/api/group/QueryCustAcctId"
    for content in (b"{", b"[]", b"\xff", b"[" * 100_000):
        assert (await bank.http.post(address, content=content)).status_code == 400
    large = json.dumps({"a": "x" * (2 * 1024 * 1024)}).encode()
    assert (await bank.http.post(address, content=large)).status_code == 413
