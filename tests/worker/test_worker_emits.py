"""What a function returns or emits, on its way to the output stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bench import Bench, header, on_both, reason, until

from bindings import Batch, BatchFailures, Context, Emit, Event, Reject, Retry, on_stream
from dispatcher.core.offsets import decode_metadata


@on_both
async def test_results_have_the_key_of_their_event_and_an_id(bench: Bench) -> None:
    """A returned value is JSON in the output stream, with the key of its event and an id made of its coordinates; a list
    is one record an item; an Emit brings a key and headers of its own."""
    stream, output = await bench.stream(partitions=2), bench.name("out")
    await bench.send(stream, [(b"one", b"1"), (b"two", b"2"), (b"own", b"3"), (None, b"4"), (b"none", b"5")])

    @on_stream(stream, emits=output)
    async def produce(event: Event[bytes]) -> Any:
        return {
            b"1": {"n": 1},
            b"2": [{"n": 21}, None, {"n": 22}],
            b"3": Emit("text", key="chosen", headers=[("h", b"\xff"), ("h", b"")]),
            b"4": b"\x00raw",
            b"5": None,
        }[event.value]

    statistics = await bench.catch_up(produce)

    assert (statistics.done, statistics.emitted) == (5, 5)
    records = {record.value: record for record in await bench.read(output)}
    assert {value: record.key for value, record in records.items()} == {
        b'{"n":1}': b"one",
        b'{"n":21}': b"two",
        b'{"n":22}': b"two",
        b"text": b"chosen",
        b"\x00raw": None,
    }
    sources = {event.value: event for event in await bench.read(stream)}
    two = sources[b"2"]
    ids = [header(records[value], "dispatch-event-id") for value in (b'{"n":21}', b'{"n":22}')]
    assert ids == [f"{stream}/{two.partition}/{two.offset}#{index}".encode() for index in (0, 1)]
    assert list(records[b"text"].headers[:2]) == [("h", b"\xff"), ("h", b"")]
    assert header(records[b"text"], "dispatch-function") == b"produce"


async def test_a_result_is_there_before_its_offset_is_committed(bench: Bench) -> None:
    """At no commit was an event passed whose result was not in the output stream."""
    stream, output = await bench.stream(), bench.name("out")
    count = 200
    await bench.send(stream, ((b"%d" % (number % 7), b"%d" % number) for number in range(count)))

    @on_stream(stream, emits=output)
    async def echo(value: bytes) -> bytes:
        await asyncio.sleep(0)
        return value

    async with bench.running(echo, commit_interval=0.001) as worker:
        while worker.statistics().done < count:
            commit = await bench.committed(echo, stream)
            if commit is not None:
                written = {int(record.value or b"-1") for record in await bench.read(output)}
                done = set(range(commit.offset))
                for first, stop in decode_metadata(commit.offset, commit.metadata).done:
                    done.update(range(first, stop))
                assert done <= written
            await asyncio.sleep(0)
    assert len(await bench.read(output)) == count


async def test_only_a_success_emits_and_a_repetition_can_be_told(bench: Bench) -> None:
    """What a failed attempt emitted is not produced; and an event that is delivered again by another run gives a result
    with the same id."""
    stream, output = await bench.stream(), bench.name("out")
    await bench.send(stream, [(b"k", b"flaky"), (b"k", b"hopeless"), (b"k", b"fine")])

    @on_stream(stream, emits=output, retry=Retry(max_attempts=2, initial=0.0))
    async def produce(value: bytes, context: Context) -> str:
        context.emit(f"{value.decode()} {context.attempt} emitted", key=b"mine")
        if value == b"hopeless" or (value == b"flaky" and context.attempt == 1):
            raise ValueError("no")
        return f"{value.decode()} {context.attempt} returned"

    statistics = await bench.catch_up(produce)
    assert (statistics.emitted, statistics.dead_lettered) == (4, 1)
    first = await bench.read(output)
    assert [(record.value, record.key) for record in first] == [
        (b"flaky 2 emitted", b"mine"),
        (b"flaky 2 returned", b"k"),
        (b"fine 1 emitted", b"mine"),
        (b"fine 1 returned", b"k"),
    ]

    bench.app += "-again"
    await bench.catch_up(produce)
    again = (await bench.read(output))[len(first) :]
    ids = [[header(record, "dispatch-event-id") for record in records] for records in (first, again)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 4


async def test_a_batch_of_which_all_failed_emits_nothing(bench: Bench) -> None:
    """context.emit() is for what succeeded: a batch function that names all of its events as failed emits nothing, and
    one that names some does."""
    stream, output = await bench.stream(), bench.name("out")
    await bench.send(stream, [(b"a", b"bad"), (b"b", b"bad")])

    @on_stream(stream, emits=output, batch=Batch(max_events=2))
    async def produce(values: list[bytes], context: Context) -> None:
        context.emit(f"{len(values)}")
        failures = {index: Reject("no") for index, value in enumerate(values) if value == b"bad"}
        if failures:
            raise BatchFailures(failures)

    statistics = await bench.catch_up(produce)
    assert (statistics.dead_lettered, statistics.emitted) == (2, 0)
    assert await bench.read(output) == []

    await bench.send(stream, [(b"a", b"bad"), (b"b", b"good")])
    statistics = await bench.catch_up(produce)
    assert (statistics.dead_lettered, statistics.done, statistics.emitted) == (1, 1, 1)
    assert [record.value for record in await bench.read(output)] == [b"2"]


class Unspeakable:
    pass


@pytest.mark.parametrize(
    "bad",
    [
        {"n": Unspeakable()},
        Emit("x", key=5),  # type: ignore[arg-type]
        Emit("x", key="\udcff"),
        Emit("x", headers=[("h", "text")]),  # type: ignore[list-item]
        Emit("x", headers=[("\udcff", b"v")]),
        Emit("x", headers=[(5, b"v")]),  # type: ignore[list-item]
        Emit("x", headers=7),  # type: ignore[arg-type]
        Emit("\udcff"),
        (n for n in (1, 2)),
    ],
    ids=["value", "key type", "key text", "header type", "header text", "header name", "headers", "text", "generator"],
)
@pytest.mark.parametrize("wants_context", [False, True])
async def test_a_result_that_no_record_can_hold_is_a_failure(bench: Bench, bad: object, wants_context: bool) -> None:
    """A result that can't be written makes its event a dead letter when its attempts are used up, names what to return,
    and the worker goes on."""
    stream, output = await bench.stream(), bench.name("out")
    await bench.send(stream, [(b"k", b"bad"), (b"k", b"good")])

    async def produce(value: bytes) -> Any:
        return bad if value == b"bad" else "fine"

    async def produce_and_emit(value: bytes, context: Context) -> Any:
        if isinstance(bad, Emit) and value == b"bad":
            context.emit(bad.value, key=bad.key, headers=bad.headers)  # type: ignore[arg-type]
            return None
        return bad if value == b"bad" else "fine"

    function = on_stream(stream, name="produce", emits=output, retry=Retry(max_attempts=2, initial=0.0))(
        produce_and_emit if wants_context else produce
    )
    statistics = await bench.catch_up(function)

    assert (statistics.done, statistics.dead_lettered) == (1, 1)
    (letter,) = await bench.read(f"{stream}.produce.dead")
    assert header(letter, "dispatch-dead-error-type") == b"bindings.InvalidOutcome" or b"InvalidOutcome" in (
        header(letter, "dispatch-dead-error-type") or b""
    )
    assert [record.value for record in await bench.read(output)] == [b"fine"]


@on_both
async def test_a_result_too_large_for_its_stream_makes_a_dead_letter(bench: Bench) -> None:
    """A result that the output stream does not take will be so at each attempt: its event is a dead letter for its size,
    nothing of the large one is written, and the worker goes on."""
    stream = await bench.stream()
    output = await bench.stream("out", max_message_bytes="50000")
    await bench.send(stream, [(b"k", b"large"), (b"k", b"two large"), (b"k", b"small")])

    @on_stream(stream, emits=output)
    async def produce(value: bytes) -> Any:
        return {b"large": "x" * 100_000, b"two large": ["y" * 100_000, "z" * 100_000], b"small": "s"}[value]

    statistics = await bench.catch_up(produce)

    assert (statistics.done, statistics.dead_lettered, statistics.emitted) == (1, 2, 1)
    assert [record.value for record in await bench.read(output)] == [b"s"]
    letters = await bench.read(f"{stream}.produce.dead")
    assert [(letter.value, reason(letter)) for letter in letters] == [
        (b"large", "oversize"),
        (b"two large", "oversize"),
    ]


async def test_a_missing_output_stream_stops_the_commit_and_nothing_else(bench: Bench) -> None:
    """With create_topics=False and no output stream nothing is committed past the event whose result waits; events that
    emit nothing go on, and once the stream is there the result is written."""
    stream, output = await bench.stream(), bench.name("out")
    await bench.send(stream, [(b"a", b"emits"), (b"b", b"silent")])

    @on_stream(stream, emits=output)
    async def produce(value: bytes) -> bytes | None:
        return value if value == b"emits" else None

    async with bench.running(produce, create_topics=False) as worker:
        await until(lambda: worker.statistics().done == 1, "the other key to pass")
        commit = await bench.committed(produce, stream)
        assert commit is not None
        assert commit.offset == 0
        await bench.stream("out")
        await until(lambda: worker.statistics().done == 2)
    assert [record.value for record in await bench.read(output)] == [b"emits"]
