"""Takes no notice when its partitions are taken away: a consumer without a rebalance listener, with events in memory."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dispatcher.worker import Worker


def apply() -> None:
    """Break it."""
    Worker.on_revoked = on_revoked  # type: ignore[method-assign]


async def on_revoked(_worker: Worker, _partitions: Collection[Any]) -> None:
    """Nothing is drained, committed or let go."""
