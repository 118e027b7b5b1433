"""A real Prometheus on loopback: scrapes services every second, with our rules, whose times are shortened."""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import socket
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.world.process import until
from tests.world.promql import PROMETHEUS

PROGRAMS = ("prometheus", "promtool")
MISSING = next((name for name in PROGRAMS if shutil.which(name) is None), None)
"""Which of the programs is not installed."""

SHORTER = 20
"""By what the times of rules and alerts are divided here: five minutes are 15 seconds."""
FOR_MAX_S = 10
"""How long an alert waits at most before it fires, and before it ends, however long it is in production."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def shortened(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule with its times divided by `SHORTER`; what it compares with stays."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{math.ceil(int(found[2]) * _UNITS[found[3]] / SHORTER)}s"

    found = {**rule, "expr": re.sub(r"(\[|offset )(\d+)([smhd])", shorter, rule["expr"])}
    for wait in {"for", "keep_firing_for"} & rule.keys():
        seconds = int(rule[wait][:-1]) * _UNITS[rule[wait][-1]]
        found[wait] = f"{min(FOR_MAX_S, math.ceil(seconds / SHORTER))}s"
    return found


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Prometheus:
    """A running server, by its HTTP API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.began_s = time.time()

    async def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            return (await self._client.get("/-/ready")).is_success
        except httpx.HTTPError:
            return False

    async def at(self, expression: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """The series of an instant query; each has its labels in ``metric`` and its ``value``."""
        given = {"query": expression} if at_s is None else {"query": expression, "time": at_s}
        found: list[dict[str, Any]] = (await self._get("/api/v1/query", given))["result"]
        return found

    async def over(self, expression: str) -> list[dict[str, Any]]:
        """The series of a query over the whole life of this server, a point each second."""
        given = {"query": expression, "start": self.began_s, "end": time.time(), "step": 1}
        found: list[dict[str, Any]] = (await self._get("/api/v1/query_range", given))["result"]
        return found

    async def number(self, expression: str, at_s: float | None = None) -> float:
        """The value of a query that has one."""
        (series,) = await self.at(expression, at_s)
        return float(series["value"][1])

    async def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """All exemplars of the series that a query names."""
        given = {"query": expression, "start": self.began_s, "end": time.time()}
        found = await self._get("/api/v1/query_exemplars", given)
        return [exemplar for series in found for exemplar in series["exemplars"]]

    async def fires(self, alert: str, **labels: str) -> bool:
        """Whether an alert fires with these labels."""
        found = (await self._get("/api/v1/alerts", {}))["alerts"]
        return any(
            one["state"] == "firing" and {"alertname": alert, **labels}.items() <= one["labels"].items()
            for one in found
        )

    async def _get(self, path: str, given: dict[str, Any]) -> Any:
        answer = await self._client.get(path, params=given)
        assert answer.is_success, f"{given}: {answer.text}"
        return answer.json()["data"]


@asynccontextmanager
async def prometheus(folder: Path, targets: Sequence[str]) -> AsyncIterator[Prometheus]:
    """A server that scrapes ``targets`` (host:port); its files are in ``folder``."""
    for name in ("rules.yml", "alerts.yml"):
        ours = yaml.safe_load((PROMETHEUS / name).read_text("utf-8"))
        for group in ours["groups"]:
            group["rules"] = [shortened(rule) for rule in group["rules"]]
        (folder / name).write_text(yaml.safe_dump(ours, allow_unicode=True), "utf-8")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": list(targets)}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        *("prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address={address}", "--enable-feature=exemplar-storage", "--log.level=warn"),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    assert process.stderr is not None
    said = asyncio.create_task(process.stderr.read())
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=20.0) as client:
            server = Prometheus(client)
            await until(lambda: said.done() or server.ready(), "Prometheus is ready")
            assert not said.done(), (await said).decode()
            yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await said
