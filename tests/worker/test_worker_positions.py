"""Where a worker begins: commits, other programs' metadata, logs that were cut, and start=."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bench import Bench, binding_of, embedded, on_both, until

from bindings import on_stream
from dispatcher.core.offsets import OffsetMap, encode_metadata
from dispatcher.core.record import Committed, Outgoing
from dispatcher.errors import InvalidOffsetMetadata


def collector(stream: str, seen: list[bytes], **options: Any) -> Any:
    """A function that keeps what it is handed."""

    @on_stream(stream, **options)
    async def handle(value: bytes) -> None:
        seen.append(value)

    return handle


def numbers(first: int, stop: int) -> list[tuple[bytes, bytes]]:
    """Events of one key."""
    return [(b"k", b"%d" % number) for number in range(first, stop)]


@on_both
async def test_a_worker_begins_at_its_groups_commit(bench: Bench) -> None:
    """What the commit says is done is not delivered: all below the offset, and what its metadata marks beyond it."""
    stream, seen = await bench.stream(), []
    await bench.send(stream, numbers(0, 10))
    handle = collector(stream, seen)
    await bench.commit(handle, stream, Committed(3, encode_metadata(3, OffsetMap([(5, 7), (9, 10)]))))
    statistics = await bench.catch_up(handle)
    assert seen == [b"3", b"4", b"7", b"8"]
    assert statistics.done == 4
    commit = await bench.committed(handle, stream)
    assert commit == (10, "")


async def test_attempts_that_were_used_up_are_not_begun_again(bench: Bench) -> None:
    """An event whose last attempt failed just before its owner died gets no other: it is a dead letter, and the rest goes
    on behind it."""
    stream, seen = await bench.stream(), []
    await bench.send(stream, numbers(0, 3))
    handle = collector(stream, seen)
    await bench.commit(handle, stream, Committed(0, encode_metadata(0, OffsetMap((), {0: 5}))))
    statistics = await bench.catch_up(handle)
    assert seen == [b"1", b"2"]
    assert (statistics.dead_lettered, statistics.done) == (1, 2)
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert letter.value == b"0"


FOREIGN = ["consumed by another tool", "dsp1r.!!!", "dsp9r.AA==", '{"offset": 3}', "dsp1R." + "A" * 200]


@pytest.mark.parametrize("metadata", FOREIGN)
async def test_metadata_of_another_program_is_ignored_with_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture, metadata: str
) -> None:
    """By default the offset counts and what travels with it does not; the log says so."""
    stream, seen = await bench.stream(), []
    await bench.send(stream, numbers(0, 5))
    handle = collector(stream, seen)
    await bench.commit(handle, stream, Committed(3, metadata))
    await bench.catch_up(handle)
    assert seen == [b"3", b"4"]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(f"{stream}/0" in warning and "metadata that is ignored" in warning for warning in warnings)


@pytest.mark.parametrize("metadata", FOREIGN)
async def test_metadata_of_another_program_is_refused_by_setting(bench: Bench, metadata: str) -> None:
    """on_foreign_metadata="refuse" ends the worker with an error that names the partition and the group, and leaves the
    commit as it was."""
    stream, seen = await bench.stream(), []
    await bench.send(stream, numbers(0, 5))
    handle = collector(stream, seen)
    await bench.commit(handle, stream, Committed(3, metadata))
    with pytest.raises(InvalidOffsetMetadata, match=f"{stream}/0: the commit of the group {bench.app}.handle"):
        await bench.catch_up(handle, on_foreign_metadata="refuse")
    assert seen == []
    assert await bench.committed(handle, stream) == (3, metadata)


async def test_a_commit_beyond_the_end_of_the_log_delivers_all(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A stream that was deleted and made anew is shorter than its group's commit: all that it holds is delivered, and the
    log says why; the commit goes back with it."""
    stream, seen = await bench.stream(), []
    await bench.send(stream, numbers(0, 5))
    handle = collector(stream, seen)
    await bench.commit(handle, stream, Committed(50))
    statistics = await bench.catch_up(handle)
    assert seen == [b"0", b"1", b"2", b"3", b"4"]
    assert statistics.done == 5
    assert "committed offset 50, but the log ends at 5" in caplog.text
    assert await bench.committed(handle, stream) == (5, "")


