"""Decompresses whatever it is given."""

from __future__ import annotations

from dispatcher.brokers.kafka import broker


def apply() -> None:
    """Break it."""
    broker.replace_decompressors = lambda: None  # type: ignore[attr-defined]
