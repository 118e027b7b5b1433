"""Whoever owns the database, or an old copy of it, wants books that have lost their end to be taken for whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger import LedgerBehind
from service.process.anchor import Note, NoteFile
from service.process.server import running
from tests.world.cli import Ended, jzb
from tests.world.marketplace import SEAL_KEY, Marketplace, service_settings
from tests.world.process import until

CUT = (
    "SET session_replication_role = replica",
    "DELETE FROM seal WHERE batch = (SELECT max(batch) FROM seal)",
    "UPDATE platform SET batches = batches - 1",
)


class Notes:
    """A server that keeps what it is sent, by POST, and gives it back."""

    def __init__(self) -> None:
        notes = self.lines = [b""]
        notes.clear()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notes.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(201)
                self.end_headers()

            def do_GET(self) -> None:
                assert self.path.endswith("?platform=9930")
                self.send_response(200 if notes else 404)
                self.end_headers()
                self.wfile.write(b"\n".join(notes))

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/notes"


async def verified_beside(anchor: dict[str, str], dsn: str) -> Ended:
    """`jzb verify` with an anchor."""
    ((name, value),) = anchor.items()
    environment = {
        "DATABASE_URL": dsn,
        "JZB_BANK__MRCH_CODE": "9930",
        "JZB_SEAL__KEYS": f'["{SEAL_KEY}"]',
        f"JZB_ANCHOR__{name.upper()}": value,
    }
    return await jzb("verify", environment=environment)


@pytest.fixture
def notes() -> Iterator[Notes]:
    found = Notes()
    serving = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    yield found
    found.server.shutdown()
    serving.join()
    found.server.server_close()


def cut(dsn: str) -> None:
    """Take the last batch away, as who owns the database can, and make everything else agree."""
    with psycopg.connect(dsn) as connection:
        for statement in CUT:
            connection.execute(statement)


@pytest.fixture(params=["file", "url"])
def anchor(request: pytest.FixtureRequest, tmp_path: Path, notes: Notes) -> dict[str, str]:
    """The settings of a place for notes."""
    return {"file": str(tmp_path / "anchor")} if request.param == "file" else {"url": notes.url}


async def test_books_that_have_lost_their_end_are_not_served_and_verify_says_so(
    shop: Marketplace, anchor: dict[str, str]
) -> None:
    settings = service_settings(shop.dsn, shop.sandbox, anchor=anchor)
    await shop.buyer("buyer", 100_00)
    async with running(settings):
        pass
    async with running(settings):
        pass
    cut(shop.dsn)
    with pytest.raises(LedgerBehind, match=r"has noted batch .* and these books have no such batch"):
        async with running(settings):
            raise AssertionError("it ran")
    verified = await verified_beside(anchor, shop.dsn)
    assert verified.status == 1
    assert "an anchor contradicts the books" in verified.out


async def test_books_that_were_made_anew_are_not_served(shop: Marketplace, tmp_path: Path) -> None:
    place = NoteFile(tmp_path / "anchor")
    await place.add(Note("9930", 1, "2026-11-30T00:00:00+00:00", "00" * 32))
    with pytest.raises(LedgerBehind, match="has noted batch 1 with digest 0000"):
        async with running(service_settings(shop.dsn, shop.sandbox, anchor={"file": str(tmp_path / "anchor")})):
            raise AssertionError("it ran")


async def test_a_file_is_only_added_to_and_each_platform_has_its_own_notes(tmp_path: Path) -> None:
    path = tmp_path / "anchor"
    place = NoteFile(path)
    assert await place.last("9930") is None
    for number in range(1, 1000):
        await place.add(Note("9930" if number % 2 else "8888", number, "2026-11-30T00:00:00+00:00", f"{number:064x}"))
    with path.open("a") as file:
        file.write("[" * 5000 + "\n")
        file.write('{"platform": "9930", "batch": 1')
    last = await place.last("9930")
    assert last is not None
    assert last.batch == 999
    assert len(path.read_text().splitlines()) == 1001


async def test_a_url_that_does_not_answer_stops_no_service(shop: Marketplace, unused_tcp_port: int) -> None:
    url = f"http://user:hush@127.0.0.1:{unused_tcp_port}/notes"
    async with running(service_settings(shop.dsn, shop.sandbox, anchor={"url": url})):
        pass


async def test_a_file_that_cannot_be_read_does(shop: Marketplace, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        async with running(service_settings(shop.dsn, shop.sandbox, anchor={"file": str(tmp_path)})):
            raise AssertionError("it ran")


async def test_a_note_says_which_books_end_where(shop: Marketplace, notes: Notes) -> None:
    async with running(service_settings(shop.dsn, shop.sandbox, anchor={"url": notes.url})):
        pass
    seal = await shop.service.components.reads.last_seal()
    assert seal is not None
    assert json.loads(notes.lines[-1]) == {
        "platform": "9930",
        "batch": seal.batch,
        "at": seal.at.isoformat(),
        "digest": seal.digest.hex(),
        "entry": 0,
        "entry_digest": "",
    }


CUT_TRAIL = (
    "SET session_replication_role = replica",
    "DELETE FROM audit_entry WHERE number > 2",
)


def cut_trail(dsn: str) -> None:
    """Take the trail's end away: what is left agrees with itself, and with its MACs."""
    with psycopg.connect(dsn) as connection:
        for statement in CUT_TRAIL:
            connection.execute(statement)


async def audited(shop: Marketplace) -> None:
    """Two calls for few, with two entries each."""
    paid = await shop.top_up("buyer", 1_00)
    for _ in range(2):
        await shop.resolve(paid.operation_id)


async def test_a_trail_that_has_lost_its_end_is_not_served_and_verify_says_so(
    shop: Marketplace, anchor: dict[str, str]
) -> None:
    settings = service_settings(shop.dsn, shop.sandbox, anchor=anchor)
    await shop.buyer("buyer")
    await audited(shop)

    async def is_written() -> bool:
        entry = await shop.service.components.reads.last_entry()
        return entry is not None and entry.number == 4

    await until(is_written, "both calls are on record")
    async with running(settings):
        pass
    cut_trail(shop.dsn)
    with pytest.raises(LedgerBehind, match=r"has noted entry 4 of the audit trail .* and this trail has no such entry"):
        async with running(settings):
            raise AssertionError("it ran")
    verified = await verified_beside(anchor, shop.dsn)
    assert verified.status == 1
    assert "entry 4 of the audit trail" in verified.out


async def test_a_process_whose_own_entries_are_gone_writes_no_more_and_its_calls_do_not_act(shop: Marketplace) -> None:
    await shop.buyer("buyer")
    await audited(shop)
    paid = await shop.top_up("buyer", 1_00)
    cut_trail(shop.dsn)
    refused = await shop.refusal(shop.resolve(paid.operation_id))
    assert refused.reason == "SERVICE_FAULT"
    entry = await shop.service.components.reads.last_entry()
    assert entry is not None
    assert entry.number == 2, "nothing fills the gap"


async def test_notes_of_older_releases_are_compared_as_far_as_they_go(shop: Marketplace, tmp_path: Path) -> None:
    await shop.buyer("buyer")
    seal = await shop.service.components.reads.last_seal()
    assert seal is not None
    old = {"platform": "9930", "batch": seal.batch, "at": seal.at.isoformat(), "digest": seal.digest.hex()}
    (tmp_path / "anchor").write_text(json.dumps(old) + "\n")
    async with running(service_settings(shop.dsn, shop.sandbox, anchor={"file": str(tmp_path / "anchor")})):
        pass
