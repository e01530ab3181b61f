"""The limit of any program on this event loop: every event in memory beforehand, one task a key, and nothing else."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from benchmarks.arms.handlers import DECODERS, working_handler
from benchmarks.clock import Clock
from benchmarks.orders import orders


async def run(events: int, keys: int, concurrency: int) -> dict[str, float]:
    """Go through so many events that wait, each key's one after another, with so many in flight at the most."""
    clock = Clock(events)
    handle, decode = working_handler(clock), DECODERS["pydantic"]
    lanes: dict[bytes, list[bytes]] = defaultdict(list)
    for key, value in orders(events, keys):
        lanes[key].append(value)
    waiting = iter(lanes.values())

    async def work() -> None:
        for lane in waiting:
            for value in lane:
                await handle(decode(value))

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return clock.figures()
