"""Notes where seals and audit trail end, where the database's owner cannot reach it, and compares it with the books.

The log is one such place where it is kept elsewhere (docs/seals.md). A file that is only ever added to, or a URL, is
compared too: with the books when the service starts and before each further note, and by `jzb verify`. Promises to stop
no running service, whatever becomes of a note.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import httpx

from ledger import LedgerBehind, Reads
from service.settings import AnchorSettings
from service.telemetry import events

EVERY_S = 3600.0
AGAIN_S = 60.0
"""After a note that could not be made."""
PATIENCE_S = 1.0
"""A note that takes longer is left out: at the end of a process it must not keep it."""
ANSWER_S: Final = 5.0
"""How long a URL may take."""
TAIL_BYTES: Final = 64 * 1024
"""So much of a file's end is read, which is some hundred notes."""


@dataclass(frozen=True, slots=True)
class Note:
    """The end of a chain of seals; the time as ISO 8601, the digest in hex.

    ``entry`` is the number of the audit trail's last entry, 0 without any, and ``entry_digest`` its digest.
    """

    platform: str
    batch: int
    at: str
    digest: str
    entry: int = 0
    entry_digest: str = ""

    @classmethod
    def last_of(cls, platform: str, text: str) -> Note | None:
        """The last note of a platform among lines of JSON; a line that is cut off is none."""
        for line in reversed(text.splitlines()):
            try:
                found = json.loads(line)
                if found["platform"] == platform:
                    end = (platform, int(found["batch"]), str(found["at"]), str(found["digest"]))
                    # Notes of older releases have no entry.
                    return cls(*end, int(found.get("entry", 0)), str(found.get("entry_digest", "")))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return None


class AnchorAway(OSError):
    """The URL of an anchor does not answer."""


class Place(Protocol):
    """Where notes are kept."""

    name: str

    async def last(self, platform: str) -> Note | None:
        """The last note of a platform. Raises OSError."""

    async def add(self, note: Note) -> None:
        """Add a note. Raises OSError."""


class NoteFile:
    """A file that notes are appended to, one a line: on another machine, or where the system lets nobody change it."""

    def __init__(self, path: Path) -> None:
        self.name = f"the file {path}"
        self._path = path

    async def last(self, platform: str) -> Note | None:
        """See `Place`."""
        return Note.last_of(platform, await asyncio.to_thread(self._tail))

    async def add(self, note: Note) -> None:
        """See `Place`."""
        await asyncio.to_thread(self._append, json.dumps(asdict(note)) + "\n")

    def _tail(self) -> str:
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def _append(self, line: str) -> None:
        # One write of a short line is never mixed with another process's.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class NoteUrl:
    """A URL that takes each note by POST, and gives back the last ones by GET with ``?platform=``, one a line."""

    name = "the URL of JZB_ANCHOR__URL"

    def __init__(self, url: str) -> None:
        self._url = url

    async def last(self, platform: str) -> Note | None:
        """See `Place`. Raises `AnchorAway`."""
        answer = await self._answer("GET", params={"platform": platform})
        return None if answer.status_code == httpx.codes.NOT_FOUND else Note.last_of(platform, answer.text)

    async def add(self, note: Note) -> None:
        """See `Place`. Raises `AnchorAway`."""
        await self._answer("POST", json=asdict(note))

    async def _answer(self, method: str, **content: Any) -> httpx.Response:
        try:
            async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
                answer = await client.request(method, self._url, **content)
        except httpx.HTTPError as failure:
            # Its text may have the address, which may have a password.
            raise AnchorAway(f"{self.name} does not answer: {type(failure).__name__}") from None
        if answer.is_success or (method == "GET" and answer.status_code == httpx.codes.NOT_FOUND):
            return answer
        raise AnchorAway(f"{self.name} answers {method} with {answer.status_code}")


def places_of(settings: AnchorSettings) -> list[Place]:
    """The places that are set."""
    places: list[Place] = []
    if settings.file is not None:
        places.append(NoteFile(settings.file))
    if settings.url is not None:
        places.append(NoteUrl(settings.url.get_secret_value()))
    return places


