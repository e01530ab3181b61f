"""A dead-letter topic that is missing, refuses, or is too small; and events that no function could take."""

from __future__ import annotations

import asyncio
import time

import pytest
from bench import Bench, header, on_both, reason, until
from pydantic import BaseModel
from typing_extensions import TypedDict

from bindings import Event, Reject, on_stream
from dispatcher.brokers.base import StreamInfo
from dispatcher.core.offsets import decode_metadata
from dispatcher.core.record import Outgoing


@on_both
async def test_a_missing_dead_letter_topic_stops_the_commit_and_nothing_else(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """With create_topics=False and no dead-letter topic the process stays up, other keys go on, nothing is committed past
    the event, its key waits, and the log says what to create; once it is there the letter is written and the commit
    moves on."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"poison"), (b"a", b"behind"), (b"b", b"1"), (b"c", b"2")])
    seen = []

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        if value == b"poison":
            raise Reject("bad")
        seen.append(value)

    async with bench.running(handle, create_topics=False) as worker:
        await until(lambda: len(seen) == 2, "other keys to pass")
        await until(lambda: "is tried again" in caplog.text, "the refusal to be logged")
        await bench.send(stream, [(b"d", b"3")])
        await until(lambda: len(seen) == 3, "new events to pass")
        await commits_are(bench, handle, stream, offset=0, done={2, 3, 4})
        assert seen == [b"1", b"2", b"3"]
        assert worker.statistics().dead_lettered == 0
        assert f"dispatch streams create {stream}.handle.dead" in caplog.text

        await bench.broker.create_stream(StreamInfo(name=f"{stream}.handle.dead", partitions=1))
        await until(lambda: worker.statistics().done == 4, "the key to go on")
        await commits_are(bench, handle, stream, offset=5, done=set())
    assert seen[-1] == b"behind"
    assert [letter.value for letter in await bench.read(f"{stream}.handle.dead")] == [b"poison"]


async def commits_are(bench: Bench, function, stream: str, *, offset: int, done: set[int]) -> None:
    """Wait until the group has committed exactly that."""
    give_up = time.monotonic() + 10
    while True:
        commit = await bench.committed(function, stream)
        assert commit is not None
        found = {
            each for first, stop in decode_metadata(commit.offset, commit.metadata).done for each in range(first, stop)
        }
        if (commit.offset, found) == (offset, done):
            return
        assert time.monotonic() < give_up, f"committed: {commit.offset}, done beyond it: {found}"
        await asyncio.sleep(0.02)


async def test_a_worker_stops_though_a_dead_letter_can_not_be_written(bench: Bench) -> None:
    """A stop waits for the dead-letter topic no longer than the drain budget; the event is not lost: the next run, with
    the topic there, writes it."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"poison"), (b"b", b"good")])
    seen = []

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        seen.append(value)
        if value == b"poison":
            raise Reject("bad")

    async with bench.running(handle, create_topics=False, drain=0.2) as worker:
        await until(lambda: worker.statistics().done == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 5.0

    statistics = await bench.catch_up(handle)
    assert statistics.dead_lettered == 1
    assert seen == [b"poison", b"good", b"poison"]
    assert [letter.value for letter in await bench.read(f"{stream}.handle.dead")] == [b"poison"]


async def test_a_dead_letter_is_there_before_its_offset_is_committed(bench: Bench) -> None:
    """Whatever moment the process dies in: at no commit was an event passed whose dead letter was not in the log."""
    stream = await bench.stream()
    count = 200
    await bench.send(stream, ((b"%d" % (number % 7), b"%d" % number) for number in range(count)))

    @on_stream(stream)
    async def refuse(value: bytes) -> None:
        raise Reject("bad")

    dead = f"{stream}.refuse.dead"
    async with bench.running(refuse, commit_interval=0.001) as worker:
        looks = 0
        while worker.statistics().dead_lettered < count:
            commit = await bench.committed(refuse, stream)
            if commit is not None:
                written = {int(header(letter, "dispatch-dead-offset") or b"") for letter in await bench.read(dead)}
                done = set(range(commit.offset))
                for first, stop in decode_metadata(commit.offset, commit.metadata).done:
                    done.update(range(first, stop))
                assert done <= written
                looks += 0 < len(done) < count
            await asyncio.sleep(0)
    assert len(await bench.read(dead)) == count


@on_both
async def test_an_event_as_large_as_its_stream_takes_has_a_dead_letter(bench: Bench) -> None:
    """An event of 1,048,000 bytes and the headers of a dead letter are larger than a stream takes by default: the topic
    that the dispatcher creates takes them whole."""
    stream = await bench.stream()
    value = b"\xf1" * 1_048_000
    await bench.send(stream, [(b"k", value), (b"k", b"next")])
    seen = []

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        if len(value) > 10:
            raise Reject("too much" * 200)
        seen.append(value)

    statistics = await bench.catch_up(handle)

    assert (statistics.dead_lettered, seen) == (1, [b"next"])
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert letter.value == value
    assert header(letter, "dispatch-dead-truncated") is None


@on_both
async def test_a_dead_letter_topic_that_is_too_small_gets_the_coordinates(bench: Bench) -> None:
    """A dead-letter topic that somebody made with a smaller limit gets the beginning of the value, its size, the reason
    and the coordinates of the original; nothing waits for ever."""
    stream = await bench.stream()
    await bench.stream("events.handle.dead", max_message_bytes="100000")
    value = b"0123456789" * 50_000
    await bench.send(
        stream, [Outgoing(topic=stream, key=b"k", value=value, headers=(("big", b"h" * 200_000),)), (b"k", b"next")]
    )
    seen = []

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        if len(value) > 10:
            raise Reject("no")
        seen.append(value)

    statistics = await bench.catch_up(handle)

    assert (statistics.dead_lettered, seen) == (1, [b"next"])
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert letter.key == b"k"
    assert letter.value
    assert value.startswith(letter.value)
    assert header(letter, "dispatch-dead-truncated") == b"500000"
    assert reason(letter) == "rejected"
    assert header(letter, "dispatch-dead-stream") == stream.encode()
    assert header(letter, "dispatch-dead-offset") == b"0"


async def test_a_tiny_dead_letter_topic_still_gets_the_coordinates(bench: Bench) -> None:
    """Even a topic that takes 2,000 bytes gets a dead letter, of which the value is cut as far as it must be: a limit
    nobody thought of must not hold up a partition for ever."""
    stream = await bench.stream()
    await bench.stream("events.handle.dead", max_message_bytes="2000")
    await bench.send(stream, [(b"k" * 1_500, b"0123456789" * 5_000)])

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        raise Reject("n" * 900)

    statistics = await bench.catch_up(handle)

    assert statistics.dead_lettered == 1
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert header(letter, "dispatch-dead-truncated") == b"50000"
    assert header(letter, "dispatch-dead-offset") == b"0"


class Order(BaseModel):
    id: int


class Line(TypedDict):
    id: int


@pytest.mark.parametrize(
    ("shape", "bad"),
    [
        (Order, b"\xff\xfe secret"),
        (Order, b'{"id": "secret"}'),
        (Order, b'{"secret": 1}'),
        (Order, b"[" * 100_000),
        (Order, b""),
        (Order, None),
        (Line, b'{"id": 1.5, "secret": 1}'),
        (dict, b'["secret"]'),
        (dict, b'{"secret": NaN}'),
        (str, b"\xff secret"),
        (bytes, None),
    ],
    ids=lambda value: repr(value)[:24],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["value", "event"])
async def test_what_can_not_be_decoded_is_a_dead_letter_at_once(
    bench: Bench, caplog: pytest.LogCaptureFixture, shape: type, bad: bytes | None, wrapped: bool
) -> None:
    """Bytes that are not what the annotation says are a dead letter without an attempt of the function, the later events
    of the key go on, and no payload is in the logs or in the error."""
    caplog.set_level("DEBUG")
    stream = await bench.stream()
    good = {Order: b'{"id": 1}', Line: b'{"id": 1}', dict: b'{"a": 1}', str: b"text", bytes: b"bytes"}[shape]
    await bench.send(stream, [(b"k", bad), (b"k", good)])
    seen = []
    annotation = Event[shape] if wrapped else shape  # type: ignore[valid-type]

    async def handle(value: object) -> None:
        seen.append(value)

    handle.__annotations__["value"] = annotation
    function = on_stream(stream)(handle)

    statistics = await bench.catch_up(function)

    assert len(seen) == 1
    assert (statistics.dead_lettered, statistics.done, statistics.retried) == (1, 1, 0)
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert letter.value == bad
    assert reason(letter) == "rejected"
    message = (header(letter, "dispatch-dead-error-message") or b"").decode()
    assert message.startswith("not ")
    assert "secret" not in message.replace("secret: ", "")
    assert "secret" not in caplog.text.replace("secret: ", "")


async def test_null_values_reach_a_function_that_asks_for_them(bench: Bench) -> None:
    """A record without a value is None for a function that is annotated so, with its key."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", None), (None, None), (b"k", b'{"id": 1}')])
    seen = []

    @on_stream(stream, order="partition")
    async def handle(event: Event[Order | None]) -> None:
        seen.append((event.key, event.value))

    await bench.catch_up(handle)
    assert seen == [(b"k", None), (None, None), (b"k", Order(id=1))]


@on_both
async def test_weird_headers_and_huge_events_come_whole(bench: Bench) -> None:
    """1,000 headers, values that are no UTF-8, names that are no ASCII, and 900,000 bytes reach the function as they were
    sent."""
    stream = await bench.stream()
    headers = tuple((f"h-{number % 500}-\u00fc", b"\xff\x00" * 3 if number % 3 else None) for number in range(1_000))
    events = [
        Outgoing(topic=stream, key=b"\xff", value=b"x" * 900_000, headers=headers),
        Outgoing(topic=stream, key=b"k" * 100_000, value=b"y"),
    ]
    await bench.send(stream, events)
    seen = []

    @on_stream(stream)
    async def handle(event: Event[bytes]) -> None:
        seen.append(event)

    await bench.catch_up(handle)

    seen.sort(key=lambda event: event.offset)
    for sent, event in zip(events, seen, strict=True):
        assert (event.key, event.value, event.headers) == (sent.key, sent.value, sent.headers)
