"""Without Prometheus the tests of this folder are skipped, and say so."""

from __future__ import annotations

import pytest

from tests.world.prometheus import MISSING


@pytest.fixture(scope="session", autouse=True)
def needs_prometheus() -> None:
    if MISSING is not None:
        pytest.skip(f"{MISSING} is not installed (Debian: apt install prometheus)")
