"""Reading a part of the log, from offsets to offsets: alone, or as a member of a group."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

from dispatcher.brokers.base import Broker, Consumer
from dispatcher.core.record import Record, TopicPartition
from dispatcher.errors import CorruptRecords, OffsetOutOfRange

__all__ = ["Reader", "read_range"]

logger = logging.getLogger("dispatcher.reading")

_FETCH_WAIT = 0.25
_MAX_RECORDS = 500


class Reader:
    """Reads each partition up to its end; an async context manager.

    Members of one group share the partitions: each ends when it has read its own, and those that are left get the
    partitions of one that leaves. A subclass may say where a partition begins when it comes (:meth:`begin`), and commit
    by :attr:`consumer`.

    Args:
        broker: connected.
        group: to join. Commits nothing by itself.
        starts: the first offset of each partition.
        ends: the offset after the last one of each.
    """

    def __init__(
        self,
        broker: Broker,
        group: str,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        self._broker = broker
        self._reached = dict(starts)
        self._ends = {id_: end for id_, end in ends.items() if end > starts.get(id_, 0)}
        self._owned: set[TopicPartition] = set()
        streams = list(dict.fromkeys(id_.topic for id_ in self._ends))
        self.consumer: Consumer | None = broker.consumer(group, streams, self) if streams else None

    async def __aenter__(self) -> Self:
        if self.consumer is not None:
            await self.consumer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.consumer is not None:
            await self.consumer.close()

    async def begin(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Where these partitions begin: at their start, or where this reader left them."""
        return {id_: self._reached.get(id_, 0) for id_ in partitions}

    async def batches(self) -> AsyncGenerator[tuple[TopicPartition, Sequence[Record]], None]:
        """What is in the range, some records of a partition at a time, in offset order.

        Raises:
            BrokerError: the broker can't be read further.
        """
        consumer = self.consumer
        while consumer is not None and (behind := self._behind()):
            wanted = self._owned & behind
            if self._owned and not wanted:
                return  # the rest is another member's, which may be waiting for ours in the same way
            try:
                fetched = await consumer.fetch(wanted, max_records=_MAX_RECORDS, timeout=_FETCH_WAIT)
            except OffsetOutOfRange as error:
                await self._jump(TopicPartition(error.stream, error.partition))
                continue
            except CorruptRecords as error:
                id_ = TopicPartition(error.stream, error.partition)
                logger.error("skipped: %s", error)  # noqa: TRY400 - the message says it all
                self._reached[id_] = error.end
                consumer.seek(id_, error.end)
                continue
            for id_, records in fetched.items():
                within = [record for record in records if record.offset < self._ends[id_]]
                if within:
                    yield id_, within
            for id_ in wanted & self._owned:
                if (position := consumer.position(id_)) is not None:
                    self._reached[id_] = max(position, self._reached.get(id_, 0))

    def _behind(self) -> set[TopicPartition]:
        return {id_ for id_, end in self._ends.items() if self._reached.get(id_, 0) < end}

    async def _jump(self, id_: TopicPartition) -> None:
        # Retention was faster: what is left begins later.
        first = (await self._broker.beginning_offsets([id_]))[id_]
        self._reached[id_] = max(first, self._reached.get(id_, 0))
        if self.consumer is not None:
            self.consumer.seek(id_, self._reached[id_])

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Take these over."""
        for id_, offset in (await self.begin(partitions)).items():
            self._reached[id_] = offset
            if self.consumer is not None:
                self.consumer.seek(id_, offset)
        self._owned |= set(partitions)

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Ask no more of them."""
        self._owned -= set(partitions)


async def read_range(broker: Broker, id_: TopicPartition, start: int, stop: int) -> AsyncGenerator[Record, None]:
    """The records of one partition from ``start`` to before ``stop``, with no group.

    What retention deletes meanwhile is passed over, and so is, with an error in the log, what can't be read.

    Raises:
        BrokerUnavailable, BrokerRefused, StreamNotFound: see their names.
    """
    while start < stop:
        try:
            records = (await broker.read({id_: start}, max_records=_MAX_RECORDS)).get(id_, ())
        except OffsetOutOfRange:
            first = (await broker.beginning_offsets([id_]))[id_]
            if first <= start:
                return  # it was made anew, and is shorter now
            start = first
            continue
        except CorruptRecords as error:
            logger.error("skipped: %s", error)  # noqa: TRY400 - the message says it all
            start = error.end
            continue
        for record in records:
            if record.offset >= stop:
                return
            yield record
        if not records:
            return
        start = records[-1].offset + 1
