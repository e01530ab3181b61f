"""The topics by which dead letters come back to their function."""

from __future__ import annotations

from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.deadletters.shelf import Shelf, Survey
from dispatcher.worker.topics import HEADER_ROOM

__all__ = ["make_retry_topics"]


async def make_retry_topics(broker: Broker, shelf: Shelf, survey: Survey) -> list[str]:
    """Make the retry topics that the letters go to and that are not there; returns those.

    Raises:
        BrokerRefused: this user may not.
    """
    made = []
    for source in survey.sources:
        topic = shelf.retry_topic(source)
        if await broker.describe(topic) is not None:
            continue
        origin = await broker.describe(source)
        rests = [info for name in shelf.topics if (info := await broker.describe(name)) is not None]
        # It has to take what the dead-letter topic took, and whole what that took cut.
        sizes = [int(size) for info in rests if (size := info.config.get("max.message.bytes")) is not None]
        sizes += [int(origin.config.get("max.message.bytes", 0)) + HEADER_ROOM] if origin is not None and sizes else []
        config = {"max.message.bytes": str(max(sizes))} if sizes else {}
        partitions = max(info.partitions for info in rests) if origin is None else origin.partitions
        if await broker.create_stream(StreamInfo(name=topic, partitions=partitions, config=config)):
            made.append(topic)
    return made
