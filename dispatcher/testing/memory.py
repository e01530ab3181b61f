"""The broker in memory: connections to a :class:`~dispatcher.testing.log.Log`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self

from dispatcher.brokers.base import RebalanceListener, StreamInfo
from dispatcher.clock import Clock
from dispatcher.core.record import Committed, Outgoing, Record, TopicPartition
from dispatcher.errors import BrokerError, BrokerUnavailable, OffsetOutOfRange
from dispatcher.testing.consumer import MemoryConsumer, check_metadata
from dispatcher.testing.log import Log, MemoryRecord

__all__ = ["MemoryBroker", "MemoryProducer"]


class MemoryProducer:
    """See :class:`dispatcher.brokers.base.Producer`. A record is there as soon as ``send`` is awaited."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._closed = False

    async def send(self, record: Outgoing) -> tuple[int, int]:
        if self._closed:
            raise BrokerUnavailable("this producer is closed")
        return self._broker.append(record)

    async def send_all(self, records: Sequence[Outgoing]) -> Sequence[tuple[int, int] | BrokerError]:
        outcomes: list[tuple[int, int] | BrokerError] = []
        for record in records:
            try:
                outcomes.append(await self.send(record))
            except BrokerError as error:
                outcomes.append(error)
        return outcomes

    async def close(self) -> None:
        self._closed = True


class MemoryBroker:
    """A broker for tests, in memory: one connection to a log; see :class:`dispatcher.brokers.base.Broker`.

    It passes the same contract suite as Kafka and the embedded broker: partitions by Kafka's hash of the key, offsets,
    headers, consumer groups with eager rebalances, commit metadata of 4,096 bytes. A member is never put out for silence:
    it is in the same process. Of a stream's settings ``max.message.bytes`` is obeyed; nothing is deleted but by
    :meth:`delete_records`.

    Args:
        log: the place to connect to; a new one when it is not given. Two brokers on one log are two connections.
        clock: where the timestamps of records come from.
        rebalance_timeout: seconds that the members have to give up their partitions.
    """

    def __init__(self, log: Log | None = None, *, clock: Clock | None = None, rebalance_timeout: float = 60.0) -> None:
        self.log = log or Log()
        self._clock = clock or Clock()
        self._rebalance_timeout = rebalance_timeout
        self._consumers: list[MemoryConsumer] = []
        self._is_cut = False

    @property
    def url(self) -> str:
        return "memory:"

    async def __aenter__(self) -> Self:
        self._check()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing to let go of: what was written stays in the log."""

    def consumer(self, group: str, streams: Sequence[str], listener: RebalanceListener) -> MemoryConsumer:
        self._check()
        made = MemoryConsumer(self.log, group, streams, listener, rebalance_timeout=self._rebalance_timeout)
        self._consumers.append(made)
        return made

    async def producer(self) -> MemoryProducer:
        self._check()
        return MemoryProducer(self)

    async def list_streams(self) -> Sequence[StreamInfo]:
        return [self.log.streams[name] for name in sorted(self.log.streams)]

    async def describe(self, stream: str) -> StreamInfo | None:
        return self.log.streams.get(stream)

    async def create_stream(self, stream: StreamInfo) -> bool:
        self._check()
        return self.log.create(stream)

    async def add_partitions(self, stream: str, total: int) -> None:
        """Give the stream ``total`` partitions; its consumers get the new ones in a rebalance.

        Raises:
            StreamNotFound: it does not exist.
            ConfigurationError: it has more than that already.
        """
        self.log.add_partitions(stream, total)

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {id_: self.log.extent(id_)[0] for id_ in partitions}

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {id_: self.log.extent(id_)[1] for id_ in partitions}

    async def offsets_for_time(
        self, partitions: Collection[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int | None]:
        return {id_: self.log.offset_for_time(id_, timestamp_ms) for id_ in partitions}

    async def committed(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        commits = self.log.group(group).commits
        return {id_: commits.get(id_) for id_ in partitions}

    async def group_members(self, group: str) -> int:
        return self.log.group(group).size

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        self._check()
        for id_, committed in offsets.items():
            check_metadata(id_, committed.metadata)
            self.log.extent(id_)
        self.log.group(group).set_offsets(offsets)

    async def read(
        self, positions: Mapping[TopicPartition, int], *, max_records: int = 1
    ) -> dict[TopicPartition, Sequence[Record]]:
        found: dict[TopicPartition, Sequence[Record]] = {}
        for id_, offset in positions.items():
            start, end = self.log.extent(id_)
            if not start <= offset <= end:
                raise OffsetOutOfRange(*id_, offset)
            found[id_] = self.log.read(id_, offset, max_records)
        return found

    # -- what only a test asks for

    def append(self, record: Outgoing) -> tuple[int, int]:
        """Produce a record at once, from sync code; returns (partition, offset).

        Raises:
            StreamNotFound, RecordTooLarge: it was refused.
            BrokerUnavailable: the connection has been cut.
        """
        self._check()
        return self.log.append(record, self._clock.wall_ms())

    def records(self, stream: str) -> list[MemoryRecord]:
        """All records of a stream, in the order of their times, and of their offsets in each partition.

        Raises:
            StreamNotFound: it does not exist.
        """
        self.log.find(stream)
        found = [
            record for id_ in self.log.partitions_of(stream) for record in self.log.read(id_, self.log.extent(id_)[0])
        ]
        return sorted(found, key=lambda record: record.timestamp)

    def delete_records(self, stream: str, partition: int, before: int) -> None:
        """Delete a partition's records before that offset, as retention does."""
        self.log.delete_records(TopicPartition(stream, partition), before)

    def rebalance(self, group: str) -> None:
        """Have the members of the group give up all that they hold, and deal it out anew."""
        self.log.group(group).prepare()

    def behind(self, group: str, stream: str) -> int | None:
        """Records of the stream that no member of the group has fetched yet.

        None while the group rebalances, or when a partition is nobody's.
        """
        total = 0
        members = self.log.group(group).consumers
        for id_ in self.log.partitions_of(stream):
            position = next((at for each in members if (at := each.delivered(id_)) is not None), None)
            if position is None:
                return None
            total += max(0, self.log.extent(id_)[1] - position)
        return total

    def cut(self) -> None:
        """Lose the connection for good, as a process does that is killed: its groups go on without it at once."""
        self._is_cut = True
        for consumer in self._consumers:
            consumer.cut()

    def _check(self) -> None:
        if self._is_cut:
            raise BrokerUnavailable("the connection was cut")
