"""An app's control stream: read from its begin with no group, followed, and written to."""

from __future__ import annotations

import logging

from dispatcher.brokers.base import Broker
from dispatcher.brokers.streams import create_compacted
from dispatcher.control.entry import Entry, control_topic, encode
from dispatcher.control.trail import Trail
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import BrokerError, CorruptRecords, OffsetOutOfRange, StreamNotFound

__all__ = ["ControlLog"]

logger = logging.getLogger("dispatcher.control")

_AT_ONCE = 500


class ControlLog:
    """One partition, compacted, made when something is said for the first time.

    Args:
        broker: connected.
        app: whose.
        create: make the stream when it is missing; else writing to it raises.

    Attributes:
        trail: what was read so far.
        position: the offset that follows it.
    """

    def __init__(self, broker: Broker, app: str, *, create: bool = True) -> None:
        self.trail = Trail()
        self.position = 0
        self._broker = broker
        self._create = create
        self._partition = TopicPartition(control_topic(app), 0)
        self._has_begun = False

    @property
    def topic(self) -> str:
        """The stream's name."""
        return self._partition.topic

    async def look(self) -> None:
        """Read what is new. A stream that does not exist has nothing to say.

        Raises:
            BrokerRefused: this user lacks DESCRIBE or READ on the stream.
            BrokerUnavailable: its leader does not answer.
        """
        id_ = self._partition
        try:
            end = (await self._broker.end_offsets([id_]))[id_]
            if not self._has_begun or end < self.position:
                # For the first time, or the stream was deleted and made anew.
                await self._begin()
            while self.position < end:
                await self._read(end)
        except StreamNotFound:
            return

    async def write(self, entry: Entry) -> int:
        """Append an entry, and delete what is older than is kept; returns its offset once the broker has it.

        Raises:
            BrokerRefused: this user lacks WRITE on the stream, or CREATE where it is missing.
            StreamNotFound: it is missing, and may not be made.
            BrokerUnavailable: it may or may not have been written.
        """
        if self._create:
            await create_compacted(self._broker, self.topic)
        producer = await self._broker.producer()
        try:
            _, offset = await producer.send(self._record(entry.key, encode(entry)))
            tombstones = [self._record(key, None) for key in self.trail.superfluous(entry.function)]
            for failed in await producer.send_all(tombstones) if tombstones else ():
                if isinstance(failed, BrokerError):
                    logger.debug("an old entry of %s was not deleted: %s", entry.function, failed)
        finally:
            await producer.close()
        return offset

    def _record(self, key: bytes, value: bytes | None) -> Outgoing:
        return Outgoing(topic=self.topic, partition=0, key=key, value=value)

    async def _begin(self) -> None:
        self.position = (await self._broker.beginning_offsets([self._partition]))[self._partition]
        self._has_begun = True

    async def _read(self, end: int) -> None:
        id_ = self._partition
        try:
            records = (await self._broker.read({id_: self.position}, max_records=_AT_ONCE))[id_]
        except OffsetOutOfRange:
            await self._begin()
            return
        except CorruptRecords as error:
            logger.error("%s; what it said is not known", error)  # noqa: TRY400 - where it happened says nothing
            self.position = error.end
            return
        for record in records:
            try:
                self.trail.take(record)
            except ValueError as error:
                logger.warning(
                    "%s/0@%d is no entry of Dispatch's, and is left out: %s", id_.topic, record.offset, error
                )
        after = records[-1].offset + 1 if records else end
        # Fewer than asked for: the log was read to its end, and what lies between was compacted away.
        self.position = after if len(records) == _AT_ONCE else max(after, end)
