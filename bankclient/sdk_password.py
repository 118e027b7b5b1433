"""The form in which the bank's SDK keeps the file user's password in its configuration (transport.md 5.3).

    ${3DES} | Base64( DESede/ECB/PKCS5( password byte, filler byte, password byte, filler byte, ... ) )

The key is a constant of the SDK, so this hides a password from the eye and from nobody else. It is read for whoever
copies a value out of ``config.properties``; the password goes over the wire in clear, so a value in this form is never
to be sent as it is. Errors do not repeat the value.
"""

import base64
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.padding import PKCS7

SDK_PASSWORD: Final = "${3DES}"  # noqa: S105 - what such a value begins with

_KEY: Final = b"1234567890qwertyuiopzdlw"
"""The same for every user of the SDK; no secret."""


def plain_password(text: str) -> str:
    """The password in a value that begins with ``${3DES}``. Raises ValueError for one that cannot be read."""
    try:
        hidden = base64.b64decode(text.removeprefix(SDK_PASSWORD), validate=True)
        decryptor = Cipher(TripleDES(_KEY), modes.ECB()).decryptor()  # noqa: S305 - the bank's own choice
        unpadder = PKCS7(64).unpadder()
        mixed = unpadder.update(decryptor.update(hidden) + decryptor.finalize()) + unpadder.finalize()
        password = mixed[::2].decode("ascii")
    except ValueError:
        raise ValueError(f"begins with {SDK_PASSWORD} and cannot be read: give the plain password") from None
    if not password.isprintable() or not password:
        raise ValueError(f"begins with {SDK_PASSWORD} and holds no password: give the plain one")
    return password
