"""Workers that have joined their groups before anything is measured."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from bindings import bindings_of
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.config import Settings
from dispatcher.worker import Worker


@contextlib.asynccontextmanager
async def working(bootstrap: str, handle: Callable[..., Any], *, functions: int = 1) -> AsyncIterator[None]:
    """Have so many functions like this one, each in a group of its own, wait for events; at the end they stop."""
    [binding] = bindings_of(handle)
    app = f"bench-{uuid.uuid4()}"
    async with KafkaBroker(bootstrap) as broker:
        workers = [
            Worker(replace(binding, name=f"handle_{number}"), broker, app=app, settings=Settings())
            for number in range(functions)
        ]
        tasks = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            while any(worker.statistics().state != "running" for worker in workers):
                for task in tasks:
                    if task.done():
                        task.result()
                        raise RuntimeError("a worker has ended before it began")
                await asyncio.sleep(0.1)
            yield
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
