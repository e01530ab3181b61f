"""Goes on at the log's end when a batch can't be read."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from dispatcher.brokers.kafka import consumer
from dispatcher.brokers.kafka.internals import fetch_bytes


def apply() -> None:
    """Break it."""
    consumer.find_end_of_batch = find_end_of_batch  # type: ignore[attr-defined]


async def find_end_of_batch(client: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> int:
    """Where the log ends."""
    _, end = await fetch_bytes(client, partition, offset, 1)
    return end
