"""What benchmarks measure on: a real Kafka, started when the first asks for it, and logs that are filled once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any, Self

__all__ = ["Stage"]


class Stage:
    """Open for as long as benchmarks run. ``KAFKA_BOOTSTRAP_SERVERS`` names a Kafka that runs already."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._bootstrap: str | None = None
        self._logs: dict[tuple[int, int, int], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    @property
    def bootstrap(self) -> str:
        """A Kafka, on this machine unless one is named."""
        if self._bootstrap is None:
            self._bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or self._start_kafka()
        return self._bootstrap

    def _start_kafka(self) -> str:
        from dispatcher.devkafka import DevKafka

        folder = self._open.enter_context(tempfile.TemporaryDirectory())
        return self._open.enter_context(DevKafka(Path(folder))).bootstrap

    def log(self, events: int, *, partitions: int, keys: int) -> str:
        """A stream with so many orders in it; filled once, however many ask for it."""
        if (events, partitions, keys) not in self._logs:
            name = f"benchmark.orders.{uuid.uuid4().hex[:8]}"
            asyncio.run(_fill(self.bootstrap, name, events, partitions, keys))
            self._logs[events, partitions, keys] = name
        return self._logs[events, partitions, keys]


async def _fill(bootstrap: str, stream: str, events: int, partitions: int, keys: int) -> None:
    """Produce the events, in batches made by hand: ten times as fast as a send for each."""
    from aiokafka import AIOKafkaProducer

    from benchmarks.orders import orders
    from dispatcher.brokers.base import StreamInfo
    from dispatcher.brokers.kafka import KafkaBroker

    async with KafkaBroker(bootstrap) as broker:
        await broker.create_stream(StreamInfo(name=stream, partitions=partitions))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")

    async def send(batch: Any, partition: int) -> None:
        if batch.record_count():
            batch.close()
            await (await producer.send_batch(batch, stream, partition=partition))

    await producer.start()
    try:
        batches = [producer.create_batch() for _ in range(partitions)]
        for key, value in orders(events, keys):
            partition = int(key) % partitions
            if batches[partition].append(key=key, value=value, timestamp=None) is None:
                await send(batches[partition], partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(key=key, value=value, timestamp=None)
        for partition, batch in enumerate(batches):
            await send(batch, partition)
    finally:
        await producer.stop()
