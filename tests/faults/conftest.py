"""Fixtures of the fault suite: its size, its report, and processes that are gone at the end."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet
from kafka_server import KafkaCluster
from proxy import Proxy
from sizes import SIZE, Size
from verdict import Verdict, write_report

#: The environment's name for the folder of the report.
REPORT = "FAULTS_REPORT"
_HERE = Path(__file__).parent
_verdicts: list[Verdict] = []
_began = time.time()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them need a real Kafka; a full run takes the minutes that it takes."""
    patience = 1_500 if os.environ.get(SIZE) == "full" else 180
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.kafka)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(patience))


def pytest_sessionfinish() -> None:
    """Write the report where it was asked for."""
    if (folder := os.environ.get(REPORT)) and _verdicts:
        write_report(_verdicts, Path(folder), size=os.environ.get(SIZE, "smoke"), seconds=round(time.time() - _began))


@pytest.fixture(scope="session")
def size() -> Size:
    """How much is tried: what CI has the time for, or what the promise says."""
    return "full" if os.environ.get(SIZE) == "full" else "smoke"


@pytest.fixture
def verdict() -> Callable[..., Verdict]:
    """Makes verdicts that the report shows."""

    def make(row: str, arm: str = "dispatch") -> Verdict:
        made = Verdict(row, arm)
        _verdicts.append(made)
        return made

    return make


@pytest.fixture
def fleet(tmp_path: Path, kafka_bootstrap: str) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets on the Kafka that all tests share: ``fleet("app", mutant=None, environ={})``."""
    made: list[Fleet] = []

    def make(app: str, **options: Any) -> Fleet:
        folder = tmp_path / f"fleet{len(made) + 1}"
        folder.mkdir()
        made.append(Fleet(folder, kafka_bootstrap, app, **options))
        return made[-1]

    yield make
    for each in made:
        each.__exit__()


@pytest.fixture(scope="session")
def proxies() -> Iterator[list[Proxy]]:
    """The network before each of the three servers."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Proxy()) for _ in range(3)]


@pytest.fixture(scope="session")
def three_servers(tmp_path_factory: pytest.TempPathFactory, proxies: list[Proxy], size: Size) -> Iterator[KafkaCluster]:
    """Three servers, for all modules that need them: they take 10 s to start."""
    # How long a silent server leads on: 9 s as Kafka has it.
    overrides = {} if size == "full" else {"broker.session.timeout.ms": "6000"}
    folder = tmp_path_factory.mktemp("three")
    ports = [proxy.port for proxy in proxies]
    with KafkaCluster(folder, nodes=3, overrides=overrides, proxy_ports=ports) as cluster:
        for proxy, node in zip(proxies, cluster.nodes, strict=True):
            proxy.target = node.ports["proxied"]
        yield cluster


@pytest.fixture
def three_nodes(three_servers: KafkaCluster, proxies: list[Proxy]) -> Iterator[KafkaCluster]:
    """Three servers, replication factor 3, two of which must have a record before it is acknowledged; made whole again."""
    yield three_servers
    for proxy in proxies:
        proxy.set("open")
    dead = [node for node in three_servers.nodes if not node.is_alive]
    for node in three_servers.nodes:
        node.thaw()
    for node in dead:
        node.start()
    for node in dead:
        node.wait_until_ready(180)


@pytest.fixture
def fleets(tmp_path: Path, three_nodes: KafkaCluster) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets on the three servers, whose members come by the proxies."""
    made: list[Fleet] = []

    def make(app: str, **options: Any) -> Fleet:
        folder = tmp_path / f"fleet{len(made) + 1}"
        folder.mkdir()
        made.append(Fleet(folder, three_nodes.bootstrap(), app, **options))
        return made[-1]

    yield make
    for each in made:
        each.__exit__()
