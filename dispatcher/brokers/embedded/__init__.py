"""The embedded broker: a durable log in one SQLite file, for one machine."""

from __future__ import annotations

from dispatcher.brokers.embedded.broker import EmbeddedBroker
from dispatcher.brokers.embedded.codec import EmbeddedRecord

__all__ = ["EmbeddedBroker", "EmbeddedRecord"]
