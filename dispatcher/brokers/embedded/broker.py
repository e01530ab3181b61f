"""The embedded broker itself."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from dispatcher.brokers.base import RebalanceListener, StreamInfo
from dispatcher.brokers.embedded import catalog, groups, log
from dispatcher.brokers.embedded.consumer import EmbeddedConsumer, check_metadata
from dispatcher.brokers.embedded.database import Database, translated
from dispatcher.brokers.embedded.position import Position
from dispatcher.brokers.embedded.producer import EmbeddedProducer
from dispatcher.brokers.embedded.schema import prepare_file
from dispatcher.brokers.embedded.signals import Watcher
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.errors import DispatchError, OffsetOutOfRange, StreamNotFound

__all__ = ["EmbeddedBroker"]

P = ParamSpec("P")
T = TypeVar("T")

_READ_BYTES = 1_000_000


class EmbeddedBroker:
    """A durable log in one SQLite file, behind the same protocol as Kafka; see :class:`dispatcher.brokers.base.Broker`.

    It needs no server and serves one machine: any number of processes may open the file at once, on a local disk.

    Durability: an acknowledged record or commit survives the death of every process (kill -9 included), since it has
    been handed to the operating system. It is flushed to the disk at checkpoints only (``synchronous=NORMAL``): a power
    loss may take the last ones, never the order or the soundness of what is left. Waiting for the disk each time would
    cost 1 to 10 ms a commit, and Kafka itself does not: it relies on its replicas.

    Of a stream's settings ``retention.ms``, ``retention.bytes`` (both without limit by default) and
    ``max.message.bytes`` are obeyed; others are kept and shown. Deleted space is used again, the file does not shrink.

    Args:
        path: the file; it and its folder are made when missing.
        session_timeout: seconds of silence after which a member's partitions go to the others. One whose process has
            died is found sooner.
        rebalance_timeout: seconds that the members have to give up their partitions.
        poll_interval: seconds between looks for what other processes have written.
        retention_interval: seconds between deletions of what retention does not keep.
        lock_timeout: seconds to wait for a process that holds the file's lock.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        session_timeout: float = 10.0,
        rebalance_timeout: float = 60.0,
        poll_interval: float = 0.02,
        retention_interval: float = 60.0,
        lock_timeout: float = 10.0,
    ) -> None:
        self._path = Path(path)
        self._session_timeout = session_timeout
        self._rebalance_timeout = rebalance_timeout
        self._retention_interval = retention_interval
        self._lock_timeout = lock_timeout
        # Two connections: a fetch does not stand behind a write, and within this process writes never meet.
        self._reader = Database(self._path, lock_timeout=lock_timeout, writes=False)
        self._writer = Database(self._path, lock_timeout=lock_timeout, writes=True)
        self._watcher = Watcher(self._reader, poll_interval)
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"embedded:{self._path}"

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._prepare_file)
            await self._enforce_retention()
        except BaseException:
            await self._reader.close()
            await self._writer.close()
            raise
        self._sweeper = asyncio.create_task(self._sweep(), name="dispatch-log-retention")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        await self._watcher.stop()
        await self._reader.close()
        await self._writer.close()

    def consumer(self, group: str, streams: Sequence[str], listener: RebalanceListener) -> EmbeddedConsumer:
        return EmbeddedConsumer(
            self._reader,
            self._writer,
            self._watcher,
            group,
            streams,
            listener,
            session_timeout=self._session_timeout,
            rebalance_timeout=self._rebalance_timeout,
        )

    async def producer(self) -> EmbeddedProducer:
        return EmbeddedProducer(self._writer, self._watcher)

    async def list_streams(self) -> Sequence[StreamInfo]:
        return [_info(stream) for stream in await self._reader.run(catalog.list_all)]

    async def describe(self, stream: str) -> StreamInfo | None:
        found = await self._reader.run(catalog.find, stream)
        return None if found is None else _info(found)

    async def create_stream(self, stream: StreamInfo) -> bool:
        return await self._change(catalog.create, catalog.validated(stream))

    async def add_partitions(self, stream: str, total: int) -> None:
        """Give the stream ``total`` partitions; its consumers get the new ones in a rebalance.

        Raises:
            StreamNotFound: it does not exist.
            ConfigurationError: it has more than that already.
        """
        await self._change(catalog.add_partitions, stream, total)

    async def delete_stream(self, stream: str) -> bool:
        """Delete the stream, its records and what groups have committed for it; False when it does not exist."""
        return await self._change(catalog.delete, stream)

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        found = await self._reader.run(log.extents, partitions)
        return {partition: extent.start for partition, extent in found.items()}

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        found = await self._reader.run(log.extents, partitions)
        return {partition: extent.end for partition, extent in found.items()}

    async def offsets_for_time(
        self, partitions: Collection[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int | None]:
        def find(db: sqlite3.Connection) -> dict[TopicPartition, int | None]:
            return {partition: log.offset_for_time(db, partition, timestamp_ms) for partition in partitions}

        return await self._reader.run(find)

    async def committed(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        def find(db: sqlite3.Connection) -> dict[TopicPartition, Committed | None]:
            return {partition: groups.committed(db, group, partition) for partition in partitions}

        return await self._reader.run(find)

    async def group_members(self, group: str) -> int:
        return await self._reader.run(groups.live_members, group, time.monotonic())

    async def set_offsets(self, group: str, offsets: Mapping[TopicPartition, Committed]) -> None:
        for partition, committed in offsets.items():
            check_metadata(partition, committed.metadata)
        await self._change(groups.set_offsets, group, offsets, time.monotonic())

    async def read(
        self, positions: Mapping[TopicPartition, int], *, max_records: int = 1
    ) -> dict[TopicPartition, Sequence[Record]]:
        extents = await self._reader.run(log.extents, positions)
        return {
            partition: await self._read(partition, extents[partition], offset, max_records)
            for partition, offset in positions.items()
        }

    async def _read(
        self, partition: TopicPartition, extent: log.Extent, offset: int, max_records: int
    ) -> Sequence[Record]:
        if not extent.start <= offset <= extent.end:
            raise OffsetOutOfRange(*partition, offset)
        position = Position(partition, extent.log_id, offset)
        records: list[Record] = []
        while len(records) < max_records and position.offset < extent.end:
            [(there, batches)] = await self._reader.run(log.read, [(extent.log_id, position.offset)], _READ_BYTES)
            if there is None:
                raise StreamNotFound(f"{partition.topic} was deleted")
            if not batches:
                # Retention took it between two reads.
                raise OffsetOutOfRange(*partition, position.offset)
            position.fill(batches)
            while position.has_records and len(records) < max_records:
                records += position.take(max_records - len(records))
        return records

    def _prepare_file(self) -> None:
        with translated(self._path, self._lock_timeout):
            prepare_file(self._path, self._lock_timeout)

    async def _change(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        result = await self._writer.run(function, *args, **kwargs)
        self._watcher.groups.notify()
        self._watcher.records.notify()
        return result

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._retention_interval)
            with contextlib.suppress(DispatchError):
                await self._enforce_retention()

    async def _enforce_retention(self) -> None:
        streams = await self._reader.run(catalog.list_all)
        if any(stream.config.keys() & {"retention.ms", "retention.bytes"} for stream in streams):
            await self._writer.run(log.enforce_retention, time.time_ns() // 1_000_000)


def _info(stream: catalog.Stream) -> StreamInfo:
    return StreamInfo(name=stream.name, partitions=stream.partitions, config=stream.config)
