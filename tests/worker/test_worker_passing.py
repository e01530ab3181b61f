"""Events that run in one piece: what each of them may do, and that nothing tells them from events taken one by one."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bench import Bench, header, reason, until
from pydantic import BaseModel

from bindings import Batch, BatchFailures, Reject, Retry, on_stream
from dispatcher.core.record import Committed
from dispatcher.worker.passing import until_it_waits

#: What an event's function does, by the last digit of its number: most end without having waited.
WHAT = {3: "waits", 5: "fails once", 7: "is refused", 8: "is no order", 9: "sets a variable"}
SEEN: contextvars.ContextVar[int] = contextvars.ContextVar("SEEN")


class Order(BaseModel):
    id: int


def orders(count: int, keys: int) -> list[tuple[bytes, bytes]]:
    """Events with ascending ids, some of which are not what they should be."""
    return [
        (b"key-%d" % (n % keys), b"[]" if WHAT.get(n % 10) == "is no order" else b'{"id":%d}' % n) for n in range(count)
    ]


class Work:
    """Does to each event what its number says, and keeps what it saw."""

    def __init__(self, keys: int) -> None:
        self.keys = keys
        self.seen: dict[int, list[int]] = defaultdict(list)
        self.leaked: list[int] = []

    async def __call__(self, order: Order) -> None:
        self.seen[order.id % self.keys].append(order.id)
        if SEEN.get(None) is not None:
            self.leaked.append(order.id)
        match WHAT.get(order.id % 10):
            case "waits":
                await asyncio.sleep(0.001)
            case "fails once" if self.seen[order.id % self.keys].count(order.id) == 1:
                raise ConnectionError("not now")
            case "is refused":
                raise Reject("not this one")
            case "sets a variable":
                SEEN.set(order.id)


@pytest.mark.parametrize("keys", [1, 7, 1_000])
async def test_events_of_every_kind_in_one_fetch(bench: Bench, keys: int) -> None:
    """Proves order by key, one handling of each event and one outcome of each, when those that simply end, wait, fail,
    are refused, can't be decoded and leave a context variable stand side by side."""
    stream = await bench.stream()
    await bench.send(stream, orders(200, keys))
    work = Work(keys)

    @on_stream(stream, retry=Retry(max_attempts=2, initial=0.0), dead_letter=bench.name("dead"))
    async def handle(order: Order) -> None:
        await work(order)

    statistics = await bench.catch_up(handle)
    assert (statistics.done, statistics.dead_lettered, statistics.consumed) == (160, 40, 200)
    assert statistics.in_flight == statistics.waiting == statistics.parked == 0
    assert not work.leaked, "a variable that one event set was there for another"
    for seen in work.seen.values():
        assert seen == sorted(seen), "a key's events are out of order"
    counts = Counter(number for seen in work.seen.values() for number in seen)
    assert counts == {n: 1 + (n % 10 == 5) for n in range(200) if n % 10 != 8}
    assert Counter(map(reason, await bench.read(bench.name("dead")))) == {"rejected": 40}
    assert await bench.committed(handle, stream) == Committed(200, "")


async def test_batches_of_every_kind(bench: Bench) -> None:
    """Proves the same of batches: those that end, wait, name failed events, or hold one that can't be decoded."""
    stream = await bench.stream(partitions=3)
    await bench.send(stream, orders(400, 50))
    seen: Counter[int] = Counter()
    sizes = []

    @on_stream(
        stream,
        batch=Batch(max_events=10, max_wait=0.05),
        retry=Retry(max_attempts=2, initial=0.0),
        dead_letter=bench.name("dead"),
    )
    async def handle(batch: list[Order]) -> None:
        sizes.append(len(batch))
        seen.update(order.id for order in batch)
        if batch[0].id % 4 == 0:
            await asyncio.sleep(0.001)
        failed = [order for order in batch if order.id % 10 == 5 and seen[order.id] == 1]
        if failed:
            raise BatchFailures(dict.fromkeys(failed, ConnectionError("not now")))

    statistics = await bench.catch_up(handle)
    assert (statistics.done, statistics.dead_lettered) == (360, 40)
    assert max(sizes) <= 10
    # What stood behind a failed event in its key's lane runs again after it.
    assert set(seen) == {n for n in range(400) if n % 10 != 8}
    assert all(seen[n] >= 2 for n in range(5, 400, 10))