async def test_what_retention_took_is_counted_and_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A commit below the start of the log: the events between were never handled, and are gone; the worker goes on where
    the log begins, counts them as skipped, and says so. Those that were done are not counted."""
    stream = await bench.stream(retention_ms="3600000")
    seen: list[bytes] = []
    old = int((time.time() - 7_200) * 1000)
    # Retention takes whole batches: so large, each of these is one.
    for number in range(6):
        await bench.send(stream, [Outgoing(topic=stream, key=b"k", value=b"%d" % number * 20_000, timestamp=old)])
    await bench.send(stream, numbers(6, 8))
    handle = collector(stream, seen)
    await bench.commit(handle, stream, Committed(1, encode_metadata(1, OffsetMap([(2, 4)]))))
    await embedded(bench)._enforce_retention()
    statistics = await bench.catch_up(handle)
    assert seen == [b"6", b"7"]
    assert statistics.skipped == 3
    assert "3 events that the group" in caplog.text
    assert "Retention is too short" in caplog.text
    assert await bench.committed(handle, stream) == (8, "")


async def test_start_earliest_and_latest(bench: Bench) -> None:
    """Without a commit start= decides: "earliest" delivers all that there is, "latest" only what comes."""
    stream = await bench.stream()
    first: list[bytes] = []
    last: list[bytes] = []
    await bench.send(stream, numbers(0, 3))
    earliest = collector(stream, first, name="earliest", start="earliest")
    latest = collector(stream, last, name="latest", start="latest")
    async with bench.running(earliest), bench.running(latest):
        await until(lambda: len(first) == 3)
        await bench.send(stream, numbers(3, 5))
        await until(lambda: len(first) == 5 and len(last) == 2)
    assert first == [b"0", b"1", b"2", b"3", b"4"]
    assert last == [b"3", b"4"]


@pytest.mark.parametrize(
    "start",
    ["-2h", timedelta(hours=2), datetime.now(UTC) - timedelta(hours=2), "2h ago in ISO 8601"],
    ids=["span", "timedelta", "datetime", "text"],
)
async def test_start_at_a_time(bench: Bench, start: Any) -> None:
    """A time, or a span back, begins at the first event that is not older; where none is so young, at the next to come."""
    stream, seen = await bench.stream(partitions=2), []
    now = int(time.time() * 1000)
    for hours in (4, 3, 1, 0.5):
        when = now - int(hours * 3_600_000)
        await bench.send(stream, [(b"k", str(hours).encode())], partition=0, timestamp=when)
    await bench.send(stream, [(b"k", b"old")], partition=1, timestamp=now - 4 * 3_600_000)
    if isinstance(start, str) and "ISO" in start:
        start = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    handle = collector(stream, seen, start=start)
    async with bench.running(handle):
        await until(lambda: len(seen) == 2)
        await bench.send(stream, [(b"k", b"new")], partition=1)
        await until(lambda: len(seen) == 3)
    assert seen == [b"1", b"0.5", b"new"]


async def test_start_does_not_matter_once_there_is_a_commit(bench: Bench) -> None:
    """A function whose start= is changed goes on where its group stands."""
    stream, seen = await bench.stream(), []
    await bench.send(stream, numbers(0, 4))
    await bench.commit(collector(stream, seen), stream, Committed(2))
    await bench.catch_up(collector(stream, seen, start="latest"))
    assert seen == [b"2", b"3"]


@on_both
async def test_a_start_is_kept_before_the_first_event(bench: Bench) -> None:
    """start="latest" is the moment of the first assignment: a member that joins and leaves before any event leaves a
    commit, so that what comes while nobody is there is delivered to its successor."""
    stream, seen = await bench.stream(), []
    await bench.send(stream, numbers(0, 3))
    handle = collector(stream, seen, start="latest")
    async with bench.running(handle, commit_interval=300.0):
        # At once: the process may die before the first interval, and without an event.
        async with asyncio.timeout(10):
            while (commit := await bench.committed(handle, stream)) is None:
                await asyncio.sleep(0.01)
        assert commit.offset == 3
    await bench.send(stream, numbers(3, 5))
    await bench.catch_up(handle)
    assert seen == [b"3", b"4"]


@on_both
async def test_a_start_is_not_for_a_partition_that_came_while_nobody_was_there(bench: Bench) -> None:
    """start="latest" is for the beginning of the group: a partition without a commit, beside one with, was added later,
    and all its events are delivered, though no member has ever seen the stream without it."""
    stream, seen = await bench.stream(), []
    await bench.send(stream, numbers(0, 3))
    handle = collector(stream, seen, start="latest")
    await bench.commit(handle, stream, Committed(3))
    await bench.broker.add_partitions(stream, 2)
    await bench.send(stream, numbers(3, 5), partition=1)
    await bench.catch_up(handle)
    assert seen == [b"3", b"4"]


async def test_the_group_is_named_after_app_and_function(bench: Bench) -> None:
    """Each function of an app has a group of its own."""
    handle = collector("events", [], name="mine")
    assert bench.worker(handle).group == f"{bench.app}.mine"
    assert binding_of(handle).name == "mine"
