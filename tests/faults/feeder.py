"""A producer that goes on through the faults, and knows what was acknowledged."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from ledger import value_of

from dispatcher.brokers.base import Producer
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.core.record import Outgoing
from dispatcher.errors import BrokerError

__all__ = ["Feeder"]

# Between two tries of a record that was not acknowledged.
_PAUSE = 0.2


class _Careless:
    """A producer that waits for no server."""

    def __init__(self, client: AIOKafkaProducer) -> None:
        self._client = client

    @classmethod
    async def started(cls, bootstrap: str) -> Self:
        client = AIOKafkaProducer(bootstrap_servers=bootstrap, acks=0, request_timeout_ms=5_000)
        await client.start()
        return cls(client)

    async def send(self, record: Outgoing) -> None:
        await self._client.send_and_wait(record.topic, record.value, record.key)

    async def close(self) -> None:
        await self._client.stop()


class Feeder:
    """Sends steadily to one stream, in a thread of its own. A context manager; what it began to send is sent at its end.

    Each key has one record on its way at a time, and that record is sent until it is acknowledged, so that the order in
    which a key's records stand in the log is that of their first copies, whatever happens.

    Args:
        bootstrap: the Kafka's addresses.
        stream: where to.
        keys: how many keys; record ``i`` has the key ``k<i % keys>`` and the sequence ``i // keys``.
        pause: seconds between two records of a key.
        size: bytes of a value, at least.
        acknowledged: wait for all replicas, as the dispatcher does; else a record is taken for acknowledged when it was
            handed to the system, which is what a control arm is for.
    """

    def __init__(
        self, bootstrap: str, stream: str, *, keys: int, pause: float = 0.1, size: int = 0, acknowledged: bool = True
    ) -> None:
        self._bootstrap = bootstrap
        self._stream = stream
        self._keys = keys
        self._pause = pause
        self._size = size
        self._waits = acknowledged
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        #: When each id was acknowledged, in nanoseconds of the ledger's clock.
        self.acknowledged: dict[int, int] = {}
        #: Sends that were refused or not acknowledged in time, and repeated.
        self.failures = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self, patience: float = 90.0) -> None:
        """Begin no more records; returns when all that were begun are acknowledged."""
        self._stopping.set()
        self._thread.join(patience)
        assert not self._thread.is_alive(), f"{self._stream}: not all was acknowledged in {patience:g} s"

    async def _run(self) -> None:
        async with KafkaBroker(self._bootstrap) as broker:
            producer = await broker.producer() if self._waits else await _Careless.started(self._bootstrap)
            try:
                await asyncio.gather(*(self._send_key(producer, key) for key in range(self._keys)))
            finally:
                await producer.close()

    async def _send_key(self, producer: Producer | _Careless, key: int) -> None:
        id_ = key
        while not self._stopping.is_set():
            record = Outgoing(topic=self._stream, key=b"k%d" % key, value=value_of(id_, id_ // self._keys, self._size))
            await self._send(producer, id_, record)
            id_ += self._keys
            await asyncio.sleep(self._pause)

    async def _send(self, producer: Producer | _Careless, id_: int, record: Outgoing) -> None:
        while True:
            try:
                await producer.send(record)
            except (BrokerError, KafkaError):
                self.failures += 1
                await asyncio.sleep(_PAUSE)
            else:
                self.acknowledged[id_] = time.monotonic_ns()
                return
