"""What is personal in a card, and the search for it in all that a service writes. All of it is made up."""

from __future__ import annotations

import base64
import binascii
import hashlib

import psycopg
from psycopg import sql

CARD = "6222031415926535897"
HOLDER = "纳兰性德"
IDENTITY = "TEST19550119271"
MOBILE = "13924681357"
NEW_MOBILE = "13927182818"
PERSONAL = (CARD, HOLDER, IDENTITY, MOBILE, NEW_MOBILE)


def shown(text: str) -> list[str]:
    """Which personal values a text shows: as they are, escaped, encoded, or by a digest that has no key."""
    found = []
    for value in PERSONAL:
        plain = value.encode()
        forms = (
            value,
            value.encode("unicode_escape").decode(),
            str(plain)[2:-1],
            "".join(f"\\{byte:03o}" for byte in plain),
            binascii.hexlify(plain).decode(),
            base64.b64encode(plain).decode().rstrip("=")[:-1],
            hashlib.sha256(plain).hexdigest(),
        )
        if any(form in text for form in forms):
            found.append(value)
    return found


async def everything_in(dsn: str) -> str:
    """All rows of all tables as text."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        tables = await (
            await connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        ).fetchall()
        text: list[str] = []
        for (table,) in tables:
            rows = await connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(table)))
            text.extend(row[0] for row in await rows.fetchall())
        return "\n".join(text)
