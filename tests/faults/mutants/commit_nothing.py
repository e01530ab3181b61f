"""What a member of a group has done is never committed."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.brokers.kafka.consumer import KafkaConsumer
from dispatcher.core.record import Committed, TopicPartition


def apply() -> None:
    """Take commits, and forget them."""

    async def commit(self: KafkaConsumer, offsets: Mapping[TopicPartition, Committed]) -> None:
        pass

    KafkaConsumer.commit = commit  # type: ignore[method-assign]
