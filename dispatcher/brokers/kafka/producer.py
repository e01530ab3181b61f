"""Producing, with an idempotent client that is replaced when it can't go on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import aiokafka.errors as driver
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from dispatcher.brokers.kafka.admin import Admin
from dispatcher.brokers.kafka.connecting import connect_apart
from dispatcher.brokers.kafka.diagnosis import find_reachable
from dispatcher.brokers.kafka.errors import translate, translated
from dispatcher.brokers.kafka.internals import abandon_producer, stop_within
from dispatcher.brokers.kafka.settings import KafkaSettings
from dispatcher.core.record import Outgoing
from dispatcher.errors import BrokerError, BrokerRefused, BrokerUnavailable, StreamNotFound

__all__ = ["KafkaProducer"]

logger = logging.getLogger("dispatcher.brokers.kafka")

_MAX_REQUEST = 90 * 1024 * 1024
"""Bytes; the topic's own limit decides below it. A broker hangs up past its ``socket.request.max.bytes`` of 100 MiB."""

_BATCH = 64 * 1024

_ALONE = 1
"""A batch size that puts each record into a batch of its own."""

_SEQUENCE_LOST = (
    driver.OutOfOrderSequenceNumber,
    driver.UnknownProducerId,
    driver.ProducerFenced,
    driver.ProducerClosed,
)
"""Nothing is wrong with the record: an earlier one was refused, and this client can't go on from there."""

_CLOCK_REFUSED = 60.0
"""Seconds for which this machine's time is not tried again, once a broker has refused it."""


class _Null(bytes):
    """A null value on its way through aiokafka, which refuses a record whose key and value are both None."""


_NULL = _Null()


def _serialize(value: bytes) -> bytes | None:
    return None if value is _NULL else value


