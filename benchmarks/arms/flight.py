"""Many invocations in flight: a callee that answers after 100 ms, called as often at once as is allowed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable

from benchmarks.arms.consumer import bare_consumer
from benchmarks.clock import Clock
from benchmarks.orders import Order
from bindings import bindings_of, on_stream
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.config import Settings
from dispatcher.worker import Worker


async def run_loop(events: int, concurrency: int, latency: float, **_stage: object) -> dict[str, float]:
    """The event loop's own ceiling: so many tasks that call and call again, and nothing else."""
    clock = Clock(events)
    await asyncio.gather(
        *(_call(clock, latency, numbers) for numbers in [iter(range(events))] for _ in range(concurrency))
    )
    return clock.figures()


async def run_bare(bootstrap: str, stream: str, events: int, concurrency: int, latency: float) -> dict[str, float]:
    """A bare aiokafka loop: it fetches and decodes into a queue, from which so many tasks take. No order, no commits."""
    clock = Clock(events)
    orders: asyncio.Queue[Order] = asyncio.Queue(2 * concurrency)

    async def work() -> None:
        while True:
            await orders.get()
            clock.begin()
            await asyncio.sleep(latency)
            clock.end()

    tasks = [asyncio.create_task(work()) for _ in range(concurrency)]
    consumer = bare_consumer(bootstrap, stream)
    async with consumer:
        while not clock.finished:
            for records in (await consumer.getmany(timeout_ms=100, max_records=500)).values():
                for record in records:
                    await orders.put(Order.model_validate_json(record.value or b""))
    for task in tasks:
        task.cancel()
    return clock.figures()


async def run_dispatch(bootstrap: str, stream: str, events: int, concurrency: int, latency: float) -> dict[str, float]:
    """The dispatcher's worker, in key order."""
    clock = Clock(events)

    @on_stream(stream, concurrency=concurrency)
    async def handle(_order: Order) -> None:
        clock.begin()
        await asyncio.sleep(latency)
        clock.end()

    async with KafkaBroker(bootstrap) as broker:
        [binding] = bindings_of(handle)
        app = f"bench-{uuid.uuid4()}"
        await Worker(binding, broker, app=app, settings=Settings(), until_caught_up=True).run()
    return clock.figures()


async def _call(clock: Clock, latency: float, numbers: Iterable[int]) -> None:
    for _ in numbers:
        clock.begin()
        await asyncio.sleep(latency)
        clock.end()
