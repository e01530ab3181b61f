"""The extent of a batch that can't be read."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from dispatcher.brokers.kafka.internals import fetch_bytes

__all__ = ["end_of_batch", "find_end_of_batch"]

_FETCH_BYTES = 1024 * 1024
#: Of a batch: its first offset, and its length from there on.
_OVERHEAD = 12
#: Enough of the batch that follows to see where it begins.
_NEXT = 8


async def find_end_of_batch(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> int:
    """The offset after the batch that holds ``offset``, as far as it can be known; the next offset when it can't.

    Raises:
        KafkaError: the leader does not answer.
    """
    data, log_end = await fetch_bytes(consumer, partition, offset, _FETCH_BYTES)
    if (length := _length(data)) <= len(data) < length + _NEXT:
        # As large as what is fetched at once: what follows is asked for too.
        data, log_end = await fetch_bytes(consumer, partition, offset, length + _NEXT)
    return end_of_batch(data, offset, log_end)


def end_of_batch(data: bytes, offset: int, log_end: int) -> int:
    """The offset after the batch at the begin of ``data``, which is what a broker gives for ``offset``.

    Its header says so; and where a batch follows, its first offset does. The damage may be in either, so that the
    lower one counts, and ``offset + 1`` where even that is none: rather too short a step than one over events that
    can be read.
    """
    try:
        batches = MemoryRecords(data)
        first = batches.next_batch() if batches.has_next() else None
    except CorruptRecordException:
        first = None
    if first is None:
        return offset + 1
    end, length = min(first.next_offset, log_end), _length(data)
    if len(data) >= length + _NEXT:
        end = min(end, int.from_bytes(data[length : length + _NEXT], "big", signed=True))
    return max(end, offset + 1)


def _length(data: bytes) -> int:
    return _OVERHEAD + int.from_bytes(data[8:_OVERHEAD], "big", signed=True)