class KafkaProducer:
    """An idempotent producer, acks=all.

    aiokafka's own has two holes. A record that the broker refuses uses up a sequence number, so that every later one
    to that partition is refused too, for ever; and a batch never times out. So a client that was refused, or that did
    not get an answer in time, is replaced by a new one, while what else is under way with it ends there; and a record
    that was refused for an earlier one's sake is sent again.
    """

    def __init__(self, settings: KafkaSettings, admin: Admin) -> None:
        self._settings = settings
        self._admin = admin
        self._clients: dict[int, AIOKafkaProducer] = {}
        self._connecting = asyncio.Lock()
        self._order: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: set[str] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False
        self._clock_refused = 0.0

    async def start(self) -> None:
        """Connect."""
        await self._client(_BATCH)

    async def send(self, record: Outgoing) -> tuple[int, int]:
        what = f"produce to {record.topic}"
        batch, refused = _BATCH, False
        client: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._settings.delivery_timeout):
                while True:
                    client = await self._client(batch)
                    try:
                        return await self._deliver(client, record)
                    except _SEQUENCE_LOST:
                        self._retire(client)
                    except driver.InvalidTimestampError:
                        self._retire(client)
                        if refused or record.timestamp is not None or record.source_timestamp is None:
                            raise
                        refused = True
                        self._distrust_clock(record)
                    except driver.MessageSizeTooLargeError:
                        self._retire(client)
                        # The broker measures the batch: this record may only have had large neighbours.
                        if batch == _ALONE or _size(record) >= _BATCH:
                            raise
                        batch = _ALONE
        except (TimeoutError, driver.KafkaError) as error:
            if client is not None:
                self._retire(client)
            await self._find(record.topic, ignore=BrokerUnavailable)
            if isinstance(error, TimeoutError):
                raise BrokerUnavailable(
                    f"can't {what}: not acknowledged in {self._settings.delivery_timeout:g} s; it may have been written"
                ) from error
            raise translate(error, what) from error

    async def send_all(self, records: Sequence[Outgoing]) -> Sequence[tuple[int, int] | BrokerError]:
        # A task, a time-out and a turn at the lock for each record cost 0.1 ms of CPU; together they cost a tenth.
        outcomes: list[tuple[int, int] | BrokerError | None] = [None] * len(records)
        acknowledged: list[asyncio.Future[RecordMetadata]] = []
        client: AIOKafkaProducer | None = None
        unavailable: BrokerError | None = None
        try:
            async with asyncio.timeout(self._settings.delivery_timeout):
                client = await self._client(_BATCH)
                # Whose fault it was is found out below, one by one.
                with contextlib.suppress(driver.KafkaError, StreamNotFound, BrokerRefused):
                    await self._enqueue_all(client, records, acknowledged)
                await asyncio.gather(*acknowledged, return_exceptions=True)
        except TimeoutError:
            if client is not None:
                self._retire(client)
            limit = self._settings.delivery_timeout
            unavailable = BrokerUnavailable(f"not acknowledged in {limit:g} s; it may have been written")
        except BrokerError as error:  # no client could be had: this user may not write to any topic just now, say
            unavailable = error
        for index, answer in enumerate(acknowledged):
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                written = answer.result()
                outcomes[index] = (written.partition, written.offset)
        return [outcome or unavailable or await self._send_alone(records[i]) for i, outcome in enumerate(outcomes)]

    async def _send_alone(self, record: Outgoing) -> tuple[int, int] | BrokerError:
        try:
            return await self.send(record)
        except BrokerError as error:
            return error

    async def _enqueue_all(
        self,
        client: AIOKafkaProducer,
        records: Sequence[Outgoing],
        acknowledged: list[asyncio.Future[RecordMetadata]],
    ) -> None:
        for topic, together in itertools.groupby(records, key=lambda record: record.topic):
            async with self._order[topic]:
                for record in together:
                    acknowledged.append(await self._enqueue(client, record))  # noqa: PERF401 - keeps those before a refusal

    async def _deliver(self, client: AIOKafkaProducer, record: Outgoing) -> tuple[int, int]:
        # The lock keeps the order of calls where a call has to wait for metadata, or for room in a batch.
        async with self._order[record.topic]:
            acknowledged = await self._enqueue(client, record)
        written = await acknowledged
        return written.partition, written.offset

    async def _enqueue(self, client: AIOKafkaProducer, record: Outgoing) -> asyncio.Future[RecordMetadata]:
        if record.topic not in self._known:
            await self._find(record.topic)
        if record.partition is not None:
            await self._find_partition(client, record.topic, record.partition)
        acknowledged: asyncio.Future[RecordMetadata] = await client.send(
            record.topic,
            _NULL if record.value is None else record.value,
            record.key,
            record.partition,
            self._timestamp(record),
            list(record.headers),
        )
        return acknowledged

    def _timestamp(self, record: Outgoing) -> int | None:
        if record.timestamp is None and time.monotonic() < self._clock_refused:
            return record.source_timestamp
        return record.timestamp

    def _distrust_clock(self, record: Outgoing) -> None:
        known = time.monotonic() < self._clock_refused
        self._clock_refused = time.monotonic() + _CLOCK_REFUSED
        if known:
            return
        logger.error(
            "%s does not take %s as the time of a record: is this machine's clock wrong? Until it is mended, what is"
            " written has the time of the event that it comes of",
            record.topic, datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip

    async def _find(self, topic: str, ignore: type[BrokerError] | tuple[()] = ()) -> None:
        try:
            if await self._admin.describe(topic) is None:
                self._known.discard(topic)
                raise StreamNotFound(f"there is no stream {topic}")
        except ignore:
            return
        self._known.add(topic)

    async def _find_partition(self, client: AIOKafkaProducer, topic: str, partition: int) -> None:
        if partition not in await client.partitions_for(topic):
            await client.client.force_metadata_update()
            if partition not in await client.partitions_for(topic):
                raise StreamNotFound(f"there is no partition {partition} of {topic}")

    async def _client(self, batch: int) -> AIOKafkaProducer:
        if (client := self._clients.get(batch)) is not None:
            return client
        async with self._connecting:
            if self._closed:
                raise BrokerUnavailable("the producer is closed")
            if (client := self._clients.get(batch)) is None:
                client = self._clients[batch] = await self._connect(batch)
        return client

    async def _connect(self, batch: int) -> AIOKafkaProducer:
        client = AIOKafkaProducer(
            bootstrap_servers=await find_reachable(self._settings),
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=batch,
            max_request_size=_MAX_REQUEST,
            compression_type=self._settings.compression,
            value_serializer=_serialize,
            metadata_max_age_ms=30_000,
            **self._settings.connection_options(),
        )
        connect_apart(client, self._settings.connect_timeout)
        try:
            with translated("start a producer"):
                async with asyncio.timeout(self._settings.request_timeout):
                    await client.start()
        except BaseException:
            await _stop(client, self._settings.request_timeout)
            raise
        return client

    def _retire(self, client: AIOKafkaProducer) -> None:
        for batch, current in list(self._clients.items()):
            if current is client:
                del self._clients[batch]
                # Sends that others wait for may still succeed, for as long as they wait.
                task = asyncio.create_task(_stop(client, self._settings.delivery_timeout))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        self._closed = True
        async with self._connecting:
            for client in list(self._clients.values()):
                self._retire(client)
        if self._retiring:
            _, unfinished = await asyncio.wait(self._retiring, timeout=self._settings.request_timeout)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)


async def _stop(client: AIOKafkaProducer, timeout: float) -> None:
    try:
        # Closing says nothing: what was wrong has been raised where it mattered.
        ended = await stop_within(client.stop(), timeout)
    except asyncio.CancelledError:
        await abandon_producer(client)
        raise
    if not ended:
        await abandon_producer(client)


def _size(record: Outgoing) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
