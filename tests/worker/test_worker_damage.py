"""A log that can't be read in places, and one that lost its beginning under the lag."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest
from bench import Bench, until

from bindings import Event, Limits, on_stream
from dispatcher.brokers.embedded import EmbeddedBroker
from dispatcher.errors import CorruptRecords


async def damaged_stream(bench: Bench, path: Path) -> str:
    """A stream of two partitions; of partition 0 the second of three batches can't be read."""
    stream = await bench.stream(partitions=2)
    for value in (b"before", b"bad", b"x" * 300_000):
        await bench.send(stream, [(b"k", value)], partition=0)
    await bench.send(stream, [(b"k", b"other")] * 5, partition=1)
    connection = sqlite3.connect(path)
    changed = connection.execute(
        "UPDATE batches SET data = substr(data, 1, length(data) - 1) WHERE instr(data, ?)", (b"bad",)
    )
    assert changed.rowcount == 1
    connection.commit()
    connection.close()
    return stream


async def test_records_that_cannot_be_read_stop_their_partition_alone(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By default a corrupt batch stops its partition with an error that says how to go past it; others are consumed."""
    stream = await damaged_stream(bench, tmp_path / "log.db")
    seen: list[tuple[int, int]] = []

    @on_stream(stream)
    async def handle(event: Event[bytes]) -> None:
        seen.append((event.partition, event.offset))

    async with bench.running(handle) as worker:
        await until(lambda: len(seen) == 6, "what can be read")
        await until(lambda: 'on_corrupt="skip"' in caplog.text, "the error")
        assert worker.statistics().skipped == 0
    assert sorted(seen) == [(0, 0), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]
    committed = await bench.committed(handle, stream, 0)
    assert committed is not None
    assert committed.offset == 1


async def test_records_that_cannot_be_read_are_skipped_when_that_is_asked_for(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """on_corrupt="skip" goes past what can't be read, counts it, logs it as an error, and delivers what follows."""
    stream = await damaged_stream(bench, tmp_path / "log.db")
    seen: list[tuple[int, int]] = []

    @on_stream(stream)
    async def handle(event: Event[bytes]) -> None:
        seen.append((event.partition, event.offset))

    statistics = await bench.catch_up(handle, on_corrupt="skip")
    assert (statistics.done, statistics.skipped) == (7, 1)
    assert (0, 2) in seen
    assert (0, 1) not in seen
    assert [record.levelno for record in caplog.records if "skipped" in record.message] == [logging.ERROR]


async def test_catching_up_fails_at_records_that_cannot_be_read(bench: Bench, tmp_path: Path) -> None:
    """A run for cron does not wait for ever in front of a corrupt batch: it fails, and commits what was before."""
    stream = await damaged_stream(bench, tmp_path / "log.db")

    @on_stream(stream)
    async def handle(event: Event[bytes]) -> None: ...

    with pytest.raises(CorruptRecords, match="can't be read"):
        await bench.catch_up(handle)
    committed = await bench.committed(handle, stream, 0)
    assert committed is not None
    assert committed.offset <= 1


async def test_retention_that_overtakes_a_running_worker_is_counted(
    bench: Bench, broker: EmbeddedBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that are deleted while they wait in the log are counted as skipped and told as an error; others go on."""
    stream = await bench.stream(partitions=1)
    # Large enough that they are not all read ahead.
    for number in range(10):
        await bench.send(stream, [(b"k%d" % number, b"x" * 900_000)])
    seen: list[int] = []
    held = True

    @on_stream(stream, limits=Limits(held_events=1))
    async def handle(event: Event[bytes]) -> None:
        seen.append(event.offset)
        await until(lambda: not held, "to be let go")

    async with bench.running(handle, max_poll_records=1) as worker:
        await until(lambda: seen == [0], "the first event")
        connection = sqlite3.connect(tmp_path / "log.db")
        connection.execute("UPDATE logs SET start_offset = 8 WHERE end_offset = 10")
        connection.commit()
        connection.close()
        held = False
        await until(lambda: seen[-1] == 9, "the last event")
        assert worker.statistics().skipped > 0
    assert "Retention is too short for the lag" in caplog.text
    assert {8, 9} <= set(seen)
    assert len(seen) + worker.statistics().skipped == 10