async def test_a_batch_of_events_from_many_partitions(bench: Bench) -> None:
    """Proves that what waits for its batch in one piece is counted over all partitions, and mixes with the rest."""
    stream = await bench.stream(partitions=4)
    sizes = []

    @on_stream(stream, batch=Batch(max_events=40, max_wait=60.0))
    async def handle(batch: list[Order]) -> None:
        sizes.append(len(batch))

    async with bench.running(handle) as worker:
        await bench.send(stream, [(b"key-%d" % n, b'{"id":%d}' % n) for n in range(39)])
        await until(lambda: worker.statistics().waiting == 39, "39 events to wait")
        assert not sizes, "a batch closed that was neither full nor due"
        await bench.send(stream, [(b"last", b'{"id":40}')])
        await until(lambda: worker.statistics().done == 40)
    assert sizes == [40]


async def test_a_batch_waits_as_long_as_it_may_and_no_longer(bench: Bench) -> None:
    """Proves that events left in one piece are handed over after max_wait, with nothing else coming."""
    stream = await bench.stream(partitions=2)
    loop = asyncio.get_running_loop()
    sent: float = 0.0
    waited = []

    @on_stream(stream, batch=Batch(max_events=100, max_wait=0.3))
    async def handle(batch: list[Order]) -> None:
        waited.append((len(batch), loop.time() - sent))

    async with bench.running(handle) as worker:
        sent = loop.time()
        await bench.send(stream, [(b"key-%d" % n, b'{"id":%d}' % n) for n in range(9)])
        await until(lambda: worker.statistics().done == 9)
    assert all(seconds >= 0.25 for _, seconds in waited)
    assert sum(count for count, _ in waited) == 9


@pytest.mark.parametrize("partitions", [1, 50])
async def test_the_loop_turns_while_nothing_waits(bench: Bench, partitions: int) -> None:
    """Proves that a thousand events that never wait leave the event loop its turns, whether they come in one piece or in
    many, and that commits go on meanwhile."""
    stream = await bench.stream(partitions=partitions)
    await bench.send(stream, [(b"%d" % n, b"x") for n in range(1_000)])
    turns = 0
    done = asyncio.Event()

    @on_stream(stream)
    async def handle(_: bytes) -> None:
        deadline = asyncio.get_running_loop().time() + 0.0005
        while asyncio.get_running_loop().time() < deadline:
            pass

    async def turn() -> None:
        nonlocal turns
        while not done.is_set():
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(turn())
    async with bench.running(handle) as worker:
        await until(lambda: worker.statistics().done > 300)
        commits = [await bench.committed(handle, stream, number) for number in range(partitions)]
        assert 0 < sum(commit.offset for commit in commits if commit is not None) <= worker.statistics().done
        await until(lambda: worker.statistics().done == 1_000)
    done.set()
    await task
    # 0.5 s of work in turns of 5 ms.
    assert turns > 50


async def test_a_partition_that_is_taken_away_between_two_turns(bench: Bench) -> None:
    """Proves that events nobody has admitted are delivered again, in order, to whoever comes next: none is lost or
    committed, and none of those that were done runs again."""
    stream = await bench.stream()
    await bench.send(stream, [(b"key", b'{"id":%d}' % n) for n in range(400)])
    seen: list[int] = []

    @on_stream(stream)
    async def handle(order: Order) -> None:
        seen.append(order.id)
        deadline = asyncio.get_running_loop().time() + 0.0005
        while asyncio.get_running_loop().time() < deadline:
            pass

    async with bench.running(handle):
        await until(lambda: len(seen) > 50)
    first = len(seen)
    assert 50 < first < 400, "it was to be stopped in the middle"
    assert await bench.committed(handle, stream) == Committed(first, "")
    await bench.catch_up(handle)
    assert seen == list(range(400))


