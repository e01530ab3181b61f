"""How much of the log is not done yet, and how old that is."""

from __future__ import annotations

import logging

from dispatcher.brokers.base import Broker
from dispatcher.clock import Clock
from dispatcher.core.partition import Partition
from dispatcher.core.record import TopicPartition
from dispatcher.core.scheduler import Scheduler
from dispatcher.errors import BrokerError
from dispatcher.telemetry.measures import PartitionMeasures
from dispatcher.worker.span import Span

__all__ = ["Backlog"]

logger = logging.getLogger("dispatcher.worker")

# Seconds after which nobody believes where the log ended: a silent broker takes 10 to be found out.
_STALE = 15.0


class Backlog:
    """Looks now and then at where the logs end. What could not be read is None, and never 0.

    Args:
        broker: asked.
        scheduler: whose partitions.
        clock: both of it.
        span: where the partitions end instead, of a replay.
    """

    def __init__(self, broker: Broker, scheduler: Scheduler, clock: Clock, span: Span | None) -> None:
        self._broker = broker
        self._scheduler = scheduler
        self._clock = clock
        self._span = span
        self._ends: dict[TopicPartition, int] = {}
        self._looked = float("-inf")
        # Where partitions stood at the last look, of which nothing was in memory though the log went on.
        self._idle: dict[TopicPartition, int] = {}
        # The timestamps, in milliseconds, of events that stand next and were not fetched: partition -> (offset, time).
        self._heads: dict[TopicPartition, tuple[int, int]] = {}
        self._newest: dict[TopicPartition, int] = {}

    def fetched(self, id_: TopicPartition, timestamp: int) -> None:
        """The newest event that was fetched is of that time."""
        self._newest[id_] = timestamp

    async def look(self) -> None:
        """Ask where the logs end; and where a partition with nothing in memory does not move, how old its next event is."""
        partitions = self._scheduler.partitions
        if self._span is not None:
            self._ends = {id_: self._span.end(id_) for id_ in partitions}
            self._looked = self._clock.monotonic()
            return
        began = self._clock.monotonic()
        try:
            self._ends = await self._broker.end_offsets(list(partitions))
        except BrokerError as error:
            logger.debug("the ends of the logs could not be read: %s", error)
            self._ends = {}
            return
        self._looked = began
        idle = {
            id_: owned.offsets.end
            for id_, owned in partitions.items()
            if not owned.pending and not owned.stretch and owned.offsets.end < self._ends.get(id_, 0)
        }
        await self._read_heads(
            {
                id_: offset
                for id_, offset in idle.items()
                if (self._idle.get(id_) == offset or id_ not in self._newest)
                and self._heads.get(id_, (-1,))[0] != offset
            }
        )
        self._idle = idle
        self._heads = {id_: head for id_, head in self._heads.items() if idle.get(id_) == head[0]}
        self._newest = {id_: timestamp for id_, timestamp in self._newest.items() if id_ in partitions}

    async def _read_heads(self, positions: dict[TopicPartition, int]) -> None:
        for id_, offset in positions.items():
            # One by one: a leader that is silent, or an event that can't be read, says nothing of the others.
            try:
                records = (await self._broker.read({id_: offset}))[id_]
            except BrokerError as error:
                logger.debug("%s/%d@%d could not be read for its age: %s", id_.topic, id_.partition, offset, error)
                self._newest.pop(id_, None)
            else:
                if records:
                    self._heads[id_] = (offset, records[0].timestamp)

    def events(self) -> int | None:
        """Events that are not done, in all partitions; None when that is not known of each."""
        every = [self._events(id_, owned) for id_, owned in self._scheduler.partitions.items()]
        known = [count for count in every if count is not None]
        return sum(known) if len(known) == len(every) else None

    def partitions(self) -> tuple[PartitionMeasures, ...]:
        """Each partition at this moment."""
        limit = self._scheduler.metadata_limit
        return tuple(self._partition(id_, owned, limit) for id_, owned in self._scheduler.partitions.items())

    def oldest_age(self) -> float | None:
        """Seconds since the timestamp of the oldest event in memory; None when there is none."""
        times = [_oldest(owned) for owned in self._scheduler.partitions.values() if owned.pending or owned.stretch]
        return self._age(min(times)) if times else None

    def _partition(self, id_: TopicPartition, owned: Partition, limit: int) -> PartitionMeasures:
        backlog, commit = self._events(id_, owned), owned.last_commit
        committed = owned.offsets.position if commit is None else commit.offset
        return PartitionMeasures(
            stream=id_.topic,
            number=id_.partition,
            lag=None if backlog is None else max(0, max(self._ends[id_], owned.received) - committed),
            backlog=backlog,
            lag_seconds=None if backlog is None else self._lag_seconds(id_, owned),
            map_use=len(commit.metadata) / limit if commit is not None and limit > 0 else 0.0,
        )

    def _events(self, id_: TopicPartition, owned: Partition) -> int | None:
        end = self._ends.get(id_)
        if end is None or self._clock.monotonic() - self._looked > _STALE:
            return None
        begin, end = owned.offsets.end, max(end, owned.received)
        done = sum(max(0, min(stop, end) - max(start, begin)) for start, stop in owned.offsets.restored)
        return len(owned.pending) + max(0, end - begin - done)

    def _lag_seconds(self, id_: TopicPartition, owned: Partition) -> float | None:
        if owned.pending or owned.stretch:
            return self._age(_oldest(owned))
        position = owned.offsets.end
        if position >= self._ends[id_]:
            return 0.0
        offset, timestamp = self._heads.get(id_, (-1, 0))
        if offset == position:
            return self._age(timestamp)
        # It moves, and what comes next is about as old as what came last.
        newest = self._newest.get(id_)
        return None if newest is None else self._age(newest)

    def _age(self, timestamp: int) -> float:
        return max(0.0, self._clock.wall() - timestamp / 1000)


def _oldest(owned: Partition) -> int:
    if owned.stretch is not None:
        return owned.stretch.records[0].timestamp
    return next(iter(owned.pending.values())).record.timestamp
