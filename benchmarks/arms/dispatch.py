"""The dispatcher's worker, to the end of the log."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from benchmarks.arms.handlers import batch_handler, handler, working_handler
from benchmarks.clock import Clock
from bindings import Batch, bindings_of, on_stream
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.config import Settings
from dispatcher.worker import Worker


async def run(bootstrap: str, stream: str, events: int, kind: str = "pydantic", batch: int = 1) -> dict[str, float]:
    """Consume so many events through a function with no work, in key order."""
    clock = Clock(events)
    if batch > 1:
        await _work(bootstrap, on_stream(stream, batch=Batch(max_events=batch))(batch_handler(clock, kind)))
    else:
        await _work(bootstrap, on_stream(stream)(handler(clock, kind)))
    return clock.figures()


async def run_working(bootstrap: str, stream: str, events: int, concurrency: int) -> dict[str, float]:
    """Consume so many events through a function that waits, in key order, with so many in flight."""
    clock = Clock(events)
    await _work(bootstrap, on_stream(stream, concurrency=concurrency)(working_handler(clock)))
    return clock.figures()


async def run_distinct(bootstrap: str, stream: str, events: int, concurrency: int) -> dict[str, float]:
    """Consume so many events through a function with no work, in key order, with so many in flight."""
    clock = Clock(events)
    await _work(bootstrap, on_stream(stream, concurrency=concurrency)(handler(clock)))
    return clock.figures()


async def _work(bootstrap: str, handle: Callable[..., Any]) -> None:
    async with KafkaBroker(bootstrap) as broker:
        [binding] = bindings_of(handle)
        worker = Worker(binding, broker, app=f"bench-{uuid.uuid4()}", settings=Settings(), until_caught_up=True)
        await worker.run()
