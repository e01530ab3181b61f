"""Takes what it has no decompressor for as damaged."""

from __future__ import annotations

from dispatcher.brokers.kafka import consumer


def apply() -> None:
    """Break it."""
    consumer.missing_codec = lambda _error: None  # type: ignore[attr-defined]
