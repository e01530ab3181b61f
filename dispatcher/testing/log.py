"""Streams in memory, and the groups that read them: what a memory broker connects to."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded.catalog import validated
from dispatcher.brokers.embedded.codec import size_in_kafka
from dispatcher.brokers.partitioner import key_hash
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import ConfigurationError, RecordTooLarge, StreamNotFound
from dispatcher.testing.groups import Group
from dispatcher.testing.signals import Signal

__all__ = ["Log", "MemoryRecord"]

#: Kafka's default of ``max.message.bytes``.
_MAX_MESSAGE_BYTES = 1_048_588


class MemoryRecord(NamedTuple):
    """One record; see :class:`dispatcher.core.record.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(slots=True)
class _Partition:
    """The records from offset ``start`` on, without a gap."""

    start: int = 0
    records: list[MemoryRecord] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.records)


class Log:
    """All streams and groups of one place. Several :class:`~dispatcher.testing.MemoryBroker` may connect to it.

    Not thread-safe: one event loop at a time works on it.
    """

    def __init__(self) -> None:
        self.streams: dict[str, StreamInfo] = {}
        self.changed = Signal()
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._groups: dict[str, Group] = {}
        self._turn = 0

    def group(self, name: str) -> Group:
        """The group of that name, empty when nobody has used it yet."""
        if name not in self._groups:
            self._groups[name] = Group(name, self.partitions_of)
        return self._groups[name]

    def create(self, stream: StreamInfo) -> bool:
        """Create the stream; False when it was there.

        Raises:
            ConfigurationError: the name is not one that Kafka takes, or a number is out of range.
        """
        if stream.name in self.streams:
            return False
        self.streams[stream.name] = replace(validated(stream), config=dict(stream.config))
        for id_ in self.partitions_of(stream.name):
            self._partitions[id_] = _Partition()
        return True

    def add_partitions(self, stream: str, total: int) -> None:
        """Give the stream ``total`` partitions; its consumers get the new ones in a rebalance.

        Raises:
            StreamNotFound: it does not exist.
            ConfigurationError: it has more than that already.
        """
        info = self.find(stream)
        if total < info.partitions:
            raise ConfigurationError(f"{stream} has {info.partitions} partitions, and can't have fewer: {total}")
        self.streams[stream] = validated(replace(info, partitions=total))
        for id_ in self.partitions_of(stream):
            self._partitions.setdefault(id_, _Partition())
        for group in self._groups.values():
            if group.consumes(stream):
                group.prepare()

    def find(self, stream: str) -> StreamInfo:
        """The stream of that name.

        Raises:
            StreamNotFound: there is none; the message names those that are near.
        """
        found = self.streams.get(stream)
        if found is None:
            near = difflib.get_close_matches(stream, self.streams)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(self.streams))}"
            raise StreamNotFound(f"there is no stream {stream}; {hint}")
        return found

    def partitions_of(self, stream: str) -> list[TopicPartition]:
        """The partitions of a stream, none when it does not exist."""
        info = self.streams.get(stream)
        return info.ids if info else []

    def append(self, record: Outgoing, now_ms: int) -> tuple[int, int]:
        """Append a record; its partition and offset. Those without a key go to the partitions in turn.

        Raises:
            StreamNotFound: the stream or the partition does not exist.
            RecordTooLarge: it is larger than the stream takes.
        """
        info = self.find(record.topic)
        limit = int(info.config.get("max.message.bytes", _MAX_MESSAGE_BYTES))
        if (size := size_in_kafka(record)) > limit:
            raise RecordTooLarge(
                f"a record of {size:,} bytes is larger than {record.topic} takes (max.message.bytes={limit})"
            )
        if record.partition is not None:
            number = record.partition
        elif record.key is not None:
            number = key_hash(record.key) % info.partitions
        else:
            number = self._turn % info.partitions
            self._turn += 1
        partition = self._of(TopicPartition(record.topic, number))
        offset = partition.end
        timestamp = now_ms if record.timestamp is None else record.timestamp
        partition.records.append(
            MemoryRecord(record.topic, number, offset, timestamp, record.key, record.value, record.headers)
        )
        self.changed.notify()
        return number, offset

    def extent(self, partition: TopicPartition) -> tuple[int, int]:
        """The first offset that is held, and the one that the next record will have.

        Raises:
            StreamNotFound: the partition does not exist.
        """
        found = self._of(partition)
        return found.start, found.end

    def read(self, partition: TopicPartition, offset: int, limit: int | None = None) -> list[MemoryRecord]:
        """Up to ``limit`` records from ``offset`` on, which is one that is held or the end."""
        found = self._of(partition)
        begin = offset - found.start
        return found.records[begin : None if limit is None else begin + limit]

    def offset_for_time(self, partition: TopicPartition, timestamp_ms: int) -> int | None:
        """The first offset at or after the time."""
        return next((each.offset for each in self._of(partition).records if each.timestamp >= timestamp_ms), None)

    def delete_records(self, partition: TopicPartition, before: int) -> None:
        """Delete what lies before that offset, as retention does."""
        found = self._of(partition)
        before = min(before, found.end)
        if before > found.start:
            del found.records[: before - found.start]
            found.start = before

    def _of(self, partition: TopicPartition) -> _Partition:
        found = self._partitions.get(partition)
        if found is None:
            info = self.find(partition.topic)
            raise StreamNotFound(
                f"{partition.topic} has no partition {partition.partition}: it has {info.partitions}, counted from 0"
            )
        return found
