"""The bank's password page and the signatures it returns, for WebSign of 6006, 6111, 6133, 6134 and 6165.

What the page is asked with is not public (notes.md 4). In the sandbox `POST /control/web-signatures` stands for a
member who types the right password; the signature is good for that member, and once.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace

from sandbox import codes
from sandbox.context import Context
from sandbox.errors import Refused
from sandbox.records import WebSignature

SIGNATURE_BYTES = 128
"""As long as an RSA-1024 signature, which fits the field's 256 characters in Base64."""


def sign(context: Context, sub_acct_no: str) -> str:
    """A new signature of a member."""
    made = WebSignature(base64.b64encode(secrets.token_bytes(SIGNATURE_BYTES)).decode(), sub_acct_no)
    context.store.put(made)
    return made.signature


def use(context: Context, sub_acct_no: str, signature: str) -> None:
    """Take a signature as proof, once."""
    made = context.store.get(WebSignature, signature)
    if made is None or made.sub_acct_no != sub_acct_no or made.used:
        raise Refused(codes.NO_VERIFICATION, "支付密码验签失败")
    context.store.put(replace(made, used=True))
