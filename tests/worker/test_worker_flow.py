"""Back-pressure, running until caught up, and filters."""

from __future__ import annotations

import asyncio
import time

import pytest
from bench import Bench, header, on_both, reason, until

from bindings import Batch, Event, Limits, Retry, on_stream
from dispatcher.worker import Worker


async def settled(worker: Worker) -> int:
    """What a worker holds once that changes no more: over ten polls of the broker, on a loop that has turned often."""
    held, same = -1, 0
    give_up = time.monotonic() + 10
    while same < 25 and time.monotonic() < give_up:
        now = sum(len(partition.pending) for partition in worker._scheduler.partitions.values())
        held, same = now, same + 1 if now == held else 0
        await asyncio.sleep(0.02)
    return held


@pytest.mark.parametrize("by", ["events", "bytes"])
@on_both
async def test_a_worker_that_is_blocked_holds_no_more_than_its_limits(bench: Bench, by: str) -> None:
    """While all invocations hang and thousands of events wait, no more are held than Limits says and one fetch; membership
    and commits go on, and when the function goes on so does all."""
    stream = await bench.stream()
    count, size = 3_000, 1_000
    await bench.send(stream, ((b"k%d" % number, b"x" * size) for number in range(count)))
    gate = asyncio.Event()
    limits = Limits(held_events=200) if by == "events" else Limits(held_bytes=200 * size)

    @on_stream(stream, limits=limits, concurrency=4)
    async def handle(value: bytes) -> None:
        await gate.wait()

    async with bench.running(handle, max_poll_records=50) as worker:
        await until(lambda: worker.statistics().in_flight == 4)
        held = await settled(worker)
        assert 100 <= held < 200 + 50
        gate.set()
        most = 0
        while worker.statistics().done < count:
            most = max(most, sum(len(each.pending) for each in worker._scheduler.partitions.values()))
            await asyncio.sleep(0)
        assert most < 200 + 50


async def test_a_partition_at_its_limit_does_not_stop_another(bench: Bench) -> None:
    """Of two partitions one hangs and is full; the other is consumed to its end."""
    stream = await bench.stream(partitions=2)
    for partition in (0, 1):
        await bench.send(stream, ((b"k", b"%d" % partition) for _ in range(1_000)), partition=partition)
    gate, passed = asyncio.Event(), 0

    @on_stream(stream, order="partition", limits=Limits(held_events=100))
    async def handle(value: bytes) -> None:
        nonlocal passed
        if value == b"0":
            await gate.wait()
        passed += 1

    async with bench.running(handle, max_poll_records=20) as worker:
        await until(lambda: passed == 1_000, "the other partition to end")
        gate.set()
        await until(lambda: worker.statistics().done == 2_000)


@on_both
async def test_a_partition_that_is_full_does_not_wait_for_an_idle_one(bench: Bench) -> None:
    """Room that was made is filled in a hundredth of a second, though a fetch waits for a partition with nothing in it.

    It is made forty times: waiting out the fetch each time took 10 s.
    """
    stream = await bench.stream(partitions=2)
    await bench.send(stream, ((b"k%d" % number, b"x") for number in range(2_000)), partition=0)

    @on_stream(stream, limits=Limits(held_events=100), concurrency=50)
    async def handle(value: bytes) -> None:
        await asyncio.sleep(0)

    async with bench.running(handle, max_poll_records=50) as worker:
        await until(lambda: worker.statistics().done > 0)
        await until(lambda: worker.statistics().done == 2_000, "all to be done", patience=4)


async def test_parked_events_are_bounded_by_the_park_limit(bench: Bench) -> None:
    """When everything fails an ordered function stops asking for more at Retry(park_limit), and goes on when it heals."""
    stream = await bench.stream()
    count = 2_000
    await bench.send(stream, ((b"k%d" % number, b"x") for number in range(count)))
    heal = asyncio.Event()

    @on_stream(stream, retry=Retry(max_attempts=10_000, initial=0.3, multiplier=1, jitter="none", park_limit=50))
    async def handle(value: bytes) -> None:
        if not heal.is_set():
            raise ConnectionError("down")

    async with bench.running(handle, max_poll_records=20) as worker:
        await until(lambda: worker.statistics().parked >= 50, "the park to be full")
        held = await settled(worker)
        assert held < 50 + 2 * 20
        heal.set()
        await until(lambda: worker.statistics().done == count)


@on_both
async def test_a_run_ends_at_the_ends_that_stood_at_its_start(bench: Bench) -> None:
    """until_caught_up: a function that sends two events to its own stream for each one that it is handed would never end;
    the run ends when all that stood there at the start is done, and has committed at least that."""
    stream = await bench.stream(partitions=3)
    await bench.send(stream, ((b"k%d" % number, b"x") for number in range(60)))
    done = 0
    producer = await bench.broker.producer()

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        nonlocal done
        from dispatcher.core.record import Outgoing

        for _ in range(2):
            await producer.send(Outgoing(topic=stream, key=b"more", value=b"y"))
        done += value == b"x"

    statistics = await bench.catch_up(handle)
    await producer.close()
    assert done == 60
    assert statistics.done >= 60
    assert statistics.state == "stopped"


