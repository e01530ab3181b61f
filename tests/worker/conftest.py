"""A worker's broker: the embedded one, and where a test asks for it a real Kafka too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bench import Bench

from dispatcher.brokers.base import Broker
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.brokers.kafka import KafkaBroker


@pytest.fixture
def kind() -> str:
    """The broker of a test that does not choose."""
    return "embedded"


@pytest.fixture
def bootstrap(kind: str, request: pytest.FixtureRequest) -> str | None:
    """The addresses of the real Kafka; None for the embedded broker."""
    if kind == "embedded":
        return None
    found: str = request.getfixturevalue("kafka_bootstrap")
    return found


@pytest.fixture
def url(kind: str, bootstrap: str | None, tmp_path: Path) -> str:
    """The broker as another process would be told of it."""
    return f"embedded:{tmp_path / 'log.db'}" if bootstrap is None else f"kafka://{bootstrap}"


@pytest.fixture
async def broker(bootstrap: str | None, tmp_path: Path) -> AsyncIterator[Broker]:
    """A connected broker."""
    made: Any
    made = EmbeddedBroker(tmp_path / "log.db", session_timeout=2.0) if bootstrap is None else KafkaBroker(bootstrap)
    async with made as connected:
        yield connected


@pytest.fixture
def bench(broker: Broker, bootstrap: str | None) -> Bench:
    """The test's corner of the broker."""
    return Bench(broker, bootstrap)