async def contradiction(reads: Reads, place: Place) -> str:
    """How the books contradict the last note of a place; empty where they do not. Raises OSError, `LedgerError`."""
    noted = await place.last(reads.platform)
    if noted is None:
        return ""
    digest = await reads.digest_of(noted.batch)
    if digest is None or digest.hex() != noted.digest:
        return (
            f"{place.name} has noted batch {noted.batch} with digest {noted.digest}, and these books have"
            f" {'no such batch' if digest is None else digest.hex()}"
        )
    entry = await reads.digest_of_entry(noted.entry) if noted.entry else None
    if noted.entry and (entry is None or entry.hex() != noted.entry_digest):
        return (
            f"{place.name} has noted entry {noted.entry} of the audit trail with digest {noted.entry_digest}, and this"
            f" trail has {'no such entry' if entry is None else entry.hex()}"
        )
    return ""


async def require_agreement(reads: Reads, places: Sequence[Place]) -> None:
    """Raise `LedgerBehind` for books that contradict the last note of a place, OSError for a file that cannot be read.

    A URL that does not answer is logged, and asked again before the next note.
    """
    for place in places:
        try:
            found = await contradiction(reads, place)
        except AnchorAway as away:
            events.ANCHOR_NOT_REACHED.log(place=place.name, why=str(away))
            continue
        if found:
            raise LedgerBehind(
                f"{found}: an older copy or server has come back, or the end of the books was cut off or made anew. Run"
                " `jzb verify`. Restored books are noted anew at the end of `jzb catch-up`"
            )


class Anchor:
    """When this process last noted a digest, or found none to note; its start until then."""

    def __init__(self) -> None:
        self._noted_at_s = time.monotonic()

    @property
    def age_s(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._noted_at_s

    def note(self) -> None:
        """It was now."""
        self._noted_at_s = time.monotonic()


@asynccontextmanager
async def anchored(reads: Reads, places: Sequence[Place] = ()) -> AsyncIterator[Anchor]:
    """Note the last digest now, every hour for the life of the block, and at its end."""
    anchor = Anchor()
    async with asyncio.TaskGroup() as tasks:
        noting = tasks.create_task(_run(reads, places, anchor), name="anchor")
        try:
            yield anchor
        finally:
            noting.cancel()
            await _note(reads, places, anchor, ANSWER_S)


async def _run(reads: Reads, places: Sequence[Place], anchor: Anchor) -> None:
    while True:
        is_noted = await _note(reads, places, anchor, 2 * ANSWER_S)
        await asyncio.sleep(EVERY_S if is_noted else AGAIN_S)


async def _note(reads: Reads, places: Sequence[Place], anchor: Anchor, places_s: float) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            note = await _end_of(reads)
    except Exception as failure:
        events.SEAL_NOT_READ.log(why=type(failure).__name__)
        return False
    if note is not None:
        events.SEALED.log(
            batch=note.batch, at=note.at, digest=note.digest, entry=note.entry, entry_digest=note.entry_digest
        )
        for place in places:
            try:
                async with asyncio.timeout(places_s):
                    if found := await contradiction(reads, place):
                        # What was noted stays the last note: nothing covers it up.
                        events.ANCHOR_DIFFERS.log(what=found)
                        return False
                    await place.add(note)
            except Exception as failure:
                events.ANCHOR_NOT_REACHED.log(place=place.name, why=type(failure).__name__)
                return False
    anchor.note()
    return True


async def note_anew(reads: Reads, places: Sequence[Place]) -> None:
    """Note where the chain of books ends that are known to contradict the last note: restored ones that have caught up.

    Raises OSError, `LedgerError`.
    """
    note = await _end_of(reads)
    if note is not None:
        for place in places:
            await place.add(note)


async def _end_of(reads: Reads) -> Note | None:
    """Where these books end, None while nothing is sealed."""
    # The trail first: an entry that comes in between is in the next note.
    entry, seal = await reads.last_entry(), await reads.last_seal()
    if seal is None:
        return None
    end = (reads.platform, seal.batch, seal.at.isoformat(), seal.digest.hex())
    return Note(*end) if entry is None else Note(*end, entry.number, entry.digest.hex())
