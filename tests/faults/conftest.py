"""Fixtures of the fault suite: its size, its report, and processes that are gone at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from fleet import Fleet
from kafka_server import KafkaCluster
from verdict import Verdict, write_report

Size = Literal["smoke", "full"]
#: The environment's names for how much is tried, and for the folder of the report.
SIZE, REPORT = "FAULTS_SIZE", "FAULTS_REPORT"
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


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three servers, replication factor 3, two of which must have a record before it is acknowledged."""
    with KafkaCluster(tmp_path_factory.mktemp("three"), nodes=3) as cluster:
        yield cluster
