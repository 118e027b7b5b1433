"""Whether a money request may act: by itself, by an SMS code or by a password signature (quick start 2.5).

The none flavours carry no proof. In the SMS flavours the pair is optional where the catalogue has it so (6085, 6120,
6166): a platform without SMS may leave both out.
"""

from __future__ import annotations

from typing import Any

from bankclient.messages import Request
from sandbox import codes, passwords, sms
from sandbox.context import Context
from sandbox.errors import Refused

BY_SMS = frozenset({"6085", "6101", "6120", "6135", "6166"})
BY_PASSWORD = frozenset({"6006", "6111", "6133", "6134", "6165"})


def prove(context: Context, request: Request[Any], sub_acct_no: str, purpose: str, *, payee: str = "") -> None:
    """Refuse a request without the proof that its interface wants of the member.

    ``payee`` is the sub-account that the code must have been asked for, where 6082 must name it (6101 flags 2, 6, 9).
    """
    if request.code in BY_PASSWORD:
        passwords.use(context, sub_acct_no, str(getattr(request, "WebSign", "")))
    if request.code not in BY_SMS:
        return
    order_no, code = getattr(request, "MessageOrderNo", None), getattr(request, "MessageCheckCode", None)
    if order_no is None and code is None and request.code != "6101":
        return
    if order_no is None or code is None:
        raise Refused(codes.FIELD_INVALID, "MessageOrderNo, MessageCheckCode")
    sent = sms.use(context, purpose, sub_acct_no, order_no, code)
    if payee and sent.named != payee:
        raise Refused(codes.OTHER_SUB_ACCOUNT)
