"""A merchant on the real wire, for tests of the sandbox: signs, posts, verifies, and after every
request checks that the bank's books add up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx
import pytest

from bankclient import Around, BankClient, BankSettings
from bankclient.canonical import canonical_string
from bankclient.messages import (
    Booked,
    MemberBalances,
    MemberBalancesReply,
    MemberPayment,
    OpenMember,
    Reply,
    Request,
    TopUp,
    TransactionStatus,
    to_wire,
)
from bankclient.serials import consumer_serial
from bankclient.signing import BankCertificate, Identity, escape_for_approve
from sandbox import Sandbox, books_view

R = TypeVar("R", bound=Reply)

PLATFORM = "9930"
FEE_ACCOUNT = "9930000000000003"

PaymentFlag = Literal["1", "2", "3", "6", "9"]
PropertyFlag = Literal["00", "SH"]


class Refusal(Exception):
    """The bank's signed refusal."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.code = str(answer["TxnReturnCode"])
        self.message = str(answer["TxnReturnMsg"])
        super().__init__(f"{self.code} {self.message}")


class Member:
    """A member opened by a test."""

    def __init__(self, code: str, sub_acct_no: str) -> None:
        self.code = code
        self.no = sub_acct_no


class Merchant:
    """One platform's side of the wire. Every answer is verified unless asked for raw."""

    def __init__(self, fields: Mapping[str, Any], sandbox: Sandbox | None = None) -> None:
        self.sandbox = sandbox
        self.channels_may_be_owed = False
        self.fields = fields
        self.identity = Identity.load(Path(fields["pfx_path"]), fields["pfx_password"])
        self.bank = BankCertificate.load(Path(fields["bank_certificate_path"]))
        self.http = httpx.AsyncClient(base_url=fields["base_url"], timeout=10, trust_env=False)
        self.token = ""
        self._number = 0

    async def approve(self, **changed: str) -> dict[str, Any]:
        body = {
            "ApplicationID": self.fields["app_id"],
            "RandomNumber": "482915",
            "SDKType": "api",
        }
        signature = escape_for_approve(self.identity.sign(canonical_string(body)))
        body |= {
            "RsaSign": signature,
            "PK": escape_for_approve(self.identity.public_key_text),
            "DN": escape_for_approve(self.identity.distinguished_name()),
        }
        answer = (await self.http.post("/api/approveDev", json=body | changed)).json()
        if "appAccessToken" in answer:
            assert self.bank.verify(canonical_string(answer), answer["RsaSign"])
            self.token = answer["appAccessToken"]
        return dict(answer)

    def new_serial(self) -> str:
        self._number += 1
        return consumer_serial(self.fields["uid"], date(2026, 1, 5), self._number)

    def body(self, request: Request[Any], serial: str) -> dict[str, Any]:
        """A whole request body, not yet signed."""
        return {
            "ApplicationID": self.fields["app_id"],
            "AppAccessToken": self.token,
            "SDKType": "api",
            "RequestMode": "json",
            "TxnTime": "20260105093000000",
            "TxnCode": f"KFEJZB{request.code}",
            "MrchCode": self.fields["mrch_code"],
            "FundSummaryAcctNo": self.fields["fund_summary_acct_no"],
            "CnsmrSeqNo": serial,
            **to_wire(request),
        }

    async def post(self, service_id: str, body: Mapping[str, Any]) -> httpx.Response:
        """Sign a body and send it."""
        signature = self.identity.sign(canonical_string(body))
        path = f"/api/group/{service_id}"
        return await self.http.post(path, json={**body, "RsaSign": signature})

    async def raw(self, request: Request[Any], serial: str | None = None) -> dict[str, Any]:
        """The answer as it came, not verified."""
        assert request.service_id is not None
        body = self.body(request, serial or self.new_serial())
        response = await self.post(request.service_id, body)
        self.check_books()
        return dict(response.json())

    async def call(self, request: Request[R], serial: str | None = None) -> R:
        """The typed reply of a verified answer, or `Refusal`."""
        serial = serial or self.new_serial()
        answer = await self.raw(request, serial)
        assert self.bank.verify(canonical_string(answer), answer["RsaSign"]), answer
        assert answer["CnsmrSeqNo"] == serial
        if answer["TxnReturnCode"] != "000000":
            raise Refusal(answer)
        reply = type(request).reply.from_wire(answer)
        return reply  # type: ignore[return-value]  # a class variable cannot say that it is R

    def check_books(self) -> None:
        """Sum of all sub-accounts = pooled real money + what the channels owe in transit."""
        if self.sandbox is None:
            return
        view: Any = books_view(self.sandbox.bank)
        members = sum(one["available"] + one["frozen"] + one["escrow"] for one in view["sub_accounts"].values())
        functional = dict(view["functional"])
        assert functional.pop("5") == sum(one["frozen"] + one["escrow"] for one in view["sub_accounts"].values())
        assert functional.pop("11") == view["pooled"]
        assert functional.pop("7") == -view["owed"]
        assert members + sum(functional.values()) == view["pooled"] + view["owed"]
        assert view["owed"] >= 0 or self.channels_may_be_owed
        assert min(functional.values()) >= 0
        for one in view["sub_accounts"].values():
            assert 0 <= one["withdrawable"] <= one["available"]

    async def member(self, code: str, kind: PropertyFlag) -> Member:
        request = OpenMember(FunctionFlag="1", TranNetMemberCode=code, MemberProperty=kind)
        return Member(code, (await self.call(request)).SubAcctNo)

    async def top_up(self, member: Member, amount_fen: int, fee_fen: int = 0) -> str:
        """A 6129; returns its serial."""
        serial = self.new_serial()
        await self.call(self.top_up_request(member, amount_fen, fee_fen, f"T{serial[-10:]}"), serial)
        return serial

    def top_up_request(
        self, member: Member, amount_fen: int, fee_fen: int, order_no: str, remark: str | None = None
    ) -> TopUp:
        return TopUp(
            MemberSubAcctNo=member.no,
            TranWebMemberId=member.code,
            MemberFillAmt=amount_fen,
            Commission=fee_fen,
            PayChannelType="0001",
            PayChannelAssignMerNo="M1",
            PayChannelTranSeqNo=order_no,
            EjzbOrderNo=order_no,
            Remark=remark,
        )

    def payment(
        self,
        flag: PaymentFlag,
        payer: Member,
        payee: Member,
        amount_fen: int,
        fee_fen: int = 0,
        order_no: str | None = None,
        remark: str | None = None,
    ) -> MemberPayment:
        return MemberPayment(
            FunctionFlag=flag,
            OutSubAcctNo=payer.no,
            OutMemberCode=payer.code,
            InSubAcctNo=payee.no,
            InMemberCode=payee.code,
            TranAmt=amount_fen,
            TranFee=fee_fen,
            OrderNo=order_no,
            Remark=remark,
        )

    async def pay(
        self,
        flag: PaymentFlag,
        payer: Member,
        payee: Member,
        amount_fen: int,
        fee_fen: int = 0,
        order_no: str | None = None,
        remark: str | None = None,
        serial: str | None = None,
    ) -> Booked:
        return await self.call(self.payment(flag, payer, payee, amount_fen, fee_fen, order_no, remark), serial)

    async def balances(self, member: Member) -> tuple[int, int, int]:
        """Available, withdrawable, frozen, asked by 6037."""
        reply: MemberBalancesReply = await self.call(MemberBalances(TranNetMemberCode=member.code))
        return reply.SubAcctAvailBal, reply.SubAcctCashBal, reply.SubAcctFreezeAmt

    async def status(self, flag: Literal["2", "3", "4"], serial: str) -> str:
        """TranStatus by 6110."""
        request = TransactionStatus(FunctionFlag=flag, TranNetSeqNo=serial)
        return (await self.call(request)).TranStatus

    async def control(self, method: str, path: str, command: Any = None) -> Any:
        response = await self.http.request(method, f"/control/{path}", json=command)
        response.raise_for_status()
        return json.loads(response.text)

    async def refusal(self, request: Request[Any], serial: str | None = None) -> str:
        """The code of a refusal that must come."""
        with pytest.raises(Refusal) as caught:
            await self.call(request, serial)
        return caught.value.code

    def view(self) -> Any:
        """All balances, as the control plane shows them."""
        assert self.sandbox is not None
        return books_view(self.sandbox.bank)

    def functional(self, suffix: str) -> int:
        return int(self.view()["functional"][suffix])

    async def aclose(self) -> None:
        await self.http.aclose()


@asynccontextmanager
async def client_of(bank: Merchant, *, around: Around | None = None, **changed: Any) -> AsyncIterator[BankClient]:
    """The bank's client with the settings of that merchant, some of them changed."""
    numbers = iter(range(10**9, 10**9 + 1000))

    async def serial() -> str:
        return consumer_serial(str(bank.fields["uid"]), date(2026, 1, 5), next(numbers))

    settings = BankSettings(**{**bank.fields, **changed})
    observed: dict[str, Any] = {} if around is None else {"around": around}
    async with BankClient(settings, query_serial=serial, **observed) as client:
        yield client
