"""How fast the dispatcher is against a bare aiokafka loop that does the same decoding.

One event at a time through an async function with a pydantic model and no work, key order, one process, real Kafka.
Both arms run in processes of their own, in turn, so that a drift of the machine meets both; what counts is the ratio.
The clock of an arm runs from its first event to its last: joining the group is not in it.

    python benchmarks/dispatch.py [--events 300000] [--runs 5] [--json FILE]

``KAFKA_BOOTSTRAP_SERVERS`` uses a running Kafka; otherwise one is started from Maven Central's jars.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pydantic import BaseModel

from bindings import bindings_of, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.kafka import KafkaBroker
from dispatcher.config import Settings
from dispatcher.devkafka import DevKafka
from dispatcher.server import tune_garbage_collector
from dispatcher.worker import Worker

STREAM = "benchmark.orders"
PARTITIONS = 6
#: As many as in the fault suites of others: a prime, so that keys and partitions do not fall into step.
KEYS = 2251


class Order(BaseModel):
    """The model that both arms decode."""

    id: int
    household: str
    store: int
    total: float


class Clock:
    """Counts events and keeps the times of the first and the last."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.seen = 0
        self.first = self.last = 0.0
        self.cpu = 0.0

    def count(self) -> None:
        """One more event was handled."""
        self.seen += 1
        if self.seen == 1:
            self.first = time.perf_counter()
            self.cpu = -time.process_time()
        elif self.seen == self.events:
            self.last = time.perf_counter()
            self.cpu += time.process_time()

    @property
    def rate(self) -> float:
        """Events a second between the first and the last."""
        return (self.events - 1) / (self.last - self.first)


async def run_bare(bootstrap: str, events: int) -> Clock:
    """The limit of this design: fetch, decode, await, and nothing else."""
    clock = Clock(events)

    async def handle(_order: Order) -> None:
        clock.count()

    consumer = AIOKafkaConsumer(
        STREAM,
        bootstrap_servers=bootstrap,
        group_id=f"bare-{uuid.uuid4()}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    committed = time.monotonic()
    while clock.seen < events:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=500)
        for records in fetched.values():
            for record in records:
                await handle(Order.model_validate_json(record.value or b""))
        if time.monotonic() - committed > Settings().commit_interval:
            await consumer.commit()
            committed = time.monotonic()
    await consumer.stop()
    return clock


async def run_dispatch(bootstrap: str, events: int) -> Clock:
    """The dispatcher's worker, to the end of the log."""
    clock = Clock(events)

    @on_stream(STREAM)
    async def handle(_order: Order) -> None:
        clock.count()

    async with KafkaBroker(bootstrap) as broker:
        [binding] = bindings_of(handle)
        tune_garbage_collector()  # as `dispatch run` does
        worker = Worker(binding, broker, app=f"bench-{uuid.uuid4()}", settings=Settings(), until_caught_up=True)
        await worker.run()
    return clock


ARMS = {"bare": run_bare, "dispatch": run_dispatch}


async def fill(bootstrap: str, events: int) -> None:
    """Produce the events, in batches made by hand: ten times as fast as a send for each."""
    async with KafkaBroker(bootstrap) as broker:
        await broker.create_stream(StreamInfo(name=STREAM, partitions=PARTITIONS))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    batches = {partition: producer.create_batch() for partition in range(PARTITIONS)}
    for number in range(events):
        key = number % KEYS
        order = Order(id=number, household=f"h-{key}", store=number % 97, total=number % 10_000 / 100)
        record = {"key": str(key).encode(), "value": order.model_dump_json().encode(), "timestamp": None}
        partition = key % PARTITIONS
        if batches[partition].append(**record) is None:
            await send(producer, batches[partition], partition)
            batches[partition] = producer.create_batch()
            batches[partition].append(**record)
    for partition, batch in batches.items():
        await send(producer, batch, partition)
    await producer.stop()


async def send(producer: AIOKafkaProducer, batch: Any, partition: int) -> None:
    """Send one batch and wait until it is in the log."""
    if batch.record_count():
        batch.close()
        await (await producer.send_batch(batch, STREAM, partition=partition))


def run_arm(arm: str, bootstrap: str, events: int) -> dict[str, float]:
    """Run one arm in a process of its own: events a second, and CPU microseconds an event."""
    done = subprocess.run(
        [sys.executable, __file__, "--arm", arm, "--bootstrap", bootstrap, "--events", str(events)],
        check=True,
        capture_output=True,
        text=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@contextlib.contextmanager
def kafka() -> Iterator[str]:
    """A Kafka to measure on."""
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield servers
        return
    with tempfile.TemporaryDirectory() as folder, DevKafka(Path(folder)) as local:
        yield local.bootstrap


def compare(events: int, runs: int) -> dict[str, Any]:
    """Both arms in turn, with the ratio of each pair."""
    with kafka() as bootstrap:
        asyncio.run(fill(bootstrap, events))
        for arm in ARMS:
            run_arm(arm, bootstrap, events)  # the broker's page cache, and Python's own files
        figures: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
        for _ in range(runs):
            for arm, of_arm in figures.items():
                of_arm.append(run_arm(arm, bootstrap, events))
    rates = {arm: [round(run["rate"]) for run in of_arm] for arm, of_arm in figures.items()}
    cpu = {arm: [round(run["cpu_us"], 2) for run in of_arm] for arm, of_arm in figures.items()}
    ratios = [ours / bare for ours, bare in zip(rates["dispatch"], rates["bare"], strict=True)]
    cpu_ratios = [bare / ours for ours, bare in zip(cpu["dispatch"], cpu["bare"], strict=True)]
    return {
        "events": events,
        "runs": runs,
        "rates": rates,
        "median": {arm: round(statistics.median(of_arm)) for arm, of_arm in rates.items()},
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 3),
        "cpu_us_an_event": cpu,
        # Less at the mercy of what else the machine does than wall time.
        "cpu_ratio": round(statistics.median(cpu_ratios), 3),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("aiokafka", "pydantic")},
    }


def main() -> None:
    """Compare the arms, or run the one that is named."""
    parser = argparse.ArgumentParser(description="Dispatcher against a bare aiokafka loop.")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        clock = asyncio.run(ARMS[arguments.arm](arguments.bootstrap, arguments.events))
        print(json.dumps({"rate": clock.rate, "cpu_us": clock.cpu / clock.events * 1e6}))
        return
    figures = compare(arguments.events, arguments.runs)
    text = json.dumps(figures, indent=2)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    print(text)
    print(
        f"\ndispatch {figures['median']['dispatch']:,}/s, bare {figures['median']['bare']:,}/s:"
        f" ratio {figures['ratio']}, by CPU time {figures['cpu_ratio']}"
    )


if __name__ == "__main__":
    main()
