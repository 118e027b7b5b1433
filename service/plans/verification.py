"""Which of an interface's three flavours a request goes by: not verified, by SMS code, by payment password.

The flavours of a family say the same to the bank but for the proof they carry (notes.md 4), so a plan names the family
and the fields once. Codes and signatures live in the message alone: nothing here stores them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bankclient import (
    BatchPayment,
    BatchPaymentByPassword,
    BatchPaymentBySms,
    Freeze,
    FreezeByPassword,
    FreezeBySms,
    MemberPayment,
    MemberPaymentByPassword,
    MemberPaymentBySms,
    PayFrozen,
    PayFrozenByPassword,
    PayFrozenBySms,
    Request,
    Withdraw,
    WithdrawByPassword,
    WithdrawBySms,
)
from jzb.v1 import verification_pb2

Mode = Literal["none", "sms", "password"]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of money call with its three interfaces."""

    none: type[Request[Any]]
    sms: type[Request[Any]]
    password: type[Request[Any]]


PAYMENT = Family(MemberPayment, MemberPaymentBySms, MemberPaymentByPassword)
FREEZE = Family(Freeze, FreezeBySms, FreezeByPassword)
PAY_FROZEN = Family(PayFrozen, PayFrozenBySms, PayFrozenByPassword)
BATCH = Family(BatchPayment, BatchPaymentBySms, BatchPaymentByPassword)
WITHDRAWAL = Family(Withdraw, WithdrawBySms, WithdrawByPassword)


def mode_of(verification: verification_pb2.Verification) -> Mode:
    """The mode that a request asks for; none when it says nothing."""
    mode: Mode | None = verification.WhichOneof("method")
    return mode or "none"


def verified(family: Family, verification: verification_pb2.Verification, **fields: Any) -> Request[Any]:
    """The family's message of the request's mode, with its proof."""
    mode = mode_of(verification)
    if mode == "none":
        return family.none(**fields)
    return getattr(family, mode)(**fields, **proof(verification))  # type: ignore[no-any-return]  # by name


def proof(verification: verification_pb2.Verification) -> dict[str, str]:
    """The fields that carry the proof."""
    if mode_of(verification) == "sms":
        sms = verification.sms
        return {"MessageOrderNo": sms.message_order_no, "MessageCheckCode": sms.code}
    return {"WebSign": verification.password.signature}
