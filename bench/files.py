"""What a large reconciliation file costs the process that serves it: `python -m bench.files [rows]`.

Makes a file of transactions as the bank does (GB18030, ZIP, 3DES), reads it as `FileService.FetchFile` does, and prints
how long that took, the most memory that the serving process and the one that reads took, and how late the event loop
was meanwhile, beside how late it is when nothing is read. Nothing of it is a promise about another machine.
"""

from __future__ import annotations

import asyncio
import base64
import io
import resource
import sys
import time
import zipfile
from datetime import date

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.padding import PKCS7

from bankclient import SealedFile, opened

ROWS = 1_000_000
KEY = b"0123456789abcdefghijklmn"
TICK_S = 0.005


def sealed(rows: int) -> SealedFile:
    """A file of so many transactions."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("JY.txt", "w") as entry:
        for number in range(rows):
            buyer, seller = number % 5000, number % 700
            second = number % 86400
            at = f"{second // 3600:02}{second % 3600 // 60:02}{second % 60:02}"
            line = (
                f"{number}&确认付款&buyer{buyer}&9930000000{buyer:06}&某某商行&seller{seller}&9930000001{seller:06}"
                f"&某某公司&{number % 9000 + 100}.00&0.01&20261129&{at}&261129{number:010}&X28550261129{number:010}"
                f"&运费&O{number}&\n"
            )
            entry.write(line.encode("gb18030"))
    padder = PKCS7(64).padder()
    padded = padder.update(packed.getvalue()) + padder.finalize()
    cipher = Cipher(TripleDES(KEY), modes.CBC(bytes(range(1, 9)))).encryptor()
    content = cipher.update(padded) + cipher.finalize()
    return SealedFile("JY", date(2026, 11, 29), "JY", content, base64.b64encode(KEY).decode(), 2**32, rows)


async def lateness(until: asyncio.Event) -> list[float]:
    """How late a timer of the event loop was each time, in seconds, sorted."""
    late = []
    while not until.is_set():
        began = time.perf_counter()
        await asyncio.sleep(TICK_S)
        late.append(time.perf_counter() - began - TICK_S)
    return sorted(late)


def told(name: str, late: list[float]) -> str:
    """One line about an event loop."""
    p50, p99, most = (one * 1000 for one in (late[len(late) // 2], late[int(len(late) * 0.99)], late[-1]))
    return f"event loop {name}: late by {p50:.1f} ms (p50), {p99:.1f} ms (p99), {most:.1f} ms (most)"


async def main(rows: int) -> None:
    """Read the file once, and print."""
    file = sealed(rows)
    print(f"{rows} rows, {len(file.content) / 2**20:.0f} MiB encrypted")
    idle, done = asyncio.Event(), asyncio.Event()
    watch = asyncio.create_task(lateness(idle))
    await asyncio.sleep(3)
    idle.set()
    print(told("idle", await watch))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = asyncio.create_task(lateness(done))
    began = time.perf_counter()
    async with opened(file) as opened_file:
        examined_s = time.perf_counter() - began
        found = 0
        async for batch in opened_file.batches:
            found += len(batch)
    took_s = time.perf_counter() - began
    done.set()
    print(told("while it is read", await watch))
    assert (found, opened_file.is_complete) == (rows, True)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"gone through in {examined_s:.1f} s, all rows after {took_s:.1f} s")
    print(f"memory: {(most - before) / 1024:.0f} MiB more here, {_children_mib():.0f} MiB in the process that reads")


def _children_mib() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
