"""Fills a stream from a process of its own: ``python -m benchmarks.arms.filling BOOTSTRAP STREAM EVENTS``."""

from __future__ import annotations

import asyncio
import sys

from aiokafka import AIOKafkaProducer

from benchmarks.orders import orders


async def fill(bootstrap: str, stream: str, events: int) -> None:
    """Produce so many orders, and wait until they are in the log."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, max_batch_size=1 << 18) as producer:
        sent = [await producer.send(stream, value, key=key) for key, value in orders(events)]
        await asyncio.gather(*sent)


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], sys.argv[2], int(sys.argv[3])))
