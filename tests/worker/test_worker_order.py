"""Order, and what may run beside it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict
from dataclasses import dataclass

import pytest
from bench import Bench, on_both, until

from bindings import Event, on_stream


@dataclass
class Entry:
    lane: object
    sequence: int
    start: int
    end: int = 0


class Ledger:
    """What ran when, on a clock that ticks at each entry."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._clock = 0

    def begin(self, lane: object, sequence: int) -> Entry:
        self._clock += 1
        entry = Entry(lane, sequence, self._clock)
        self.entries.append(entry)
        return entry

    def end(self, entry: Entry) -> None:
        self._clock += 1
        entry.end = self._clock

    def disorder(self) -> int:
        """Pairs of one lane that overlap, or come in the wrong order."""
        lanes = defaultdict(list)
        for entry in self.entries:
            lanes[entry.lane].append(entry)
        return sum(
            after.start < before.end or after.sequence <= before.sequence
            for lane in lanes.values()
            for before, after in itertools.pairwise(lane)
        )

    def most_at_once(self) -> int:
        """How many ran at the same time at the most."""
        changes = sorted([(entry.start, 1) for entry in self.entries] + [(entry.end, -1) for entry in self.entries])
        running = most = 0
        for _, change in changes:
            running += change
            most = max(most, running)
        return most


async def waver(rng: random.Random) -> None:
    """Suspend not at all, for a turn, or for a moment."""
    for _ in range(rng.choice((0, 1, 1, 3))):
        await asyncio.sleep(0)
    if rng.random() < 0.02:
        await asyncio.sleep(0.001)


EVENTS = 4_000


@on_both
async def test_the_events_of_a_key_run_one_after_another_and_other_keys_pass(bench: Bench) -> None:
    """Under order="key" no two events of a key overlap or change places, while others run beside them; the same ledger
    shows disorder within keys under order="none", so it would show it here."""
    stream = await bench.stream(partitions=3)
    rng = random.Random(1)
    await bench.send(stream, ((b"key-%d" % rng.randrange(60), b"%d" % number) for number in range(EVENTS)))
    ordered, unordered = Ledger(), Ledger()

    @on_stream(stream, concurrency=16)
    async def by_key(event: Event[bytes]) -> None:
        entry = ordered.begin(event.key, int(event.value))
        await waver(rng)
        ordered.end(entry)

    @on_stream(stream, order="none", concurrency=16)
    async def in_no_order(event: Event[bytes]) -> None:
        entry = unordered.begin(event.key, int(event.value))
        await waver(rng)
        unordered.end(entry)

    await bench.catch_up(by_key)
    await bench.catch_up(in_no_order)

    assert len(ordered.entries) == len(unordered.entries) == EVENTS
    assert ordered.disorder() == 0
    assert ordered.most_at_once() == 16
    assert unordered.disorder() > 0


async def test_the_events_of_a_partition_run_one_after_another_and_other_partitions_pass(bench: Bench) -> None:
    """Under order="partition" the events of each partition run alone and in offset order, partitions side by side."""
    stream = await bench.stream(partitions=4)
    rng = random.Random(2)
    await bench.send(stream, ((b"key-%d" % rng.randrange(60), b"%d" % number) for number in range(EVENTS)))
    ledger = Ledger()

    @on_stream(stream, order="partition", concurrency=16)
    async def by_partition(event: Event[bytes]) -> None:
        entry = ledger.begin(event.partition, event.offset)
        await waver(rng)
        ledger.end(entry)

    await bench.catch_up(by_partition)

    assert len(ledger.entries) == EVENTS
    assert ledger.disorder() == 0
    assert ledger.most_at_once() == 4


@pytest.mark.parametrize("order", ["none", "key"])
async def test_concurrency_is_reached_and_never_exceeded(bench: Bench, order: str) -> None:
    """As many invocations run at once as concurrency= says, and not one more, where nothing has to wait for another."""
    stream = await bench.stream()
    # Under "none" all have one key: it must not matter.
    await bench.send(stream, ((b"k" if order == "none" else b"k%d" % number, b"x") for number in range(100)))
    gate = asyncio.Event()
    running = most = 0

    @on_stream(stream, order=order, concurrency=16)
    async def wait(value: bytes) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    async with bench.running(wait) as worker:
        await until(lambda: running == 16, "16 to run at once")
        # All that could start has started: the loop has turned many times since.
        for _ in range(100):
            await asyncio.sleep(0)
        assert worker.statistics().in_flight == 16
        gate.set()
        await until(lambda: worker.statistics().done == 100, "all to be done")
    assert most == 16


async def test_events_without_a_key_wait_for_nobody(bench: Bench) -> None:
    """Under order="key" the events that have no key are no lane: one that hangs does not hold the next."""
    stream = await bench.stream()
    await bench.send(stream, [(None, b"hangs"), (None, b"passes"), (b"", b"empty key")])
    gate, seen = asyncio.Event(), []

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        if value == b"hangs":
            await gate.wait()
        seen.append(value)

    async with bench.running(handle) as worker:
        await until(lambda: len(seen) == 2, "the others to pass")
        gate.set()
        await until(lambda: worker.statistics().done == 3)
    assert seen == [b"passes", b"empty key", b"hangs"]
