"""The brokers that the contract is run against."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from contract import MakeStream

from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.testing import Log, MemoryBroker


@pytest.fixture(params=["embedded", "memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def make_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Broker]:
    """Makes broker objects for one and the same place, so that a test may connect twice."""
    if request.param == "embedded":
        path = tmp_path / "log.db"
        return lambda: EmbeddedBroker(path, session_timeout=2.0)
    if request.param == "memory":
        log = Log()
        return lambda: MemoryBroker(log)
    bootstrap: Any = request.getfixturevalue("kafka_bootstrap")
    from dispatcher.brokers.kafka import KafkaBroker

    return lambda: KafkaBroker(bootstrap)


@pytest.fixture
async def broker(make_broker: Callable[[], Broker]) -> AsyncIterator[Broker]:
    """A connected broker."""
    async with make_broker() as connected:
        yield connected


@pytest.fixture
def group() -> str:
    """A consumer group that nobody else has: one real cluster serves all tests."""
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_stream(broker: Broker) -> MakeStream:
    """Creates a stream with a name of its own."""

    async def make(partitions: int = 1, **config: str) -> str:
        name = f"stream-{uuid.uuid4().hex[:12]}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        assert await broker.create_stream(StreamInfo(name=name, partitions=partitions, config=settings))
        return name

    return make


@pytest.fixture
def add_partitions(broker: Broker, request: pytest.FixtureRequest) -> Callable[[str, int], Awaitable[None]]:
    """Gives a stream more partitions, as its operator would."""
    if isinstance(broker, EmbeddedBroker | MemoryBroker):
        return broker.add_partitions
    bootstrap: Any = request.getfixturevalue("kafka_bootstrap")

    async def add(stream: str, total: int) -> None:
        from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.create_partitions({stream: NewPartitions(total)})
        finally:
            await admin.close()

    return add
