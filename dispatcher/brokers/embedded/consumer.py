"""Reads from the log as a member of a group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

from dispatcher.brokers.base import RebalanceListener
from dispatcher.brokers.embedded import groups, log
from dispatcher.brokers.embedded.database import Database
from dispatcher.brokers.embedded.membership import Membership
from dispatcher.brokers.embedded.position import Position
from dispatcher.brokers.embedded.signals import Watcher
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.errors import CommitRefused, CorruptRecords, MetadataTooLarge, OffsetOutOfRange, StreamNotFound

__all__ = ["EmbeddedConsumer", "check_metadata"]

#: Read ahead at a time, over all partitions; and of one at least, so that many partitions are not read in crumbs.
_READ_BYTES = 4_000_000
_MIN_READ_BYTES = 128_000

#: Kafka's ``offset.metadata.max.bytes``.
_MAX_METADATA = 4_096


def check_metadata(partition: TopicPartition, metadata: str) -> None:
    """Refuse what Kafka would.

    Raises:
        MetadataTooLarge: just that.
    """
    if len(metadata.encode()) > _MAX_METADATA:
        raise MetadataTooLarge(
            f"commit metadata of {len(metadata.encode()):,} bytes for {partition.topic}/{partition.partition} "
            f"is larger than {_MAX_METADATA:,}"
        )


class EmbeddedConsumer:
    """See :class:`dispatcher.brokers.base.Consumer`.

    Where the listener does not seek, a partition begins at the group's commit, and without one at the log's start.
    """

    def __init__(
        self,
        reader: Database,
        writer: Database,
        watcher: Watcher,
        group: str,
        streams: Sequence[str],
        listener: RebalanceListener,
        *,
        session_timeout: float,
        rebalance_timeout: float,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._watcher = watcher
        self._group = group
        self._membership = Membership(
            writer,
            watcher,
            group,
            streams,
            listener,
            session_timeout=session_timeout,
            rebalance_timeout=rebalance_timeout,
        )
        self._turn = 0

    async def start(self) -> None:
        self._watcher.start()
        await self._membership.start()

    async def close(self) -> None:
        await self._membership.close()

    async def fetch(
        self, partitions: Collection[TopicPartition], *, max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        give_up = time.monotonic() + timeout
        while True:
            changed = self._watcher.records.next
            assignment = self._membership.generation
            self._membership.raise_failure()
            asked = self._asked(partitions)
            if taken := self._take(asked, max_records):
                return taken
            await self._read(asked)
            if taken := self._take(self._asked(partitions), max_records):
                return taken
            remaining = give_up - time.monotonic()
            # A new assignment ends the wait too: the caller will want to ask for other partitions.
            if remaining <= 0 or assignment != self._membership.generation:
                return {}
            try:
                async with asyncio.timeout(remaining):
                    await changed.wait()
            except TimeoutError:
                return {}
            if assignment != self._membership.generation:
                return {}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        position = self._membership.positions.get(partition)
        # A partition that has just gone needs no position: its new owner has one.
        if position is not None:
            position.seek(offset)

    def position(self, partition: TopicPartition) -> int | None:
        position = self._membership.positions.get(partition)
        return None if position is None else position.offset

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        by_log: dict[int, Committed] = {}
        for partition, (offset, metadata) in offsets.items():
            position = self._membership.positions.get(partition)
            if position is None:
                raise CommitRefused(f"{partition.topic}/{partition.partition} has gone to another member")
            check_metadata(partition, metadata)
            by_log[position.log_id] = Committed(offset, metadata)
        await self._writer.run(
            groups.commit, self._group, self._membership.member_id, self._membership.generation, by_log
        )

    def _asked(self, partitions: Collection[TopicPartition]) -> list[Position]:
        if not self._membership.delivering:
            return []
        held = self._membership.positions
        return [held[partition] for partition in partitions if partition in held]

    def _take(self, asked: Sequence[Position], max_records: int) -> dict[TopicPartition, Sequence[Record]]:
        """What is in memory: an equal share of each partition, each time beginning with another one."""
        full = [position for position in asked if position.has_records]
        taken: dict[TopicPartition, Sequence[Record]] = {}
        if not full:
            return taken
        self._turn = (self._turn + 1) % len(full)
        for index in range(len(full)):
            position = full[(self._turn + index) % len(full)]
            share = -(-max_records // (len(full) - index))
            try:
                records = position.take(share)
            except CorruptRecords:
                if taken:
                    break
                raise
            if records:
                taken[position.partition] = records
                max_records -= len(records)
            if max_records <= 0:
                break
        return taken

    async def _read(self, asked: Sequence[Position]) -> None:
        if not asked:
            return
        wanted = [(position.log_id, position.offset) for position in asked]
        limit = max(_MIN_READ_BYTES, _READ_BYTES // len(asked))
        versions = [position.version for position in asked]
        results = await self._reader.run(log.read, wanted, limit)
        outside: OffsetOutOfRange | None = None
        for position, version, (extent, batches) in zip(asked, versions, results, strict=True):
            stream, partition = position.partition
            if extent is None:
                raise StreamNotFound(f"{stream} was deleted")
            if position.version != version:
                continue
            if not extent.start <= position.offset <= extent.end:
                outside = OffsetOutOfRange(stream, partition, position.offset)
            position.fill(batches)
        if outside is not None:
            raise outside
