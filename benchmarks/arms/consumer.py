"""The consumer of all bare loops over aiokafka."""

from __future__ import annotations

import uuid
from typing import Any

from aiokafka import AIOKafkaConsumer

__all__ = ["bare_consumer"]


def bare_consumer(bootstrap: str, stream: str, **settings: Any) -> AIOKafkaConsumer:
    """In a group of its own, from the log's beginning; the loop commits itself."""
    return AIOKafkaConsumer(
        stream,
        bootstrap_servers=bootstrap,
        group_id=f"bare-{uuid.uuid4()}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **settings,
    )
