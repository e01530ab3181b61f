"""A real ``dispatch run``, looked at as Prometheus and an orchestrator do: over a socket."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from command_line import Dispatch, Running
from prometheus_client.parser import text_string_to_metric_families


class Got(NamedTuple):
    """An answer."""

    status: int
    text: str
    headers: dict[str, str]


class Scrape:
    """All samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def all(self, name: str, **labels: str) -> list[float]:
        """The values of a metric's series that have these labels."""
        return [
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def one(self, name: str, **labels: str) -> float:
        """The value of the one series that has these labels."""
        [value] = self.all(name, **labels)
        return value

    def sum(self, name: str, **labels: str) -> float:
        """The sum over the series, of which there is one at least."""
        values = self.all(name, **labels)
        assert values, name
        return sum(values)


class Run:
    """A ``dispatch run`` that is at work."""

    def __init__(self, running: Running) -> None:
        self.running = running
        running.until(lambda: running.said(r"metrics and health: http://127\.0\.0\.1:\d+/metrics"), "its endpoint")
        found = re.search(r"metrics and health: http://127\.0\.0\.1:(\d+)/metrics", running.stderr)
        assert found
        self.port = int(found[1])

    def get(self, path: str, *, method: str = "GET", seconds: float = 5.0, **headers: str) -> Got:
        """Ask for a path; fails when no answer comes in time."""
        return get(self.port, path, method=method, seconds=seconds, **headers)

    def scrape(self) -> Scrape:
        """What Prometheus would get."""
        got = self.get("/metrics")
        assert got.status == 200, got.text
        return Scrape(got.text)

    def until(self, true: Callable[[Scrape], Any], what: str, seconds: float = 30.0) -> Scrape:
        """Scrape until it is so; returns that scrape."""
        found: list[Scrape] = []

        def is_so() -> bool:
            found[:] = [self.scrape()]
            return bool(true(found[0]))

        self.running.until(is_so, what, seconds)
        return found[0]


def get(port: int, path: str, *, method: str = "GET", seconds: float = 5.0, **headers: str) -> Got:
    """One request to a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return Got(response.status, response.read().decode(), {k.lower(): v for k, v in response.getheaders()})
    finally:
        connection.close()


#: Starts ``dispatch run`` with these words; settings are given as variables.
Watched = Callable[..., Run]


def watch(dispatch: Dispatch) -> Watched:
    """See :data:`Watched`."""

    def start(*words: str, **settings: str) -> Run:
        dispatch.environ |= {"DISPATCH_MONITORING": "0"}
        dispatch.environ |= {f"DISPATCH_{name.upper()}": value for name, value in settings.items()}
        return Run(dispatch.start("run", *words))

    return start


def lines_of(rows: Iterable[dict[str, Any]]) -> str:
    """Events as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def ledger(folder: Path, name: str = "ledger") -> list[Any]:
    """What the function under test wrote down, a JSON value a line."""
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def soon(true: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    """Poll until it is so; fail with what was waited for when it never is."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)
