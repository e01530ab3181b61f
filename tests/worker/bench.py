"""What the tests of the worker share: streams of their own, records in and out, workers that end with the test."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bindings import Binding, bindings_of
from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.config import Settings
from dispatcher.core.record import Committed, Outgoing, Record, TopicPartition
from dispatcher.telemetry.metrics import Statistics
from dispatcher.worker import Worker

#: Seconds that anything may take. A rebalance of a real cluster takes 3, on a busy machine more.
PATIENCE = 20.0

#: For tests whose promise depends on the broker; the others run on the embedded one alone.
on_both = pytest.mark.parametrize("kind", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])

Message = tuple[bytes | None, bytes | None]


async def until(condition: Callable[[], object], what: str = "", *, patience: float = PATIENCE) -> None:
    """Poll until the condition holds; fail with what was waited for when it never does."""
    give_up = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < give_up, f"waited {patience:g} s in vain{' for ' + what if what else ''}"
        await asyncio.sleep(0.005)


class Bench:
    """One test's corner of a broker.

    Attributes:
        broker: where it is; open.
        app: a name that nobody else has.
    """

    def __init__(self, broker: Broker, bootstrap: str | None) -> None:
        self.broker = broker
        self.app = f"app-{uuid.uuid4().hex[:12]}"
        self._bootstrap = bootstrap
        self._names: dict[str, str] = {}

    def name(self, short: str) -> str:
        """A stream's full name: one real cluster serves all tests."""
        return f"{self.app}.{short}"

    async def stream(self, short: str = "events", partitions: int = 1, **config: str) -> str:
        """Create a stream and return its name."""
        name = self.name(short)
        settings = {key.replace("_", "."): value for key, value in config.items()}
        assert await self.broker.create_stream(StreamInfo(name=name, partitions=partitions, config=settings))
        return name

    async def send(self, stream: str, messages: Iterable[Message | Outgoing], **rest: Any) -> list[tuple[int, int]]:
        """Send (key, value) pairs, or whole records, in order; returns where each stands: (partition, offset)."""
        producer = await self.broker.producer()
        try:
            return list(
                await asyncio.gather(
                    *(
                        producer.send(
                            message
                            if isinstance(message, Outgoing)
                            else Outgoing(topic=stream, key=message[0], value=message[1], **rest)
                        )
                        for message in messages
                    )
                )
            )
        finally:
            await producer.close()

    async def read(self, stream: str) -> list[Record]:
        """All records that the stream holds now, partition by partition."""
        info = await self.broker.describe(stream)
        if info is None:
            return []
        partitions = info.ids
        first = await self.broker.beginning_offsets(partitions)
        end = await self.broker.end_offsets(partitions)
        left = {id_ for id_ in partitions if first[id_] < end[id_]}
        records: list[Record] = []
        if not left:
            return records
        async with self._reader(stream, first) as fetch:
            async with asyncio.timeout(PATIENCE):
                while left:
                    for record in await fetch(left):
                        records.append(record)
                        id_ = TopicPartition(record.topic, record.partition)
                        if record.offset + 1 >= end[id_]:
                            left.discard(id_)
        return sorted(records, key=lambda record: (record.partition, record.offset))

    async def committed(self, function: Callable[..., Any], stream: str, partition: int = 0) -> Committed | None:
        """What the function's group has committed."""
        id_ = TopicPartition(stream, partition)
        return (await self.broker.committed(f"{self.app}.{binding_of(function).name}", [id_]))[id_]

    async def commit(self, function: Callable[..., Any], stream: str, commit: Committed, partition: int = 0) -> None:
        """Commit in the name of the function's group, as another program would."""
        joined = asyncio.Event()

        class Listener:
            async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
                joined.set()

            async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
                pass

        consumer = self.broker.consumer(f"{self.app}.{binding_of(function).name}", [stream], Listener())
        await consumer.start()
        try:
            async with asyncio.timeout(PATIENCE):
                while not joined.is_set():
                    await consumer.fetch([], max_records=1, timeout=0.05)
                await consumer.commit({TopicPartition(stream, partition): commit})
        finally:
            await consumer.close()

    def worker(self, function: Callable[..., Any], *, until_caught_up: bool = False, **settings: Any) -> Worker:
        """The worker of a decorated function."""
        settings.setdefault("commit_interval", 0.05)
        return Worker(
            binding_of(function),
            self.broker,
            app=self.app,
            settings=Settings(**settings),
            until_caught_up=until_caught_up,
        )

    async def catch_up(self, function: Callable[..., Any], **settings: Any) -> Statistics:
        """Run the function over all that stands in its streams now; returns what happened."""
        worker = self.worker(function, until_caught_up=True, **settings)
        async with asyncio.timeout(PATIENCE):
            await worker.run()
        return worker.statistics()

    @asynccontextmanager
    async def running(self, function: Callable[..., Any], **settings: Any) -> AsyncIterator[Worker]:
        """A worker that runs; at the end it is stopped and has left its group."""
        worker = self.worker(function, **settings)
        task = asyncio.create_task(worker.run())
        try:
            await until(lambda: worker.statistics().state != "joining" or task.done(), "the worker to join")
            if task.done():
                task.result()
            yield worker
            if task.done():
                task.result()
        finally:
            worker.stop()
            async with asyncio.timeout(PATIENCE):
                await task

    @asynccontextmanager
    async def _reader(
        self, stream: str, first: dict[TopicPartition, int]
    ) -> AsyncIterator[Callable[[Collection[TopicPartition]], Any]]:
        if self._bootstrap is not None:
            # With no group: joining one takes a real cluster 3 s.
            from aiokafka import AIOKafkaConsumer
            from aiokafka import TopicPartition as Assigned

            driver = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=8_000_000
            )
            await driver.start()
            try:
                driver.assign([Assigned(*id_) for id_ in first])

                async def fetch_assigned(_: Collection[TopicPartition]) -> Sequence[Record]:
                    fetched = await driver.getmany(timeout_ms=500)
                    return [record for records in fetched.values() for record in records]

                yield fetch_assigned
            finally:
                await driver.stop()
            return

        class FromTheStart:
            async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
                for id_ in partitions:
                    consumer.seek(id_, first[id_])

            async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
                pass

        consumer = self.broker.consumer(f"reader-{uuid.uuid4().hex}", [stream], FromTheStart())
        await consumer.start()
        try:

            async def fetch(wanted: Collection[TopicPartition]) -> Sequence[Record]:
                fetched = await consumer.fetch(list(wanted), max_records=5_000, timeout=0.2)
                return [record for records in fetched.values() for record in records]

            yield fetch
        finally:
            await consumer.close()


def binding_of(function: Callable[..., Any]) -> Binding:
    """The one binding of a decorated function."""
    (binding,) = bindings_of(function)
    return binding


def embedded(bench: Bench) -> EmbeddedBroker:
    """The bench's broker, for what only the embedded one can be asked."""
    assert isinstance(bench.broker, EmbeddedBroker)
    return bench.broker


def header(record: Record, name: str) -> bytes | None:
    """The last header of that name."""
    return next((value for each, value in reversed(record.headers) if each == name), None)


def reason(record: Record) -> str:
    """Why a dead letter is one."""
    return (header(record, "dispatch-dead-reason") or b"").decode()
