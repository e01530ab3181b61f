"""Memory before a backlog."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from benchmarks.bench import Bench, PythonArm, figure
from benchmarks.stage import Stage

PARTITIONS = 6
#: Bytes of an event's value.
SIZE = 10_000


def prepare(stage: Stage, given: Mapping[str, Any]) -> dict[str, Any]:
    """A log of so many events of 10 KB. They compress well, for the disk's sake; once they are read they are as large as any."""
    name = f"benchmark.backlog.{uuid.uuid4().hex[:8]}"
    asyncio.run(_fill(stage.bootstrap, name, given["events"]))
    return {"bootstrap": stage.bootstrap, "stream": name}


async def _fill(bootstrap: str, stream: str, events: int) -> None:
    from aiokafka import AIOKafkaProducer

    from dispatcher.brokers.base import StreamInfo
    from dispatcher.brokers.kafka import KafkaBroker

    async with KafkaBroker(bootstrap) as broker:
        await broker.create_stream(StreamInfo(name=stream, partitions=PARTITIONS))
    padding = b"x" * SIZE
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type="zstd", max_batch_size=1 << 20, acks="all"
    ) as producer:
        number = batches = 0
        while number < events:
            batch = producer.create_batch()
            while number < events:
                value = (b'{"id":%d,"padding":"%b' % (number, padding))[: SIZE - 2] + b'"}'
                if batch.append(key=b"%d" % number, value=value, timestamp=None) is None:
                    break
                number += 1
            batch.close()
            await (await producer.send_batch(batch, stream, partition=batches % PARTITIONS))
            batches += 1


BENCHES = [
    Bench(
        name="memory",
        question="1,000,000 events of 10 KB wait, compressed in the log, and a function takes a second for each:"
        " resident memory of dispatch run, real Kafka",
        arms=[PythonArm("dispatch run", "memory:run")],
        goals=[
            figure(
                "dispatch run", "over_mb", what="most memory beyond the 64 MB that may be held", at_most=80.0, unit="MB"
            ),
            figure(
                "dispatch run", "growth_mb", what="more in the last quarter than in the second", at_most=5.0, unit="MB"
            ),
        ],
        full={"events": 1_000_000, "seconds": 60.0},
        quick={"events": 20_000, "seconds": 8.0},
        prepare=prepare,
    ),
]
