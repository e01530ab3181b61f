"""What of the log is not done and how old that is, of real partitions of the embedded log, on a clock that the test turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bindings import bindings_of, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.clock import Clock
from dispatcher.core.offsets import OffsetMap
from dispatcher.core.record import Committed, Outgoing, TopicPartition
from dispatcher.core.scheduler import Scheduler
from dispatcher.worker.backlog import Backlog

ORDERS = TopicPartition("orders", 0)
NOW = 1_900_000_000.0


@on_stream("orders")
async def handle(event: bytes) -> None:
    """Whose backlog it is."""


@dataclass
class Times:
    """Both clocks."""

    monotonic: float = 1_000.0
    wall: float = NOW

    def pass_(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


@dataclass
class Bench:
    broker: EmbeddedBroker
    scheduler: Scheduler
    times: Times
    backlog: Backlog

    async def fetch(self, begin: int, end: int) -> None:
        """Hand these events over, as a worker's fetch does."""
        records = (await self.broker.read({ORDERS: begin}, max_records=end - begin))[ORDERS]
        self.backlog.fetched(ORDERS, records[-1].timestamp)
        self.scheduler.admit(ORDERS, records, now=self.times.monotonic)

    def finish(self, count: int) -> None:
        for _ in range(count):
            delivery = self.scheduler.take(self.times.monotonic)
            assert delivery is not None
            self.scheduler.done(delivery)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Ten events, written 100, 90, ... 10 seconds ago, of which nothing is fetched."""
    async with EmbeddedBroker(tmp_path / "log.db") as broker:
        await broker.create_stream(StreamInfo(name="orders", partitions=1))
        producer = await broker.producer()
        for n in range(10):
            await producer.send(Outgoing(topic="orders", value=b"%d" % n, timestamp=int(1000 * (NOW - 100 + 10 * n))))
        await producer.close()
        times = Times()
        (binding,) = bindings_of(handle)
        scheduler = Scheduler(binding, now=times.monotonic)
        clock = Clock(monotonic=lambda: times.monotonic, wall=lambda: times.wall)
        yield Bench(broker, scheduler, times, Backlog(broker, scheduler, clock, None))


async def test_what_nobody_has_fetched_has_an_age_too(bench: Bench) -> None:
    """Of a partition that does not move and of which nothing is in memory, the event that stands next is read for its age; it grows
    as the clock does."""
    bench.scheduler.assign(ORDERS, 0)
    assert bench.backlog.events() is None, "before the first look nothing is known"
    await bench.backlog.look()
    [one] = bench.backlog.partitions()
    assert (one.lag, one.backlog, one.lag_seconds) == (10, 10, 100.0)
    bench.times.pass_(5)
    assert bench.backlog.partitions()[0].lag_seconds == 105.0
    assert bench.backlog.oldest_age() is None, "nothing is in memory"


async def test_while_it_moves_the_age_is_that_of_the_oldest_not_done(bench: Bench) -> None:
    """In memory the oldest counts; between two fetches that of the newest that was fetched, so that the age of a partition that
    catches up does not fall to 0 for a moment; with all done it is 0."""
    bench.scheduler.assign(ORDERS, 0)
    await bench.backlog.look()
    await bench.fetch(0, 4)
    assert bench.backlog.partitions()[0].lag_seconds == bench.backlog.oldest_age() == 100.0
    bench.finish(2)
    assert bench.backlog.partitions()[0].lag_seconds == bench.backlog.oldest_age() == 80.0
    assert bench.backlog.events() == 8
    bench.finish(2)
    assert bench.backlog.partitions()[0].lag_seconds == 70.0
    await bench.fetch(4, 10)
    bench.finish(6)
    [one] = bench.backlog.partitions()
    assert (one.backlog, one.lag_seconds) == (0, 0.0)


async def test_what_a_former_owner_did_is_no_backlog(bench: Bench) -> None:
    """Offsets that are done beyond the commit, by the map that it carries, count as lag and not as backlog."""
    partition = bench.scheduler.assign(ORDERS, 2, OffsetMap(done=[(3, 6), (8, 10)]))
    partition.committed(Committed(2, "x" * 1024))
    await bench.backlog.look()
    [one] = bench.backlog.partitions()
    assert (one.lag, one.backlog, one.map_use) == (8, 3, 0.25)
    await bench.fetch(2, 10)
    [one] = bench.backlog.partitions()
    assert (one.lag, one.backlog) == (8, 3)


async def test_what_was_read_too_long_ago_is_not_known(bench: Bench) -> None:
    """15 s after the last answer nobody believes it any more; a new answer makes it known again."""
    bench.scheduler.assign(ORDERS, 0)
    await bench.backlog.look()
    bench.times.pass_(14.9)
    assert bench.backlog.events() == 10
    bench.times.pass_(0.2)
    assert bench.backlog.events() is None
    [one] = bench.backlog.partitions()
    assert (one.lag, one.backlog, one.lag_seconds) == (None, None, None)
    await bench.backlog.look()
    assert bench.backlog.events() == 10


async def test_an_answer_that_does_not_come_makes_all_unknown(bench: Bench) -> None:
    """When the broker can't tell of one partition, the sum over all is not known, and never that of the others."""
    bench.scheduler.assign(ORDERS, 0)
    await bench.backlog.look()
    bench.scheduler.assign(TopicPartition("gone", 0), 0)
    assert bench.backlog.events() is None
    await bench.backlog.look()
    assert bench.backlog.events() is None
    bench.scheduler.drop([TopicPartition("gone", 0)])
    await bench.backlog.look()
    assert bench.backlog.events() == 10


async def test_what_stands_in_one_piece_is_backlog_too(bench: Bench) -> None:
    """Events that came after the last look at the log's end, and that nobody has admitted, are counted, and the oldest of
    them has its age."""
    bench.scheduler.assign(ORDERS, 0)
    bench.scheduler.take_stretches()
    await bench.backlog.look()
    producer = await bench.broker.producer()
    await producer.send(Outgoing(topic="orders", value=b"late", timestamp=int(1000 * NOW)))
    await producer.close()
    await bench.fetch(0, 11)
    assert bench.scheduler.partitions[ORDERS].stretch is not None
    assert bench.backlog.events() == 11
    assert bench.backlog.oldest_age() == 100.0
    stretch = bench.scheduler.begin(bench.times.monotonic)
    assert stretch is not None
    bench.scheduler.passed(stretch, 4)
    assert bench.backlog.events() == 7
    assert bench.backlog.oldest_age() == 60.0
