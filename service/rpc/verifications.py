"""VerificationService: the codes that authorise money calls (6082)."""

from __future__ import annotations

from bankclient import RequestSmsCode
from jzb.v1 import verification_pb2, verification_pb2_grpc
from service import problems
from service.questions.asking import told_once
from service.rpc.desk import Context, Desk
from service.serials import new_serial

TRAN_TYPES = {verification_pb2.SMS_PURPOSE_WITHDRAWAL: "1", verification_pb2.SMS_PURPOSE_PAYMENT: "2"}


class Verifications(verification_pb2_grpc.VerificationServiceServicer):
    """See protos/jzb/v1/verification.proto."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def RequestSmsCode(
        self, request: verification_pb2.RequestSmsCodeRequest, context: Context
    ) -> verification_pb2.RequestSmsCodeResponse:
        """6082. Nothing is reserved: a lost answer costs a text, and the next one brings a new code."""
        rules, bank = self._desk.settings.rules, self._desk.settings.bank
        if "sms" not in rules.verification:
            raise problems.not_enabled(
                RequestSmsCode.code,
                "verification by SMS is not switched on for this platform",
                "JZB_RULES__VERIFICATION",
            )
        payees = [request.payee_member_id] if request.payee_member_id else []
        facts = await self._desk.facts(others=[request.member_id, *payees])
        named = {rules.sms_payee_field: facts.sub_account(payees[0])} if payees else {}
        message = RequestSmsCode.model_validate(
            {
                "TranType": TRAN_TYPES[request.purpose],
                "TranNetMemberCode": request.member_id,
                "SubAcctNo": facts.sub_account(request.member_id),
                "TranAmt": request.amount_fen,
                "OrderNo": request.order_no or None,
                **named,
            }
        )
        serial = await new_serial(bank.uid, self._desk.numbers)
        reply = await told_once(self._desk.bank, message, serial)
        return verification_pb2.RequestSmsCodeResponse(
            message_order_no=reply.MessageOrderNo, mobile=reply.ReceiveMobile
        )
