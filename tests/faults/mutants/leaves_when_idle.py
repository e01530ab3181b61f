"""The client's own rule for a member that polls for nothing, which holds what it may: it leaves the group."""

from __future__ import annotations

import os

from dispatcher.brokers.kafka import consumer


def apply() -> None:
    """Set ``max.poll.interval.ms``: 5 minutes as Kafka has it."""
    consumer._FOREVER_MS = int(os.environ["FAULTS_POLL_INTERVAL"])
