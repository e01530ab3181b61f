"""Members that come and go while work is in flight."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import AsyncExitStack

import pytest
from bench import Bench, on_both, until

from bindings import Context, Event, Retry, on_stream
from dispatcher.worker import Worker


def is_revoking(worker: Worker) -> bool:
    """Whether the worker was asked to give partitions up."""
    return any(not partition.open for partition in worker._scheduler.partitions.values())


@on_both
async def test_a_second_member_gets_nothing_that_the_first_has_finished(bench: Bench) -> None:
    """While events are in flight, others finished and not committed, and one parked, a second member joins: what is in
    flight is drained, all that is finished is committed before the partitions go, and in the end each event was
    handled exactly once, and no attempt of the parked one was counted twice."""
    stream = await bench.stream(partitions=4)
    count = 800
    await bench.send(stream, ((b"k%d" % (number % 100), b"%d" % number) for number in range(count)))
    gate, heal = asyncio.Event(), asyncio.Event()
    handled: Counter[bytes] = Counter()
    attempts: list[int] = []
    blocked = 0

    @on_stream(stream, retry=Retry(max_attempts=10_000, initial=0.05, multiplier=1))
    async def handle(event: Event[bytes], context: Context) -> None:
        nonlocal blocked
        if event.value == b"0" and not heal.is_set():
            attempts.append(context.attempt)
            raise ValueError("not yet")
        if event.value in {b"7", b"8", b"9"} and not gate.is_set():
            blocked += 1
            await gate.wait()
        handled[event.value] += 1

    # No commit but at the revoke: all that is finished is uncommitted until then.
    async with bench.running(handle, commit_interval=300.0) as first:
        waiting = 4 * (count // 100)
        await until(lambda: blocked == 3 and first.statistics().done == count - waiting, "all others to be done")
        async with AsyncExitStack() as stack:
            joining = asyncio.create_task(
                stack.enter_async_context(bench.running(handle, commit_interval=300.0)), name="second"
            )
            await until(lambda: is_revoking(first), "the revoke")
            assert first.statistics().in_flight == 3
            gate.set()
            second = await joining
            await until(
                lambda: first.statistics().partitions == second.statistics().partitions == 2, "two partitions each"
            )
            await bench.send(stream, ((b"k%d" % (number % 100), b"%d" % (count + number)) for number in range(200)))
            await until(lambda: len(attempts) > 5)
            heal.set()
            await until(lambda: first.statistics().done + second.statistics().done == count + 200, "all to be done")
            assert first.statistics().late == second.statistics().late == 0
            assert first.statistics().done
            assert second.statistics().done
    assert handled == {b"%d" % number: 1 for number in range(count + 200)}
    assert attempts == list(range(1, len(attempts) + 1))
    # The leavers have committed all: a third finds nothing to do.
    assert (await bench.catch_up(handle)).consumed == 0


@pytest.mark.parametrize("emits", [False, True], ids=["done", "emits"])
async def test_what_comes_after_the_drain_budget_completes_nothing(bench: Bench, emits: bool) -> None:
    """An invocation that outlives the drain is let go: the successor is handed its event, and the late result neither
    moves the commit nor is produced; it is counted as late."""
    stream, output = await bench.stream(), bench.name("out")
    await bench.send(stream, [(b"k", b"x")])
    gates: dict[int, asyncio.Event] = defaultdict(asyncio.Event)
    calls = 0

    async def handle(value: bytes) -> str | None:
        nonlocal calls
        calls += 1
        mine = calls
        await gates[mine].wait()
        return f"call {mine}" if emits else None

    function = on_stream(stream, emits=output if emits else None)(handle)
    async with bench.running(function, drain=0.1) as first:
        await until(lambda: calls == 1)
        async with bench.running(function) as second:
            # One partition, two members: whoever has it, the event is handed over anew.
            await until(lambda: calls == 2, "the event to be delivered again")
            gates[1].set()
            await until(lambda: first.statistics().late == 1, "the late result")
            assert first.statistics().done == second.statistics().done == 0
            commit = await bench.committed(function, stream)
            assert commit is not None
            assert commit.offset == 0
            assert await bench.read(output) == []
            gates[2].set()
            await until(lambda: first.statistics().done + second.statistics().done == 1)
    commit = await bench.committed(function, stream)
    assert commit is not None
    assert commit.offset == 1
    assert [record.value for record in await bench.read(output)] == ([b"call 2"] if emits else [])


async def test_what_outlives_the_drain_gives_its_place_back(bench: Bench) -> None:
    """What outlives the drain is cancelled, for it can complete nothing any more: a function of which it held every place
    goes on with what it has after the rebalance."""
    stream = await bench.stream(partitions=2)
    for partition in (0, 1):
        await bench.send(stream, [(None, b"x")], partition=partition)
    calls = Counter[int]()

    @on_stream(stream, concurrency=2)
    async def handle(event: Event[bytes]) -> None:
        calls[event.partition] += 1
        if calls[event.partition] == 1:
            await asyncio.Event().wait()

    async with bench.running(handle, drain=0.1) as first:
        await until(lambda: first.statistics().in_flight == 2, "both places to be held")
        async with bench.running(handle) as second:
            await until(lambda: second.statistics().done == 1, "the second to handle its share")
            await until(lambda: first.statistics().done == 1, "the first to handle its own")
            assert first.statistics().late == 2
            assert calls == {0: 2, 1: 2}


async def test_members_come_and_go_while_events_flow(bench: Bench) -> None:
    """Workers join and leave again and again while events are sent and handled: without a fault each event is handled
    exactly once, and the events of a key in their order."""
    stream = await bench.stream(partitions=6)
    handled: list[tuple[bytes | None, int]] = []

    @on_stream(stream)
    async def handle(event: Event[bytes]) -> None:
        await asyncio.sleep(0.0005 * (event.offset % 3))
        handled.append((event.key, int(event.value)))

    sent = 0

    async def send(count: int) -> None:
        nonlocal sent
        await bench.send(stream, ((b"k%d" % (number % 50), b"%d" % number) for number in range(sent, sent + count)))
        sent += count

    async with bench.running(handle):
        for _ in range(3):
            await send(300)
            async with bench.running(handle) as second:
                await send(300)
                await until(lambda second=second: second.statistics().done > 20, "the second to have a share")
                await send(300)
        await until(lambda: len(handled) >= sent)
    assert len(handled) == sent
    assert Counter(handled) == Counter({(b"k%d" % (number % 50), number): 1 for number in range(sent)})
    for key in {key for key, _ in handled}:
        numbers = [number for each, number in handled if each == key]
        assert numbers == sorted(numbers)


async def test_a_stop_drains_and_commits(bench: Bench) -> None:
    """stop(): nothing more starts, what runs is finished and committed, and the next run begins exactly behind it."""
    stream = await bench.stream()
    await bench.send(stream, ((b"k%d" % number, b"%d" % number) for number in range(50)))
    gate = asyncio.Event()
    calls: Counter[bytes] = Counter()
    finished = 0

    @on_stream(stream, concurrency=5)
    async def handle(value: bytes) -> None:
        nonlocal finished
        calls[value] += 1
        await gate.wait()
        finished += 1

    worker = bench.worker(handle, commit_interval=300.0)
    task = asyncio.create_task(worker.run())
    await until(lambda: len(calls) == 5)
    worker.stop()
    worker.stop()
    await until(lambda: is_revoking(worker), "the drain")
    gate.set()
    await task
    assert finished == len(calls) == 5
    assert worker.statistics().state == "stopped"
    await bench.catch_up(handle)
    assert calls == {b"%d" % number: 1 for number in range(50)}


async def test_a_cancelled_worker_leaves_nothing_behind(bench: Bench) -> None:
    """A second signal cancels run(): no task is left, and what was in flight is delivered again by the next run."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"x")])
    gate = asyncio.Event()
    calls = 0

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        nonlocal calls
        calls += 1
        await gate.wait()

    await bench.read(stream)  # what the broker itself keeps running runs now
    tasks = asyncio.all_tasks()
    worker = bench.worker(handle)
    task = asyncio.create_task(worker.run())
    await until(lambda: calls == 1)
    worker.stop()
    await until(lambda: is_revoking(worker), "the drain")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: asyncio.all_tasks() <= tasks | {task}, "its tasks to end", patience=6.0)
    gate.set()
    assert (await bench.catch_up(handle)).done == 1
    assert calls == 2
