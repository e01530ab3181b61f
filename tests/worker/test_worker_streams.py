"""Streams that vanish, grow or were never there."""

from __future__ import annotations

import asyncio

import pytest
from bench import Bench, embedded, on_both, until

from bindings import Event, bindings_of, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.errors import BrokerUnavailable, StreamNotFound
from dispatcher.worker.topics import ensure_topics


@on_both
async def test_a_stream_that_is_not_there_is_an_error_that_says_what_to_do(bench: Bench) -> None:
    """A worker whose stream does not exist ends at once, with the stream's name."""

    @on_stream(bench.name("missing"))
    async def handle(value: bytes) -> None:
        raise AssertionError

    with pytest.raises(StreamNotFound, match=bench.name("missing")):
        await bench.catch_up(handle)


async def test_a_stream_that_vanishes_ends_the_worker(bench: Bench) -> None:
    """A stream that is deleted while it is consumed ends the worker with an error that names it; what ran was finished."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"x")])
    gate, finished = asyncio.Event(), 0

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        nonlocal finished
        await gate.wait()
        finished += 1

    worker = bench.worker(handle)
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.statistics().in_flight == 1)
    await embedded(bench).delete_stream(stream)
    gate.set()
    with pytest.raises(StreamNotFound, match=stream):
        await asyncio.wait_for(task, 20)
    assert finished == 1
    assert worker.statistics().state == "stopped"


async def test_only_who_has_made_a_stream_says_so(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Two processes that find the dead-letter stream missing at the same time: one makes it, and one line tells of it."""
    caplog.set_level("INFO", "dispatcher.worker")
    stream = await bench.stream()

    @on_stream(stream)
    async def handle(value: bytes) -> None: ...

    (binding,) = bindings_of(handle)
    missing = await asyncio.gather(*(ensure_topics(binding, bench.broker, create=True) for _ in range(2)))
    assert missing == [set(), set()]
    [line] = [message for message in caplog.messages if "created" in message]
    assert binding.dead_letter_topic(stream) in line


async def test_new_partitions_are_consumed(bench: Bench) -> None:
    """A stream that gains partitions while it is consumed: their events arrive, from the first one on, also with
    start="latest", and the old ones go on with no event twice."""
    stream = await bench.stream(partitions=1)
    seen: list[tuple[int, bytes]] = []

    @on_stream(stream, start="latest")
    async def handle(event: Event[bytes]) -> None:
        seen.append((event.partition, event.value))

    async with bench.running(handle):
        await bench.send(stream, [(b"k", b"old")], partition=0)
        await until(lambda: len(seen) == 1)
        await embedded(bench).add_partitions(stream, 3)
        # Sent before the worker can have them: "latest" means the moment when the stream was first consumed.
        await bench.send(stream, [(b"k", b"new")], partition=2)
        await bench.send(stream, [(b"k", b"old 2")], partition=0)
        await until(lambda: len(seen) == 3)
    assert sorted(seen) == [(0, b"old"), (0, b"old 2"), (2, b"new")]


async def test_two_streams_of_one_function(bench: Bench) -> None:
    """A function of two streams gets both, and each has its own dead-letter topic."""
    one, two = await bench.stream("one"), await bench.stream("two", partitions=3)
    await bench.send(one, [(b"k", b"good"), (b"k", b"\xff")])
    await bench.send(two, [(b"k", b"good"), (b"k", b"\xff")])
    seen = []

    @on_stream(one, two)
    async def handle(event: Event[str]) -> None:
        seen.append(event.stream)

    statistics = await bench.catch_up(handle)
    assert sorted(seen) == [one, two]
    assert statistics.dead_lettered == 2
    for stream in (one, two):
        (letter,) = await bench.read(f"{stream}.handle.dead")
        assert letter.value == b"\xff"
    info = await bench.broker.describe(f"{two}.handle.dead")
    assert info is not None
    assert info.partitions == 3


@pytest.mark.parametrize("is_seen", [True, False])
async def test_a_cluster_that_is_slow_with_new_streams_ends_no_worker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_seen: bool
) -> None:
    """The dead-letter topic has no leaders within the time of a request, or can't even be seen: the worker says so and goes on."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"x")])
    create = bench.broker.create_stream

    async def create_slowly(wanted: StreamInfo) -> bool:
        if is_seen:
            await create(wanted)
        raise BrokerUnavailable("no leader is available")

    monkeypatch.setattr(bench.broker, "create_stream", create_slowly)

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        pass

    assert (await bench.catch_up(handle)).done == 1
    assert "no leader is available" in caplog.text
