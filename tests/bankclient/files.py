"""Reconciliation files as the bank makes them: a row of each layout, packed and encrypted."""

from __future__ import annotations

import base64
import io
import zipfile

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

PASSWORD = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u"

CZ = (
    "1&m1&9930000000001000&某某公司&300.00&1.50&20221004&192842&2210044990000001&X285502210040000000001&"
    "服务费&绑卡匹配入金&&"
)

CZ_WITHOUT_NAME = (
    "2&m1&9930000000001000&300.0&0.00&20221004&192842&2210044990000001&X285502210040000000001&服务费&绑卡匹配入金&&"
)

JY = (
    "5&确认付款&m1&9930000000001178&甲&m2&9930000000001068&乙&1.00&0.01&20221004&000004&2210044940000003&"
    "X285502210041424305561&&427191900000000513&"
)

YE = "1&m1&9930000000001000&12.30&&"


def sealed(content: bytes, password: str = PASSWORD) -> bytes:
    """Encrypted as the bank does it, written apart from the code under test."""
    fill = 8 - len(content) % 8
    cipher = Cipher(TripleDES(base64.b64decode(password)), modes.CBC(bytes.fromhex("0102030405060708"))).encryptor()
    return cipher.update(content + bytes([fill]) * fill) + cipher.finalize()


def zipped(*texts: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, text in enumerate(texts):
            archive.writestr(f"{number}.txt", text)
    return packed.getvalue()
