"""A server that takes connections and says nothing, beside one that is well."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import BrokerMetadata

from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.brokers.kafka.connecting import connect_apart
from dispatcher.brokers.kafka.internals import stop_within

pytestmark = pytest.mark.kafka

SILENT = 99


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


async def test_a_silent_server_holds_up_no_connection_to_another(kafka_bootstrap: str, silent_port: int) -> None:
    """The client connects to others meanwhile, and gives the silent one up when its time is over."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap)
    connect_apart(consumer, 2.0)
    await consumer.start()
    try:
        client = consumer._client
        [well] = [broker.nodeId for broker in client.cluster.brokers()]
        client.cluster._brokers[SILENT] = BrokerMetadata(SILENT, "127.0.0.1", silent_port, None)
        began = time.monotonic()
        waiting = asyncio.create_task(client.ready(SILENT))
        await asyncio.sleep(0)
        assert await client.ready(well)
        assert time.monotonic() - began < 1
        assert not waiting.done()
        assert not await waiting
        assert time.monotonic() - began == pytest.approx(2.0, abs=0.5)
    finally:
        await consumer.stop()


async def test_one_connection_is_made_to_a_server_that_many_ask_for(kafka_bootstrap: str) -> None:
    """Those that ask at the same time share it."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap)
    connect_apart(consumer, 2.0)
    await consumer.start()
    try:
        client = consumer._client
        [well] = [broker.nodeId for broker in client.cluster.brokers()]
        connections = await asyncio.gather(*(client._get_conn(well) for _ in range(5)))
        assert len(set(map(id, connections))) == 1
        assert connections[0].connected()
    finally:
        await consumer.stop()


async def test_questions_pass_a_silent_server_over(kafka_bootstrap: str, silent_port: int) -> None:
    """Whatever any server may answer is asked of another one then, and next time of that one first."""
    async with KafkaBroker(kafka_bootstrap) as broker:
        admin = broker._admin._client
        assert admin is not None
        for _ in range(8):
            # Each answer says again which servers there are.
            admin._client.cluster._brokers[SILENT] = BrokerMetadata(SILENT, "127.0.0.1", silent_port, None)
            await broker.list_streams()
        assert admin._last_silent.keys() <= {SILENT}
        admin._last_silent[SILENT] = time.monotonic()
        admin._client.cluster._brokers[SILENT] = BrokerMetadata(SILENT, "127.0.0.1", silent_port, None)
        began = time.monotonic()
        await broker.list_streams()
        assert time.monotonic() - began < 1


async def test_a_client_that_trips_over_its_own_cancelled_task_cancels_nobody() -> None:
    """Aiokafka's fetcher, stopped while it waits to try again, gives its own cancellation to whoever stops it."""

    async def stop() -> None:
        waiting = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        waiting.cancel()
        await waiting

    assert not await stop_within(stop(), 5)
    assert await stop_within(asyncio.sleep(0), 5)
    assert not await stop_within(asyncio.sleep(60), 0.01)
