"""Reads what transactions have written whatever became of them: Kafka's clients do so when nobody tells them otherwise."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer

from dispatcher.brokers.kafka import consumer


def apply() -> None:
    """Break it."""

    def make(**options: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(**{**options, "isolation_level": "read_uncommitted"})

    consumer.AIOKafkaConsumer = make
