"""A worker that commits, and asks how far behind it is, between two fetches, as a plain consumer's loop does."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from dispatcher.brokers.base import Consumer
from dispatcher.worker import Worker

INTERVAL = 0.5


def apply() -> None:
    """Have whoever fetches wait for the coordinator, and for every leader."""
    fetch = Worker._fetch
    last = 0.0

    async def asking(self: Worker, consumer: Consumer, wanted: Collection[Any]) -> None:
        nonlocal last
        if time.monotonic() - last > INTERVAL:
            await self._commits.now()
            await self._read_ends()
            last = time.monotonic()
        await fetch(self, consumer, wanted)

    Worker._fetch = asking  # type: ignore[method-assign]