async def test_a_paused_function_leaves_its_stretch(bench: Bench) -> None:
    """Proves that a pause stops events in one piece too, and that resume goes on where they stood."""
    stream = await bench.stream()
    seen: list[int] = []

    @on_stream(stream)
    async def handle(order: Order) -> None:
        seen.append(order.id)

    async with bench.running(handle) as worker:
        worker.pause()
        await bench.send(stream, [(b"key", b'{"id":%d}' % n) for n in range(20)])
        await until(lambda: worker.statistics().waiting == 20, "20 events to wait")
        assert worker.vitals().is_stalled is False
        worker.resume()
        await until(lambda: len(seen) == 20)
    assert seen == list(range(20))


@pytest.mark.parametrize("first", ["at once", "after a wait"])
async def test_what_a_function_says_means_the_same_in_each_way(bench: Bench, first: str) -> None:
    """Proves that an outcome is read alike for an event in one piece and for one that is taken by itself."""
    stream = await bench.stream()
    await bench.send(stream, [(b"%d" % n, b"%d" % n) for n in range(4)])

    @on_stream(stream, retry=Retry(max_attempts=3, initial=0.0), dead_letter=bench.name("dead"))
    async def handle(value: bytes) -> Any:
        if value == b"0" and first == "after a wait":
            await asyncio.sleep(0.001)
        match value:
            case b"1":
                raise BatchFailures({0: Reject("named")})
            case b"2":
                raise BatchFailures({})
            case b"3":
                return {"batchItemFailures": [{"itemIdentifier": f"{stream}/0/3"}]}
        return None

    statistics = await bench.catch_up(handle)
    assert (statistics.done, statistics.dead_lettered) == (1, 3)
    letters = {
        record.value: (reason(record), header(record, "dispatch-dead-attempts"))
        for record in await bench.read(bench.name("dead"))
    }
    assert letters == {b"1": ("rejected", b"1"), b"2": ("attempts", b"3"), b"3": ("attempts", b"3")}


# -- the suspension


async def plain() -> str:
    """Ends at once."""
    return "returned"


async def raising() -> str:
    """Fails at once."""
    raise LookupError("raised")


async def waiting(future: asyncio.Future[str]) -> str:
    """Waits, and after an error for something else."""
    try:
        return await future
    except ValueError:
        return await future_of("after an error")


def future_of(value: str) -> asyncio.Future[str]:
    """One that is done in the loop's next turn."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, value)
    return future


async def driven(work: Callable[[], Any], waits: list[str]) -> Any:
    """Await it with the note."""
    return await until_it_waits(work(), lambda: waits.append("waits"))


async def test_what_does_not_wait_is_not_noted() -> None:
    """Proves that a coroutine that returns or raises at once does just that."""
    waits: list[str] = []
    assert await driven(plain, waits) == "returned"
    with pytest.raises(LookupError, match="raised"):
        await driven(raising, waits)
    assert not waits


@pytest.mark.parametrize("end", ["result", "error", "cancel"])
async def test_what_waits_is_noted_once_and_goes_on(end: str) -> None:
    """Proves that a suspended coroutine gets results, errors and cancellations as if it were awaited itself."""
    waits: list[str] = []
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> Any:
        return await driven(lambda: waiting(future), waits)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    assert waits == ["waits"]
    outcome: Awaitable[str] = task
    if end == "result":
        future.set_result("came")
        assert await outcome == "came"
    elif end == "error":
        future.set_exception(ValueError("no"))
        assert await outcome == "after an error"
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outcome
        assert future.cancelled()
    assert waits == ["waits"]


async def test_what_is_thrown_away_is_closed() -> None:
    """Proves that closing the outer coroutine runs the inner one's finally."""
    closed = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            closed.append(True)

    async def outer() -> None:
        await until_it_waits(work(), lambda: None)

    coroutine = outer()
    coroutine.send(None)
    coroutine.close()
    assert closed == [True]
