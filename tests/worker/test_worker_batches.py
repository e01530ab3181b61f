"""Functions that take lists."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from bench import Bench, header, reason, until
from pydantic import BaseModel

from bindings import Batch, BatchFailures, Event, Reject, Retry, on_stream

NEVER_ALONE = 300.0  # seconds: a batch that closes in a test closed for another reason


class Order(BaseModel):
    id: int


def orders(count: int, keys: int = 1_000) -> list[tuple[bytes, bytes]]:
    """Events with ascending ids."""
    return [(b"key-%d" % (number % keys), b'{"id":%d}' % number) for number in range(count)]


@pytest.mark.parametrize("order", ["key", "partition", "none"])
async def test_a_batch_closes_when_it_is_full(bench: Bench, order: str) -> None:
    """max_events closes a batch at once, whatever max_wait is; no batch is larger."""
    stream = await bench.stream()
    await bench.send(stream, orders(100))
    sizes = []

    @on_stream(stream, order=order, batch=Batch(max_events=10, max_wait=NEVER_ALONE))
    async def handle(batch: list[Order]) -> None:
        sizes.append(len(batch))

    async with bench.running(handle) as worker:
        await until(lambda: worker.statistics().done == 100)
    assert sizes == [10] * 10


async def test_a_batch_closes_at_its_bytes(bench: Bench) -> None:
    """max_bytes closes a batch before it would be larger, and one event that is larger still goes alone."""
    stream = await bench.stream()
    sizes = [400, 400, 400, 2_000, 400, 600]
    await bench.send(stream, ((b"", b"x" * size) for size in sizes))
    batches = []

    @on_stream(stream, order="partition", batch=Batch(max_events=100, max_bytes=1_000, max_wait=0.05))
    async def handle(batch: list[bytes]) -> None:
        batches.append([len(value) for value in batch])

    await bench.catch_up(handle)
    assert [size for batch in batches for size in batch] == sizes
    assert all(sum(batch) <= 1_000 or len(batch) == 1 for batch in batches)
    assert len(batches) <= 5


async def test_a_batch_closes_after_its_wait(bench: Bench) -> None:
    """Fewer events than max_events are handed over together once max_wait has passed."""
    stream = await bench.stream()
    await bench.send(stream, orders(7))
    sizes = []

    @on_stream(stream, batch=Batch(max_events=100, max_wait=0.05))
    async def handle(batch: list[Order]) -> None:
        sizes.append(len(batch))

    async with bench.running(handle) as worker:
        await until(lambda: worker.statistics().done == 7)
    assert sizes == [7]


async def test_group_by_key_gives_each_batch_one_key(bench: Bench) -> None:
    """Batch(group_by="key"): no batch mixes keys, each key's events come in order, and all come."""
    stream = await bench.stream(partitions=2)
    await bench.send(stream, orders(300, keys=7))
    batches: list[list[Event[Order]]] = []

    @on_stream(stream, batch=Batch(max_events=10, max_wait=0.05, group_by="key"))
    async def handle(batch: list[Event[Order]]) -> None:
        await asyncio.sleep(0)
        batches.append(batch)

    await bench.catch_up(handle)
    assert all(len({event.key for event in batch}) == 1 for batch in batches)
    assert max(len(batch) for batch in batches) == 10
    for key in {event.key for batch in batches for event in batch}:
        ids = [event.value.id for batch in batches for event in batch if event.key == key]
        assert ids == sorted(ids)
    assert sum(len(batch) for batch in batches) == 300


@pytest.mark.parametrize("naming", ["events", "indexes", "aws", "ids"])
async def test_only_the_named_events_of_a_batch_are_tried_again(bench: Bench, naming: str) -> None:
    """BatchFailures by event or index, and batchItemFailures by AWS's identifier or by the event's id: the others are done,
    the named ones are tried again and rest in the dead letters in the end."""
    stream = await bench.stream()
    await bench.send(stream, orders(20))
    calls: Counter[int] = Counter()

    @on_stream(stream, batch=Batch(max_events=20, max_wait=0.05), retry=Retry(max_attempts=3, initial=0.0))
    async def handle(batch: list[Event[Order]]) -> Any:
        calls.update(event.value.id for event in batch)
        bad = [(index, event) for index, event in enumerate(batch) if event.value.id in (3, 14)]
        if not bad:
            return None
        if naming == "events":
            raise BatchFailures({event: ValueError("bad") for _, event in bad})
        if naming == "indexes":
            raise BatchFailures({index: "bad" for index, _ in bad})
        if naming == "aws":
            identifiers: list[Any] = [{"partition": f"{e.stream}-{e.partition}", "offset": e.offset} for _, e in bad]
        else:
            identifiers = [event.id for _, event in bad]
        return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}

    statistics = await bench.catch_up(handle)

    assert calls == {number: 3 if number in (3, 14) else 1 for number in range(20)}
    assert (statistics.done, statistics.dead_lettered) == (18, 2)
    letters = await bench.read(f"{stream}.handle.dead")
    assert sorted(letter.value or b"" for letter in letters) == [b'{"id":14}', b'{"id":3}']
    assert {header(letter, "dispatch-dead-attempts") for letter in letters} == {b"3"}