async def test_a_run_waits_for_parked_events(bench: Bench) -> None:
    """until_caught_up waits for later attempts: all is settled at its end."""
    stream = await bench.stream()
    await bench.send(stream, ((b"k%d" % number, b"%d" % number) for number in range(20)))
    failures = 0

    @on_stream(stream, retry=Retry(max_attempts=3, initial=0.1, jitter="none"))
    async def handle(event: Event[bytes]) -> None:
        nonlocal failures
        if event.value in (b"3", b"19") and failures < 4:
            failures += 1
            raise ValueError("again")

    statistics = await bench.catch_up(handle)
    assert (statistics.done, statistics.retried, statistics.parked) == (20, 4, 0)
    assert await bench.committed(handle, stream) == (20, "")


async def test_a_run_over_nothing_ends_at_once(bench: Bench) -> None:
    """until_caught_up over an empty stream ends, has joined, and has committed where it begins."""
    stream = await bench.stream(partitions=2)

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        raise AssertionError

    began = time.monotonic()
    statistics = await bench.catch_up(handle)
    assert time.monotonic() - began < 5
    assert statistics.consumed == 0


async def test_a_run_of_filtered_events_ends(bench: Bench) -> None:
    """until_caught_up: events that the filter leaves out are done at once, counted and committed."""
    stream = await bench.stream()
    await bench.send(stream, ((b"k", b'{"n": 1}') for _ in range(500)))

    @on_stream(stream, where="value.n > 1")
    async def handle(value: dict) -> None:
        raise AssertionError

    statistics = await bench.catch_up(handle)
    assert (statistics.filtered, statistics.consumed, statistics.invocations) == (500, 500, 0)
    assert await bench.committed(handle, stream) == (500, "")


async def test_two_runs_share_the_work_and_both_end(bench: Bench) -> None:
    """until_caught_up beside another member of the group: both end when all is done, whoever did it."""
    stream = await bench.stream(partitions=4)
    await bench.send(stream, ((b"k%d" % number, b"x") for number in range(1_000)))

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        await asyncio.sleep(0.001)

    first, second = await asyncio.gather(bench.catch_up(handle), bench.catch_up(handle))
    assert first.done + second.done == 1_000


async def test_a_run_beside_a_member_that_stays(bench: Bench) -> None:
    """until_caught_up ends too when another member holds the partitions, by what that one has committed."""
    stream = await bench.stream()
    gate = asyncio.Event()
    await bench.send(stream, [(b"k", b"x")])

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        await gate.wait()

    async with bench.running(handle, drain=0.1) as stays:
        run = asyncio.create_task(bench.catch_up(handle, drain=0.1))
        await until(lambda: stays.statistics().in_flight or run.done())
        gate.set()
        await run
    assert await bench.committed(handle, stream) == (1, "")


async def test_where_chooses_and_its_errors_are_dead_letters(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Events that where= does not choose are counted and committed; one on which it has no answer is a dead letter that
    says why, without an attempt; events of its key go on."""
    caplog.set_level("DEBUG")
    stream = await bench.stream()
    values = [b'{"total": 5}', b'{"total": 500}', b'{"secret": 1}', b"\xff secret", b'{"total": "secret"}', None]
    await bench.send(stream, ((b"k", value) for value in [*values, b'{"total": 501}']))
    seen = []

    @on_stream(stream, where="value.total > 100.0")
    async def handle(value: dict) -> None:
        seen.append(value)

    statistics = await bench.catch_up(handle)

    assert seen == [{"total": 500}, {"total": 501}]
    assert (statistics.filtered, statistics.done, statistics.dead_lettered) == (1, 2, 4)
    assert await bench.committed(handle, stream) == (7, "")
    letters = await bench.read(f"{stream}.handle.dead")
    assert [
        letter.value
        for letter in sorted(letters, key=lambda letter: int(header(letter, "dispatch-dead-offset") or b""))
    ] == values[2:]
    for letter in letters:
        assert reason(letter) == "rejected"
        assert b"FilterEvaluationError" in (header(letter, "dispatch-dead-error-type") or b"")
        assert header(letter, "dispatch-dead-attempts") == b"0"
    assert "secret" not in caplog.text


async def test_where_sees_key_headers_and_stream(bench: Bench) -> None:
    """A filter may ask for more than the value, also for a batch function, which sees only what was chosen."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"{}"), (b"b", b"{}"), (b"a", b"{}")], headers=(("kind", b"order"),))
    sizes = []

    @on_stream(
        stream,
        where=f"key == 'a' && headers['kind'] == 'order' && stream == '{stream}'",
        batch=Batch(max_events=10, max_wait=0.05),
    )
    async def handle(batch: list[dict]) -> None:
        sizes.append(len(batch))

    statistics = await bench.catch_up(handle)
    assert sizes == [2]
    assert (statistics.done, statistics.filtered) == (2, 1)


async def test_rate_is_a_limit_on_starts(bench: Bench) -> None:
    """rate=20 lets a burst of 20 start, then 20 a second."""
    stream = await bench.stream()
    await bench.send(stream, ((b"k%d" % number, b"x") for number in range(30)))

    @on_stream(stream, rate=20.0)
    async def handle(value: bytes) -> None:
        pass

    began = time.monotonic()
    await bench.catch_up(handle)
    assert time.monotonic() - began >= 0.5
