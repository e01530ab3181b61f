"""From produce to the function's start, at a steady rate, by the one clock that all processes of a machine share."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from benchmarks.arms.consumer import bare_consumer
from benchmarks.arms.working import working
from bindings import Batch, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker

#: Seconds whose events are not counted: connections, caches and the broker's own code are cold.
WARM_UP = 2.0
#: As many keys as keep no event waiting for another.
KEYS = 997


async def run_bare(bootstrap: str, rate: int, seconds: float) -> dict[str, float]:
    """The broker's own time: a bare aiokafka consumer that looks at the clock as soon as it has an event."""
    waits = Waits()
    stream = await _stream(bootstrap)
    consumer = bare_consumer(bootstrap, stream, isolation_level="read_committed")
    async with consumer:
        pacing = asyncio.create_task(_pace(bootstrap, stream, rate, seconds))
        while not pacing.done():
            for records in (await consumer.getmany(timeout_ms=250, max_records=500)).values():
                for record in records:
                    waits.note(record.value or b"")
        await pacing
    return waits.figures()


async def run_dispatch(bootstrap: str, rate: int, seconds: float) -> dict[str, float]:
    """The dispatcher's worker: an async function of one event."""
    waits = Waits()

    async def handle(stamp: bytes) -> None:
        waits.note(stamp)

    await _deliver(bootstrap, rate, seconds, lambda stream: on_stream(stream)(handle))
    return waits.figures()


async def run_linger(bootstrap: str, rate: int, seconds: float, policy: float, functions: int) -> dict[str, float]:
    """Batches that close by their wait alone: how far the wait of their oldest event is from the policy."""
    waits = Waits()

    async def handle(stamps: list[bytes]) -> None:
        waits.note(stamps[0])

    batch = Batch(max_events=10_000, max_wait=policy)
    await _deliver(bootstrap, rate, seconds, lambda stream: on_stream(stream, batch=batch)(handle), functions)
    return waits.figures(policy)


class Waits:
    """How long each event took from its stamp."""

    def __init__(self) -> None:
        self._every: list[tuple[int, int]] = []

    def note(self, stamp: bytes) -> None:
        """An event has come."""
        now = time.monotonic_ns()
        self._every.append((int(stamp), now))

    def figures(self, policy: float = 0.0) -> dict[str, float]:
        """Milliseconds: quantiles of what was waited, and how far that is from the policy, to either side."""
        begin = min(stamp for stamp, _ in self._every) + WARM_UP * 1e9
        waits = sorted((now - stamp) / 1e6 for stamp, now in self._every if stamp >= begin)
        found = {"p50_ms": _quantile(waits, 0.5), "p99_ms": _quantile(waits, 0.99), "most_ms": waits[-1]}
        if policy:
            found |= {"p99_late_ms": found["p99_ms"] - policy * 1_000, "early_ms": policy * 1_000 - waits[0]}
        return found | {"events": len(waits)}


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def _stream(bootstrap: str) -> str:
    name = f"benchmark.latency.{uuid.uuid4().hex[:8]}"
    async with KafkaBroker(bootstrap) as broker:
        await broker.create_stream(StreamInfo(name=name, partitions=6))
    return name


async def _deliver(
    bootstrap: str, rate: int, seconds: float, bind: Callable[[str], Callable[..., Any]], functions: int = 1
) -> None:
    stream = await _stream(bootstrap)
    async with working(bootstrap, bind(stream), functions=functions):
        await _pace(bootstrap, stream, rate, seconds)


async def _pace(bootstrap: str, stream: str, rate: int, seconds: float) -> None:
    """Have another process produce, and wait until the last event has surely come."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.arms.latency", bootstrap, stream, str(rate), str(seconds)
    )
    if await process.wait():
        raise RuntimeError("the events could not be produced")
    await asyncio.sleep(1.0)


async def pace(bootstrap: str, stream: str, rate: int, seconds: float) -> None:
    """Produce an event each ``1 / rate`` seconds, with the time at which it was handed to the client."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        begin = time.monotonic()
        for number in range(int(rate * (seconds + WARM_UP))):
            if (wait := begin + number / rate - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await producer.send(stream, str(time.monotonic_ns()).encode(), key=str(number % KEYS).encode())


if __name__ == "__main__":
    asyncio.run(pace(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
