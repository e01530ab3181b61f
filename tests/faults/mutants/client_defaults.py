"""The client library's own patience: 40 s for a request, and five minutes for who leads what."""

from __future__ import annotations

from typing import Any

from dispatcher.brokers.kafka import consumer
from dispatcher.brokers.kafka.settings import KafkaSettings


def apply() -> None:
    """Leave aiokafka's defaults in place."""
    consumer._METADATA_AGE_MS = 300_000
    options = KafkaSettings.connection_options

    def connection_options(self: KafkaSettings) -> dict[str, Any]:
        return {**options(self), "request_timeout_ms": 40_000}

    KafkaSettings.connection_options = connection_options  # type: ignore[method-assign]
