"""The texts the bank sends and the codes in them, for payments and withdrawals (6082), cards (6066) and mobiles (6083).

A sandbox has no phone: `GET /control/sms` shows every text with its code. Promises that a code is good for what it was
asked for, for one member, and once.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sandbox import codes
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.records import SmsCode

WITHDRAWAL: Final = "withdrawal"
PAYMENT: Final = "payment"
CARD: Final = "card"
MOBILE: Final = "mobile"

LIFE_S: Final = 300.0
"""How long a code of 6082 lives in the sandbox; the bank's own life is not public (notes.md 10)."""


def send(
    context: Context, purpose: str, sub_acct_no: str, *, mobile: str = "", named: str = "", life_s: float = LIFE_S
) -> SmsCode:
    """Send a new code for one purpose. ``named`` is the payee it authorises, where the bank wants one named."""
    number = context.store.next_number("sms")
    sent = SmsCode(
        order_no=f"SMS{context.today}{number:08d}",
        purpose=purpose,
        sub_acct_no=sub_acct_no,
        mobile=mobile,
        code=f"{secrets.randbelow(10**6):06d}",
        sent_at=context.now.isoformat(),
        ends_at=(context.now + timedelta(seconds=life_s)).isoformat(),
        named=named,
    )
    context.store.put(sent)
    return sent


def use(context: Context, purpose: str, sub_acct_no: str, order_no: str, code: str) -> SmsCode:
    """Take a code as proof, once. Refuses one of another member or purpose, a wrong one, and one past its end."""
    sent = context.store.get(SmsCode, order_no)
    if sent is None or (sent.purpose, sent.sub_acct_no) != (purpose, sub_acct_no):
        raise Refused(codes.NO_VERIFICATION)
    if sent.used or datetime.fromisoformat(sent.ends_at) < context.now:
        raise Refused(codes.INSTRUCTION_EXPIRED)
    if sent.code != code:
        raise Refused(codes.WRONG_SMS_CODE)
    context.store.put(replace(sent, used=True))
    return sent
