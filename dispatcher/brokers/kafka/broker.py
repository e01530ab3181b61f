"""A Kafka cluster behind the broker protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

from dispatcher.brokers.base import RebalanceListener, StreamInfo
from dispatcher.brokers.kafka.admin import Admin
from dispatcher.brokers.kafka.codecs import replace_decompressors
from dispatcher.brokers.kafka.consumer import KafkaConsumer
from dispatcher.brokers.kafka.internals import quiet_logs
from dispatcher.brokers.kafka.producer import KafkaProducer
from dispatcher.brokers.kafka.reading import read
from dispatcher.brokers.kafka.settings import KafkaSettings
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.errors import OffsetOutOfRange

__all__ = ["KafkaBroker"]


class KafkaBroker:
    """Apache Kafka 2.4 or newer, or what speaks its protocol.

    Args:
        settings: how to reach it; ``"host:port,host:port"`` when nothing but that is needed.
    """

    def __init__(self, settings: KafkaSettings | str) -> None:
        self.settings = KafkaSettings.parse(servers=settings) if isinstance(settings, str) else settings
        self._admin = Admin(self.settings)

    @property
    def url(self) -> str:
        return self.settings.url

    async def __aenter__(self) -> Self:
        quiet_logs()
        replace_decompressors()
        await self._admin.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._admin.close()

    def consumer(self, group: str, streams: Sequence[str], listener: RebalanceListener) -> KafkaConsumer:
        return KafkaConsumer(self.settings, self._admin, group, streams, listener)

    async def producer(self) -> KafkaProducer:
        producer = KafkaProducer(self.settings, self._admin)
        await producer.start()
        return producer

    async def list_streams(self) -> Sequence[StreamInfo]:
        return await self._admin.list_streams()

    async def describe(self, stream: str) -> StreamInfo | None:
        return await self._admin.describe(stream)

    async def create_stream(self, stream: StreamInfo) -> bool:
        return await self._admin.create(stream)

    async def delete_stream(self, stream: str) -> bool:
        """Delete a stream and all that is in it; False when it was not there."""
        return await self._admin.delete(stream)

    async def add_partitions(self, stream: str, total: int) -> None:
        """Give a stream ``total`` partitions. Keys move to other partitions, and lose their order while they do.

        Raises:
            BrokerRefused: it has as many already, or more.
            StreamNotFound: it does not exist.
        """
        await self._admin.add_partitions(stream, total)

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._admin.beginning_offsets(partitions)

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._admin.end_offsets(partitions)

    async def offsets_for_time(
        self, partitions: Collection[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int | None]:
        return await self._admin.offsets_for_time(partitions, timestamp_ms)

    async def committed(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        return await self._admin.committed(group, partitions)

    async def group_members(self, group: str) -> int:
        return await self._admin.group_members(group)

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        await self._admin.set_offsets(group, offsets)

    async def read(
        self, positions: Mapping[TopicPartition, int], *, max_records: int = 1
    ) -> dict[TopicPartition, Sequence[Record]]:
        begin, end = await self.beginning_offsets(positions), await self.end_offsets(positions)
        for partition, offset in positions.items():
            if not begin[partition] <= offset <= end[partition]:
                raise OffsetOutOfRange(*partition, offset)
        return await read(self.settings, positions, end, max_records)
