"""A member of a group in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence

from dispatcher.brokers.base import RebalanceListener
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.errors import BrokerError, CommitRefused, MetadataTooLarge, OffsetOutOfRange
from dispatcher.testing.log import Log

__all__ = ["MemoryConsumer", "check_metadata"]

logger = logging.getLogger("dispatcher.testing")

#: Kafka's ``offset.metadata.max.bytes``.
_MAX_METADATA = 4_096


def check_metadata(partition: TopicPartition, metadata: str) -> None:
    """Refuse what Kafka would.

    Raises:
        MetadataTooLarge: just that.
    """
    if (size := len(metadata.encode())) > _MAX_METADATA:
        raise MetadataTooLarge(
            f"commit metadata of {size:,} bytes for {partition[0]}/{partition[1]} is larger than {_MAX_METADATA:,} bytes"
        )


class MemoryConsumer:
    """See :class:`dispatcher.brokers.base.Consumer`.

    Where the listener does not seek, a partition begins at the group's commit, and without one at the log's start.
    """

    def __init__(
        self, log: Log, group: str, streams: Sequence[str], listener: RebalanceListener, *, rebalance_timeout: float
    ) -> None:
        self._log = log
        self._group = log.group(group)
        self._streams = tuple(streams)
        self._listener = listener
        self._rebalance_timeout = rebalance_timeout
        self._seat = 0
        self._generation = 0
        self._positions: dict[TopicPartition, int] = {}
        self._delivering = False
        self._failure: Exception | None = None
        self._follower: asyncio.Task[None] | None = None
        self._turn = 0

    async def start(self) -> None:
        for stream in self._streams:
            self._log.find(stream)
        self._seat = self._group.join(self._streams)
        self._group.consumers.append(self)
        self._follower = asyncio.create_task(self._follow(), name=f"memory-member-{self._group.name}")

    async def fetch(
        self, partitions: Collection[TopicPartition], *, max_records: int, timeout: float
    ) -> Mapping[TopicPartition, Sequence[Record]]:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout
        generation = self._generation
        while True:
            if self._failure is not None:
                raise self._failure
            if taken := self._take(partitions, max_records):
                return taken
            left = give_up - loop.time()
            # A new assignment ends the wait too: the caller will want to ask for other partitions.
            if left <= 0 or generation != self._generation:
                return {}
            await self._log.changed.wait(left)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        # A partition that has just gone needs no position: its new owner has one.
        if partition in self._positions:
            self._positions[partition] = offset

    def position(self, partition: TopicPartition) -> int | None:
        return self._positions.get(partition)

    def delivered(self, partition: TopicPartition) -> int | None:
        """The position of a partition whose records this member is handing out; None for any other."""
        return self._positions.get(partition) if self._delivering else None

    async def commit(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        for partition, (_, metadata) in offsets.items():
            if partition not in self._positions:
                raise CommitRefused(f"{partition[0]}/{partition[1]} has gone to another member")
            check_metadata(partition, metadata)
        self._group.commit(self._seat, offsets)

    async def close(self) -> None:
        self._leave()
        if self._follower is not None and not self._is_following():
            await asyncio.wait([self._follower])

    def cut(self) -> None:
        """Be gone at once, and for good: nothing more comes, and no commit is taken."""
        self._leave()

    def _leave(self) -> None:
        self._delivering = False
        self._positions = {}
        if self._follower is not None and not self._is_following():
            self._follower.cancel()
        with contextlib.suppress(ValueError):
            self._group.consumers.remove(self)
        self._group.leave(self._seat)

    def _is_following(self) -> bool:
        """Whether the caller is a callback of the listener, or the end of the follower itself."""
        try:
            return self._follower is asyncio.current_task()
        except RuntimeError:
            return False

    def _take(self, partitions: Collection[TopicPartition], max_records: int) -> dict[TopicPartition, Sequence[Record]]:
        """What the log holds: an equal share of each partition, each time beginning with another one."""
        taken: dict[TopicPartition, Sequence[Record]] = {}
        if not self._delivering:
            return taken
        full = []
        outside: OffsetOutOfRange | None = None
        for id_ in partitions:
            position = self._positions.get(id_)
            if position is None:
                continue
            start, end = self._log.extent(id_)
            if not start <= position <= end:
                outside = OffsetOutOfRange(*id_, position)
            elif position < end:
                full.append(id_)
        if not full and outside is not None:
            raise outside
        self._turn += 1
        for index in range(len(full)):
            if max_records <= 0:
                break
            id_ = full[(self._turn + index) % len(full)]
            records = self._log.read(id_, self._positions[id_], -(-max_records // (len(full) - index)))
            taken[id_] = records
            self._positions[id_] += len(records)
            max_records -= len(records)
        return taken

    async def _follow(self) -> None:
        """Keep in step with the group."""
        group = self._group
        try:
            while True:
                if not group.is_member(self._seat):
                    logger.warning(
                        "a consumer of %s took too long to give up its partitions; it joins again", group.name
                    )
                    await self._give_up()
                    self._seat = group.join(self._streams)
                elif group.preparing and self._positions:
                    await self._give_up()
                    group.ready(self._seat)
                elif group.preparing:
                    group.ready(self._seat)
                    if group.preparing:
                        await self._wait_for_others()
                elif group.generation != self._generation:
                    await self._take_over()
                else:
                    await group.changed.wait()
        except Exception as error:
            if not isinstance(error, BrokerError):
                logger.exception("a consumer of %s ends: its rebalance listener failed", group.name)
            self._failure = error
            self._leave()
            self._log.changed.notify()

    async def _wait_for_others(self) -> None:
        loop = asyncio.get_running_loop()
        generation, deadline = self._group.generation, loop.time() + self._rebalance_timeout
        while self._group.preparing and self._group.generation == generation:
            left = deadline - loop.time()
            if left <= 0:
                self._group.expel_late()
                return
            await self._group.changed.wait(left)

    async def _give_up(self) -> None:
        self._delivering = False
        if self._positions:
            try:
                await self._listener.on_revoked(tuple(self._positions))
            finally:
                self._positions = {}

    async def _take_over(self) -> None:
        group = self._group
        self._generation = group.generation
        commits = group.commits
        self._positions = {
            id_: commits[id_].offset if id_ in commits else self._log.extent(id_)[0]
            for id_ in group.assigned(self._seat)
        }
        await self._listener.on_assigned(tuple(self._positions))
        self._delivering = True
        self._log.changed.notify()
