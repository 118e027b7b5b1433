"""VerificationService: the codes that authorise money calls (6082)."""

from __future__ import annotations

from dataclasses import dataclass

from bankclient import BankClient, RequestSmsCode
from jzb.v1 import options_pb2, verification_pb2, verification_pb2_grpc
from ledger.names import MemberCode
from service import policy, problems
from service.questions.calls import call_once
from service.rpc.context import Context
from service.rpc.facts import MemberFacts
from service.serials import SerialSource
from service.settings import RulesSettings

TRAN_TYPES = {verification_pb2.SMS_PURPOSE_WITHDRAWAL: "1", verification_pb2.SMS_PURPOSE_PAYMENT: "2"}

SCOPES = {
    verification_pb2.SMS_PURPOSE_WITHDRAWAL: options_pb2.SCOPE_MONEY_WITHDRAW,
    verification_pb2.SMS_PURPOSE_PAYMENT: options_pb2.SCOPE_MONEY_PAY,
}
"""What the call needs that a code is for, and so whoever asks for the code."""


@dataclass(frozen=True, kw_only=True)
class Verifications(verification_pb2_grpc.VerificationServiceServicer):
    """See protos/jzb/v1/verification.proto."""

    bank: BankClient
    new_serial: SerialSource
    members: MemberFacts
    rules: RulesSettings

    async def RequestSmsCode(
        self, request: verification_pb2.RequestSmsCodeRequest, context: Context
    ) -> verification_pb2.RequestSmsCodeResponse:
        """6082. Nothing is reserved: a lost answer costs a text, and the next one brings a new code."""
        allowed, scope, rules = policy.present(), SCOPES[request.purpose], self.rules
        if scope not in allowed.scopes:
            raise problems.scope_missing(allowed.caller, allowed.person, policy.scope_name(scope))
        if "sms" not in rules.verification:
            raise problems.not_enabled(
                RequestSmsCode.code,
                "verification by SMS is not switched on for this platform",
                "JZB_RULES__VERIFICATION",
            )
        payees = [MemberCode(request.payee_member_id)] if request.payee_member_id else []
        facts = await self.members.facts(others=[MemberCode(request.member_id), *payees])
        named = {rules.sms_payee_field: facts.sub_account(payees[0])} if payees else {}
        message = RequestSmsCode.model_validate(
            {
                "TranType": TRAN_TYPES[request.purpose],
                "TranNetMemberCode": request.member_id,
                "SubAcctNo": facts.sub_account(MemberCode(request.member_id)),
                "TranAmt": request.amount_fen,
                "OrderNo": request.order_no or None,
                **named,
            }
        )
        reply = await call_once(self.bank, message, await self.new_serial())
        return verification_pb2.RequestSmsCodeResponse(
            message_order_no=reply.MessageOrderNo, mobile=reply.ReceiveMobile
        )
