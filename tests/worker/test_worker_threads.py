"""The event loop, threads, and what a function leaves in them."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import time

import pytest
from bench import Bench, binding_of, until

from bindings import Batch, Context, Retry, on_stream
from dispatcher.clock import Clock
from dispatcher.config import Settings
from dispatcher.telemetry.watchdog import LoopWatchdog
from dispatcher.worker import Worker


async def test_sync_functions_run_off_the_loop_and_bounded(bench: Bench) -> None:
    """A sync function runs in threads of its own, as many as concurrency= says, and the loop turns meanwhile."""
    stream = await bench.stream()
    await bench.send(stream, ((b"k%d" % number, b"x") for number in range(40)))
    lock, release = threading.Lock(), threading.Event()
    threads: set[int] = set()
    running = most = 0

    @on_stream(stream, concurrency=4)
    def handle(value: bytes) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            threads.add(threading.get_ident())
        release.wait(30)
        with lock:
            running -= 1

    async with bench.running(handle) as worker:
        await until(lambda: running == 4, "four to run")
        # until() polls on the loop, which is free although all threads are taken.
        assert worker.statistics().in_flight == 4
        release.set()
        await until(lambda: worker.statistics().done == 40)
    assert most == 4
    assert threading.get_ident() not in threads


@pytest.mark.blocks_the_loop
async def test_an_async_function_that_blocks_is_named_and_consumption_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that blocks the event loop is named in the log while it does, with the line; afterwards this function and
    the others go on."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"block"), (b"a", b"next"), (b"b", b"other")])
    seen = []

    def said() -> bool:
        return "blocker has blocked the event loop" in caplog.text

    @on_stream(stream)
    async def blocker(value: bytes) -> None:
        give_up = time.monotonic() + 10
        while value == b"block" and not said() and time.monotonic() < give_up:
            time.sleep(0.01)
        seen.append(value)

    with LoopWatchdog([binding_of(blocker)], limit=0.1):
        async with bench.running(blocker) as worker:
            await until(lambda: worker.statistics().done == 3)
            await bench.send(stream, [(b"c", b"later")])
            await until(lambda: b"later" in seen)
    assert said()
    assert "test_worker_threads.py" in caplog.text


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("shape", ["value", "context", "batch", "sync"])
async def test_context_variables_are_not_seen_by_later_events(bench: Bench, shape: str, fails: bool) -> None:
    """What a function sets in a context variable is gone at the next event, whether it returned or failed."""
    stream = await bench.stream()
    await bench.send(stream, ((b"k", b"%d" % number) for number in range(20)))
    variable: contextvars.ContextVar[bytes] = contextvars.ContextVar("variable")
    leaks, calls = [], 0

    def body(value: bytes) -> None:
        nonlocal calls
        calls += 1
        if (leak := variable.get(None)) is not None:
            leaks.append(leak)
        variable.set(value)
        if fails:
            raise ValueError("no")

    async def take_value(value: bytes) -> None:
        body(value)

    async def take_context(value: bytes, context: Context) -> None:
        body(value)

    async def take_batch(values: list[bytes]) -> None:
        body(values[0])

    def take_sync(value: bytes) -> None:
        body(value)

    function = {"value": take_value, "context": take_context, "batch": take_batch, "sync": take_sync}[shape]
    options = {"batch": Batch(max_events=1)} if shape == "batch" else {}
    decorated = on_stream(stream, name="setter", concurrency=2, retry=Retry(max_attempts=1), **options)(function)
    statistics = await bench.catch_up(decorated)

    assert calls == 20
    assert statistics.done + statistics.dead_lettered == 20
    assert leaks == []


async def test_what_the_caller_has_set_is_seen_by_a_function(bench: Bench) -> None:
    """A context variable that was set where the worker was made reaches the function, in a thread too."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"x")])
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    variable.set("set by the caller")
    seen = []

    @on_stream(stream)
    async def on_loop(value: bytes) -> None:
        seen.append(variable.get())

    @on_stream(stream)
    def in_thread(value: bytes) -> None:
        seen.append(variable.get())

    await bench.catch_up(on_loop)
    await bench.catch_up(in_thread)
    assert seen == ["set by the caller"] * 2


async def test_a_function_that_never_suspends_leaves_the_loop_its_turns(bench: Bench) -> None:
    """Thousands of events without one await do not hold the loop: heartbeats, commits and other functions come between.

    By a clock on which each event takes 1 ms, no more than a handful are handled in one turn of the loop.
    """
    stream = await bench.stream()
    await bench.send(stream, ((b"k", b"x") for _ in range(2_000)))
    turns = handled = longest = 0
    loop = asyncio.get_running_loop()
    began, calls = loop.time(), itertools.count()

    @on_stream(stream)
    async def handle(value: bytes) -> None:
        nonlocal handled, longest
        handled += 1
        longest = max(longest, handled)

    async def other() -> None:
        nonlocal turns, handled
        while True:
            turns, handled = turns + 1, 0
            await asyncio.sleep(0)

    settings = Settings(app=bench.app)
    clock = Clock(monotonic=lambda: began + next(calls) / 1_000)
    worker = Worker(
        binding_of(handle), bench.broker, app=bench.app, settings=settings, until_caught_up=True, clock=clock
    )
    beside = asyncio.create_task(other())
    await worker.run()
    beside.cancel()
    assert worker.statistics().done == 2_000
    assert 0 < longest <= 20
    assert turns >= 100
