"""The streams that a function writes to."""

from __future__ import annotations

import logging
from collections.abc import Collection

from bindings import Binding
from dispatcher.brokers.base import Broker, StreamInfo
from dispatcher.errors import BrokerError, BrokerRefused, BrokerUnavailable

__all__ = ["HEADER_ROOM", "ensure_topics", "existing_streams", "retry_topics", "written_streams"]

logger = logging.getLogger("dispatcher.worker")

# Kafka's default max.message.bytes. A dead letter adds headers to an event that may be as large as its own
# topic takes: 1,048,000 bytes and 600 of headers were refused by a topic with the default.
_DEFAULT_RECORD_BYTES = 1_048_588
#: Bytes that a topic of ours takes more than the one whose events come to it, for the headers that are added.
HEADER_ROOM = 65_536


def written_streams(binding: Binding) -> dict[str, str]:
    """The streams that a binding writes to, each with the source whose partition count it takes."""
    written = {}
    # What is rejected rests there under then="pause" too.
    if binding.retry.then != "drop":
        written = {binding.dead_letter_topic(stream): stream for stream in binding.streams}
    if binding.order == "none":
        written |= {binding.retry_topic(stream): stream for stream in binding.streams}
    if binding.emits is not None:
        written[binding.emits] = binding.streams[0]
    return written


def retry_topics(binding: Binding) -> tuple[str, ...]:
    """Where events come back to this function alone.

    An unordered function's are made at its start, for it waits there. Those of an ordered one are made by its first
    redrive of dead letters.
    """
    return tuple(binding.retry_topic(stream) for stream in binding.streams)


async def existing_streams(binding: Binding, broker: Broker, *, known: Collection[str]) -> tuple[str, ...]:
    """The function's streams, and those of its retry topics that are there; a ``known`` one is when nobody can say."""
    found = list(binding.streams)
    for topic in retry_topics(binding):
        try:
            if await broker.describe(topic) is not None:
                found.append(topic)
        except BrokerRefused as error:
            logger.debug("%s: %s is not read: %s", binding.name, topic, error)
        except BrokerError as error:
            if topic in known:
                found.append(topic)
            logger.debug("%s: %s was not looked for: %s", binding.name, topic, error)
    return tuple(found)


async def ensure_topics(binding: Binding, broker: Broker, *, create: bool) -> set[str]:
    """Create the streams that a function writes to and that are missing, with their source's partition count.

    Returns:
        Those that are still missing, each said in the log: what must be written to them will wait.
    """
    missing = set()
    for stream, source in written_streams(binding).items():
        if await broker.describe(stream) is not None:
            continue
        origin = await broker.describe(source)
        if origin is None:
            continue  # joining the group says so, with what to do
        size = int(origin.config.get("max.message.bytes", _DEFAULT_RECORD_BYTES)) + HEADER_ROOM
        wanted = StreamInfo(name=stream, partitions=origin.partitions, config={"max.message.bytes": str(size)})
        try:
            if create:
                if await broker.create_stream(wanted):
                    logger.info("%s: created %s with %d partitions", binding.name, stream, origin.partitions)
                continue
            reason = "create_topics is off"
        except BrokerRefused as error:
            reason = str(error)
        except BrokerUnavailable as error:
            # A busy cluster may take longer to choose the leaders of many partitions than a request has time. If nothing is
            # there at all, joining the group says so.
            reason = f"not there yet: {error}"
        missing.add(stream)
        logger.warning(
            "%s: %s is missing (%s), and what must be written to it will wait: dispatch streams create %s --partitions %d",
            binding.name, stream, reason, stream, origin.partitions,
        )  # fmt: skip
    return missing
