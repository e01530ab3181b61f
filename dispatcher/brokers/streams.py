"""What is asked of a broker's streams in more than one place."""

from __future__ import annotations

from collections.abc import Collection

from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.core.record import TopicPartition

__all__ = ["create_compacted", "every_partition"]


async def every_partition(broker: Broker, streams: Collection[str]) -> list[TopicPartition]:
    """All partitions of those of the streams that are there.

    Raises:
        BrokerError: the broker could not be asked.
    """
    found = []
    for stream in streams:
        if (info := await broker.describe(stream)) is not None:
            found += info.ids
    return found


async def create_compacted(broker: Broker, name: str) -> None:
    """Make a stream of the app's own, one partition of which the last record of each key counts, when it is missing.

    Raises:
        BrokerError: it can't be made.
    """
    if await broker.describe(name) is None:
        await broker.create_stream(StreamInfo(name=name, partitions=1, config={"cleanup.policy": "compact"}))