@pytest.mark.parametrize("naming", ["aws", "index", "event"])
async def test_an_unknown_identifier_fails_the_whole_batch(bench: Bench, naming: str) -> None:
    """A name that is of no event of the batch says nothing that can be trusted: nothing counts as done, and each event is
    judged alone in the end."""
    stream = await bench.stream()
    await bench.send(stream, orders(4))
    sizes = []

    @on_stream(stream, batch=Batch(max_events=4, max_wait=0.05), retry=Retry(max_attempts=1, initial=0.0))
    async def handle(batch: list[Event[Order]]) -> Any:
        sizes.append(len(batch))
        if len(batch) == 4:
            if naming == "aws":
                return {"batchItemFailures": [{"itemIdentifier": {"partition": f"{stream}-0", "offset": 99}}]}
            raise BatchFailures({99: "bad"} if naming == "index" else {Event(1, None, (), "s", 0, 0, 0, b""): "bad"})
        return None

    statistics = await bench.catch_up(handle)
    assert (statistics.done, statistics.dead_lettered) == (4, 0)
    assert sizes == [4, 2, 2]


@pytest.mark.parametrize("sync", [False, True])
async def test_a_batch_that_fails_is_halved_until_the_poison_stands_alone(bench: Bench, sync: bool) -> None:
    """An exception names no event: the batch is tried again in halves, the good ones are done, and the poison alone uses
    its attempts and rests in the dead letters."""
    stream = await bench.stream()
    await bench.send(stream, orders(32))
    alone: Counter[int] = Counter()
    done: Counter[int] = Counter()

    def body(batch: list[Order]) -> None:
        if len(batch) == 1:
            alone[batch[0].id] += 1
        if any(order.id == 21 for order in batch):
            raise ValueError("poison")
        done.update(order.id for order in batch)

    async def on_loop(batch: list[Order]) -> None:
        body(batch)

    def in_thread(batch: list[Order]) -> None:
        body(batch)

    function = on_stream(
        stream, name="handle", batch=Batch(max_events=32, max_wait=0.05), retry=Retry(max_attempts=3, initial=0.01)
    )(in_thread if sync else on_loop)
    statistics = await bench.catch_up(function)

    assert (statistics.done, statistics.dead_lettered) == (31, 1)
    assert done == {number: 1 for number in range(32) if number != 21}
    assert alone[21] == 3
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert letter.value == b'{"id":21}'
    assert header(letter, "dispatch-dead-attempts") == b"3"


async def test_an_undecodable_event_of_a_batch_is_rejected_alone(bench: Bench) -> None:
    """The others of its batch are handled in one call, which does not see it; a batch of undecodable ones needs no call."""
    stream = await bench.stream()
    messages = orders(5)
    messages[2] = (b"key-2", b"\xff no order")
    await bench.send(stream, messages)
    calls = []

    @on_stream(stream, batch=Batch(max_events=5, max_wait=0.05))
    async def handle(batch: list[Order]) -> None:
        calls.append([order.id for order in batch])

    statistics = await bench.catch_up(handle)
    assert calls == [[0, 1, 3, 4]]
    assert (statistics.done, statistics.dead_lettered) == (4, 1)
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert (letter.value, reason(letter)) == (b"\xff no order", "rejected")

    await bench.send(stream, [(b"a", b"no"), (b"b", b"no")])
    statistics = await bench.catch_up(handle)
    assert len(calls) == 1
    assert statistics.dead_lettered == 2


async def test_an_undecodable_event_and_a_failure_in_one_batch(bench: Bench) -> None:
    """The undecodable one is a dead letter whatever the function says of the others, by index among those that it saw."""
    stream = await bench.stream()
    messages = [(b"a", b"\xff"), *orders(4)]
    await bench.send(stream, messages)

    @on_stream(stream, batch=Batch(max_events=5, max_wait=0.05), retry=Retry(max_attempts=1))
    async def handle(batch: list[Order]) -> None:
        bad = {index: Reject("two") for index, order in enumerate(batch) if order.id == 2}
        if bad:
            raise BatchFailures(bad)

    statistics = await bench.catch_up(handle)
    assert (statistics.done, statistics.dead_lettered) == (3, 2)
    letters = await bench.read(f"{stream}.handle.dead")
    assert sorted(letter.value or b"" for letter in letters) == [b'{"id":2}', b"\xff"]


@pytest.mark.parametrize("order", ["key", "partition"])
async def test_what_follows_a_failed_event_in_its_lane_runs_again_after_it(bench: Bench, order: str) -> None:
    """In an ordered batch the events behind a failed one of their lane are delivered again after it, although the function
    said that they were done: the last thing a key hears is its last event. Other lanes are done once."""
    stream = await bench.stream()
    lanes = [b"a", b"b", b"a", b"b", b"a"]
    await bench.send(stream, ((key, b'{"id":%d}' % number) for number, key in enumerate(lanes)))
    heard: list[int] = []

    @on_stream(stream, order=order, batch=Batch(max_events=5, max_wait=0.05), retry=Retry(initial=0.0))
    async def handle(batch: list[Event[Order]]) -> None:
        first = not heard
        heard.extend(event.value.id for event in batch)
        if first:
            raise BatchFailures({event: "again" for event in batch if event.value.id == 2})

    statistics = await bench.catch_up(handle)

    assert statistics.done == 5
    assert heard[:5] == ([0, 2, 4, 1, 3] if order == "key" else [0, 1, 2, 3, 4])
    assert heard[5:] == ([2, 4] if order == "key" else [2, 3, 4])


async def test_a_batch_past_its_timeout_has_failed_and_is_halved(bench: Bench) -> None:
    """A time-out is a failure of the whole batch: halves find the event that takes too long."""
    stream = await bench.stream()
    await bench.send(stream, orders(4))

    @on_stream(stream, batch=Batch(max_events=4, max_wait=0.05), timeout=0.1, retry=Retry(max_attempts=1, initial=0.0))
    async def handle(batch: list[Order]) -> None:
        if any(order.id == 1 for order in batch):
            await asyncio.Event().wait()

    statistics = await bench.catch_up(handle)
    assert (statistics.done, statistics.dead_lettered) == (3, 1)
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert letter.value == b'{"id":1}'
