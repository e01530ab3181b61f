"""Takes a commit that the broker refused for its size for one that it has, and goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from dispatcher.brokers.kafka.consumer import KafkaConsumer
from dispatcher.core.record import Committed, TopicPartition
from dispatcher.errors import MetadataTooLarge


def apply() -> None:
    """Break it."""
    commit = KafkaConsumer.commit

    async def commit_or_not(self: KafkaConsumer, offsets: Mapping[TopicPartition, Committed]) -> None:
        with contextlib.suppress(MetadataTooLarge):
            await commit(self, offsets)

    KafkaConsumer.commit = commit_or_not  # type: ignore[method-assign]
