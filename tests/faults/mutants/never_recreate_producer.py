"""Keeps its producer, whatever the broker has refused it."""

from __future__ import annotations

from typing import Any

from dispatcher.brokers.kafka.producer import KafkaProducer


def apply() -> None:
    """Break it."""
    KafkaProducer._retire = keep  # type: ignore[method-assign]


def keep(_self: KafkaProducer, _client: Any) -> None:
    """Go on with it."""
