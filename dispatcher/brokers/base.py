"""The broker as the dispatcher sees it: three small protocols.

Adapters translate their driver's errors into :mod:`dispatcher.errors` at this edge, and nowhere else.
One contract suite runs over every adapter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from dispatcher.core.record import Committed, Outgoing, Record, TopicPartition
from dispatcher.errors import BrokerError

__all__ = ["Broker", "Consumer", "Producer", "RebalanceListener", "StreamInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """A stream as the broker describes it.

    Attributes:
        name: the topic.
        partitions: how many it has.
        config: the broker's settings of it that were set on purpose, such as ``retention.ms``.
    """

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[TopicPartition]:
        """Its partitions."""
        return [TopicPartition(self.name, number) for number in range(self.partitions)]


class RebalanceListener(Protocol):
    """Told when a consumer's partitions change. Both are awaited before the group goes on."""

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions are ours from now. Positions are set here, with ``Consumer.seek``."""

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """These are about to go. What is done may still be committed until this returns."""


class Consumer(Protocol):
    """One member of a consumer group."""

    async def start(self) -> None:
        """Join the group; the listener is called once partitions are there.

        Raises:
            BrokerUnavailable, BrokerRefused: at once when the broker says no, within 10 s when it is silent.
            StreamNotFound: a stream does not exist.
        """

    async def fetch(
        self, partitions: Collection[TopicPartition], *, max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return records of these partitions alone, in offset order; empty after ``timeout`` seconds.

        Partitions that are not named keep their records for later: asking for fewer is the back-pressure.
        Call it with those that :meth:`RebalanceListener.on_assigned` has been told of, and never cancel it.
        With no partitions it returns at once or after ``timeout``, empty.

        Raises:
            OffsetOutOfRange: a position is outside the log; the caller seeks.
            CorruptRecords: records at a position can't be read; the caller seeks to their end, or stops asking.
            BrokerUnavailable, BrokerRefused, StreamNotFound, FencedMember: the consumer may be closed and made anew.
        """

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Set where the next fetch of ``partition`` begins."""

    def position(self, partition: TopicPartition) -> int | None:
        """The offset that follows the last record fetched, or gap passed; None when it is not known."""

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Commit these offsets for the group.

        Raises:
            CommitRefused: a partition has gone to another member.
            MetadataTooLarge: the broker takes less; other partitions may have been committed.
            BrokerUnavailable: no answer within 10 s; it may or may not have been committed.
        """

    async def close(self) -> None:
        """Leave the group. Does not commit and does not call the listener. Never raises, takes 10 s at most."""


class Producer(Protocol):
    """Writes records, each acknowledged by all in-sync replicas."""

    async def send(self, record: Outgoing) -> tuple[int, int]:
        """Produce one record and return its (partition, offset) once the broker has acknowledged it.

        Concurrent sends to one partition are written in call order.

        Raises:
            RecordTooLarge, StreamNotFound, AuthorizationFailed: this record was refused; other sends go on.
            BrokerUnavailable: not acknowledged in time; it may or may not have been written.
        """

    async def send_all(self, records: Sequence[Outgoing]) -> Sequence[tuple[int, int] | BrokerError]:
        """Produce records together, in order, which costs far less for each than to send it alone.

        Returns:
            For each its (partition, offset), or what :meth:`send` would have raised.
        """

    async def close(self) -> None:
        """Flush and close."""


class Broker(Protocol):
    """A place with streams. An async context manager."""

    @property
    def url(self) -> str:
        """The broker as a person would name it, without secrets."""

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BrokerUnavailable, AuthenticationFailed, UntrustedBroker: told apart, with what to check.
        """

    async def __aexit__(self, *exc_info: object) -> None: ...

    def consumer(self, group: str, streams: Sequence[str], listener: RebalanceListener) -> Consumer:
        """Make a member of ``group`` that consumes ``streams``; it joins when started."""

    async def producer(self) -> Producer:
        """Make a producer, connected."""

    async def list_streams(self) -> Sequence[StreamInfo]:
        """All streams, internal ones left out, by name."""

    async def describe(self, stream: str) -> StreamInfo | None:
        """One stream, or None when it does not exist."""

    async def create_stream(self, stream: StreamInfo) -> bool:
        """Create it; False when it was there already."""

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that each log still holds."""

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset that the next record of each will have (of a transactional log: that may be read)."""

    async def offsets_for_time(
        self, partitions: Collection[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int | None]:
        """The first offset of each whose timestamp is at or after the time; None when there is none."""

    async def committed(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        """What the group has committed, with metadata; needs no membership."""

    async def group_members(self, group: str) -> int:
        """How many live members the group has; 0 for one that nobody is in, or that does not exist."""

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Commit offsets for a group that nobody is in; all of them or, when it raises before the broker answered, maybe.

        Raises:
            CommitRefused: the group has live members, who would overwrite it or never look at it.
            BrokerRefused: the metadata is too large, or this user may not.
            StreamNotFound: a partition does not exist.
        """

    async def read(
        self, positions: Mapping[TopicPartition, int], *, max_records: int = 1
    ) -> dict[TopicPartition, Sequence[Record]]:
        """Read the records from each offset on, with no group: ``max_records`` of each, or fewer where its log ends.

        Raises:
            OffsetOutOfRange: a log begins after the offset, or ends before it.
            CorruptRecords: a record can't be read.
            StreamNotFound: a partition does not exist.
            BrokerUnavailable, BrokerRefused: see their names.
        """
