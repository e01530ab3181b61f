"""The scheduler alone, driven as the worker drives it: nothing of a client library, of the event loop or of decoding is in it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

from bindings import Retry, bindings_of, on_stream
from bindings.envelopes.record import WireRecord
from bindings.failure import Failure, FailureKind
from dispatcher.core.record import TopicPartition
from dispatcher.core.scheduler import Scheduler

#: As the worker has them: events a fetch (Settings.max_poll_records), and events done before it commits early.
FETCH, MUCH = 500, 2_000
STREAM = "benchmark.orders"


def run(events: int, partitions: int = 1, keys: int = 10_000, holes: int = 0, within: bool = False) -> dict[str, float]:
    """Take so many events through, over so many partitions and keys, while so many events beside them stay undone.

    The holes are in a partition of their own, or ``within`` the first of those that go on, so that its map is another at each commit.
    Returns the microseconds of CPU time that an event takes, from its admission until it is committed.
    """

    @on_stream(STREAM, concurrency=16, retry=Retry(max_attempts=5, park_limit=100_000))
    async def handle(order: bytes) -> None: ...

    [binding] = bindings_of(handle)
    scheduler = Scheduler(binding, now=0.0)
    for number in range(partitions + 1):
        scheduler.assign(TopicPartition(STREAM, number), 0)
    if holes:
        _leave(scheduler, TopicPartition(STREAM, 0 if within else partitions), holes)
    fetches = list(_fetches(events, partitions, keys, first=2 * holes if within else 0))
    gc.collect()
    gc.freeze()
    done, committed = 0, 0
    began = time.process_time()
    for partition, records in fetches:
        scheduler.wanted()
        scheduler.admit(partition, records, now=1.0)
        while (delivery := scheduler.take(1.0)) is not None:
            scheduler.done(delivery)
        done += len(records)
        if done - committed >= MUCH:
            scheduler.committed(scheduler.due_commits())
            committed = done
    spent = time.process_time() - began
    if scheduler.counters.done - holes < events:
        raise RuntimeError(f"{scheduler.counters.done} of {events} events are done")
    return {"cpu_us": spent / events * 1e6, "events": events}


def _fetches(events: int, partitions: int, keys: int, first: int) -> Iterator[tuple[TopicPartition, list[WireRecord]]]:
    """What the broker hands over: the partitions in turn, each fetch from one of them, as aiokafka does."""
    values = [b"%d" % number for number in range(keys)]
    offsets = [first, *[0] * (partitions - 1)]
    for number in range(-(-events // FETCH)):
        partition = number % partitions
        begin, count = offsets[partition], min(FETCH, events - number * FETCH)
        offsets[partition] += count
        records = [
            WireRecord(STREAM, partition, begin + index, 0, values[(number * FETCH + index) % keys], b"v" * 60)
            for index in range(count)
        ]
        yield TopicPartition(STREAM, partition), records


def _leave(scheduler: Scheduler, partition: TopicPartition, holes: int) -> None:
    """Every other event of a partition is done, and the others wait for an attempt that does not come."""
    failure = Failure(kind=FailureKind.FUNCTION, error_type="ValueError", message="no", retry_after=3_600.0)
    records = [
        WireRecord(STREAM, partition.partition, offset, 0, b"hole-%d" % offset, b"v" * 60)
        for offset in range(2 * holes)
    ]
    scheduler.admit(partition, records, now=0.0)
    while (delivery := scheduler.take(0.0)) is not None:
        if delivery.record.offset % 2:
            scheduler.done(delivery)
        else:
            scheduler.settle([delivery], failure, now=0.0, wall_ms=0)
