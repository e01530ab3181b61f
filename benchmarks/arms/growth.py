"""The dispatcher's worker, and what grows around it: functions in the process, and holes in the offset map."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import uuid
from typing import Any

from benchmarks.arms import bare_aiokafka, dispatch
from benchmarks.arms.working import working
from benchmarks.clock import Clock
from benchmarks.orders import Order
from bindings import Limits, Retry, bindings_of, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.config import Settings
from dispatcher.worker import Worker

#: Seconds for which what does nothing is watched.
IDLE = 3.0


async def run_log(bootstrap: str, streams: dict[str, str], events: int, which: str, arm: str) -> dict[str, float]:
    """Run another arm on one of several logs."""
    return await {"dispatch": dispatch.run, "bare": bare_aiokafka.run}[arm](bootstrap, streams[which], events)


async def run_functions(bootstrap: str, events: int, functions: int) -> dict[str, float]:
    """Deliver so many events in all, each of a stream's to each of so many functions, once all have joined their groups."""
    stream = f"benchmark.functions.{uuid.uuid4().hex[:8]}"
    clock = Clock(events // functions * functions)
    finished = asyncio.Event()

    @on_stream(stream)
    async def handle(_order: Order) -> None:
        clock.count()
        if clock.finished:
            finished.set()

    async with KafkaBroker(bootstrap) as broker:
        await broker.create_stream(StreamInfo(name=stream, partitions=6))
    async with working(bootstrap, handle, functions=functions):
        await asyncio.sleep(1.0)
        idle = -time.process_time()
        await asyncio.sleep(IDLE)
        idle += time.process_time()
        await _fill(bootstrap, stream, events // functions)
        await finished.wait()
    return {**clock.figures(), "idle_percent": idle / IDLE * 100}


async def _fill(bootstrap: str, stream: str, events: int) -> None:
    """Produce the events, in a process whose CPU time is not ours."""
    filling = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.arms.filling", bootstrap, stream, str(events)
    )
    if await filling.wait():
        raise RuntimeError("the events could not be produced")


async def run_holes(bootstrap: str, streams: dict[str, str], events: int, holes: int) -> dict[str, float]:
    """Deliver so many events while so many before them, in the same partition, wait for another attempt."""
    clock = Clock(events)
    stream = streams[str(holes)]

    # The half of what comes first fails, and is what this is about: it is not said in as many lines.
    logging.getLogger("dispatcher").setLevel(logging.CRITICAL)

    @on_stream(stream, retry=Retry(max_attempts=5, park_limit=100_000), limits=Limits(held_events=100_000))
    async def handle(order: Order) -> None:
        if order.id >= 2 * holes:
            clock.count()
            if clock.finished:
                worker.stop()
        elif order.id % 2 == 0:
            raise Retry.after(3_600)

    [binding] = bindings_of(handle)
    async with KafkaBroker(bootstrap) as broker:
        worker = Worker(binding, broker, app=f"bench-{uuid.uuid4()}", settings=Settings())
        await worker.run()
        parked: Any = worker.statistics()
    return {**clock.figures(), "retried": parked.retried}
