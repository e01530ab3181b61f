"""Time-outs, cancellation, and everything that a function may raise."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from bench import Bench, header, until

from bindings import Context, Event, Retry, on_stream

TIMEOUT = 0.1
TWICE = Retry(max_attempts=2, initial=0.0)


async def test_an_async_function_past_its_timeout_is_cancelled(bench: Bench) -> None:
    """It gets a CancelledError, that is a failed attempt, its key goes on after its last one; others never waited."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"slow"), (b"a", b"next"), (b"b", b"other")])
    seen, cancelled = [], 0

    @on_stream(stream, timeout=TIMEOUT, retry=TWICE)
    async def handle(value: bytes) -> None:
        nonlocal cancelled
        if value == b"slow":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise
        seen.append(value)

    statistics = await bench.catch_up(handle)

    assert cancelled == 2
    assert seen == [b"other", b"next"]
    assert (statistics.retried, statistics.dead_lettered, statistics.done) == (1, 1, 2)
    (letter,) = await bench.read(f"{stream}.handle.dead")
    assert header(letter, "dispatch-dead-error-type") == b"TimeoutError"
    assert header(letter, "dispatch-dead-error-message") == b"took longer than 0.1 s"


@pytest.mark.parametrize("how", ["returns", "raises"])
async def test_a_function_that_swallows_its_cancellation_has_no_second_one(bench: Bench, how: str) -> None:
    """What it does with the cancellation is its own affair: when it returns, it is done; when it raises, it has failed; and
    in both cases the runner goes on unharmed."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"slow"), (b"a", b"next")])
    seen = []

    @on_stream(stream, timeout=TIMEOUT, retry=TWICE, concurrency=1)
    async def handle(value: bytes) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        if value == b"slow":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if how == "raises":
                    raise ValueError("no") from None
        await asyncio.sleep(0)
        seen.append(value)

    statistics = await bench.catch_up(handle)

    assert statistics.dead_lettered == (1 if how == "raises" else 0)
    assert statistics.done == 2 - statistics.dead_lettered
    assert seen[-1] == b"next"


@pytest.mark.parametrize("with_context", [False, True])
async def test_cancel_scopes_inside_a_function_work(bench: Bench, with_context: bool) -> None:
    """asyncio.timeout(), TaskGroup, cancelled children, current_task().cancel() in vain and shield() behave inside a
    function as in any task, and none of them ever ends the worker."""
    stream = await bench.stream()
    kinds = [b"timeout", b"group", b"child", b"self", b"shield", b"wait_for", b"task", b"gather"]
    await bench.send(stream, ((b"k", kind) for kind in kinds * 3))
    passed = []

    async def body(kind: bytes) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        if kind == b"timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
        elif kind == b"group":
            with pytest.raises(ExceptionGroup):  # noqa: PT012
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.Event().wait())
                    group.create_task(raising(LookupError()))
        elif kind == b"child":
            child = asyncio.create_task(asyncio.Event().wait())
            await asyncio.sleep(0)
            child.cancel()
            with pytest.raises(asyncio.CancelledError):
                await child
        elif kind == b"self":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(1)
            task.uncancel()
        elif kind == b"shield":
            assert await asyncio.shield(asyncio.sleep(0, "ok")) == "ok"
        elif kind == b"wait_for":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        elif kind == b"gather":
            results = await asyncio.gather(raising(ValueError()), asyncio.sleep(0, "ok"), return_exceptions=True)
            assert results[1] == "ok"
        else:
            assert await asyncio.create_task(asyncio.sleep(0, "ok")) == "ok"
        assert task is asyncio.current_task()
        passed.append(kind)

    async def plain(value: bytes) -> None:
        await body(value)

    async def wrapped(value: bytes, context: Context) -> None:
        await body(value)

    function = on_stream(stream, name="scopes", retry=Retry(max_attempts=1))(wrapped if with_context else plain)
    statistics = await bench.catch_up(function)

    assert [header(letter, "dispatch-dead-error-message") for letter in await bench.read(f"{stream}.scopes.dead")] == []
    assert (statistics.done, statistics.dead_lettered) == (len(kinds) * 3, 0)
    assert passed == kinds * 3


async def raising(error: BaseException) -> None:
    """Suspend, then raise."""
    await asyncio.sleep(0)
    raise error


class Odd(BaseException):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def endless(depth: int = 0) -> int:
    """Recurse until the interpreter says no."""
    return endless(depth + 1) + 1


RAISES: dict[str, BaseException] = {
    "CancelledError": asyncio.CancelledError(),
    "SystemExit": SystemExit(3),
    "GeneratorExit": GeneratorExit(),
    "StopIteration": StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration(),
    "Odd": Odd("strange"),
    "Mute": Mute(),
    "MemoryError": MemoryError(),
    "BaseExceptionGroup": BaseExceptionGroup("several", [Odd(), ValueError()]),
}


@pytest.mark.parametrize("name", [*RAISES, "RecursionError"])
@pytest.mark.parametrize("shape", ["direct", "context", "sync"])
async def test_whatever_a_function_raises_is_one_failed_attempt(bench: Bench, name: str, shape: str) -> None:
    """CancelledError of its own, SystemExit, other BaseExceptions, endless recursion, an error that has no text: each is
    a failed attempt, retried and then a dead letter, and the worker goes on."""
    stream = await bench.stream()
    await bench.send(stream, [(b"k", b"bad"), (b"k", b"good")])
    attempts = 0

    def body(value: bytes) -> None:
        nonlocal attempts
        if value == b"bad":
            attempts += 1
            if name == "RecursionError":
                endless()
            raise RAISES[name]

    async def direct(value: bytes) -> None:
        body(value)

    async def context(value: bytes, context: Context) -> None:
        body(value)

    def sync(value: bytes) -> None:
        body(value)

    chosen: Callable[..., object] = {"direct": direct, "context": context, "sync": sync}[shape]
    retry = Retry(max_attempts=2, initial=0.0, retry_on=(BaseException,))
    statistics = await bench.catch_up(on_stream(stream, name="fail", retry=retry)(chosen))

    assert attempts == 2
    assert (statistics.done, statistics.dead_lettered, statistics.retried) == (1, 1, 1)
    (letter,) = await bench.read(f"{stream}.fail.dead")
    error_type = (header(letter, "dispatch-dead-error-type") or b"").decode()
    assert name in error_type or name in {"CancelledError", "StopIteration", "StopAsyncIteration"}


@pytest.mark.parametrize("then", ["returns", "raises"])
@pytest.mark.parametrize("with_context", [False, True])
async def test_a_cancellation_that_a_function_leaves_behind_is_its_own(
    bench: Bench, then: str, with_context: bool
) -> None:
    """A function that cancels its own task and ends before that is delivered harms no event after it."""
    stream = await bench.stream()
    await bench.send(stream, ((b"k", value) for value in (b"bad", b"good", b"bad", b"good")))
    seen = []

    async def body(value: bytes) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        if value == b"bad":
            task.cancel()
            if then == "raises":
                raise ValueError("no")
            return
        await asyncio.sleep(0)
        seen.append(value)

    async def plain(value: bytes) -> None:
        await body(value)

    async def wrapped(value: bytes, context: Context) -> None:
        await body(value)

    retry = Retry(max_attempts=1)
    function = on_stream(stream, name="leave", retry=retry, concurrency=1)(wrapped if with_context else plain)
    statistics = await bench.catch_up(function)
    assert seen == [b"good", b"good"]
    assert statistics.dead_lettered == (2 if then == "raises" else 0)


async def test_a_sync_function_past_its_timeout_keeps_its_place_and_its_key(bench: Bench) -> None:
    """Python can't stop a thread: the attempt has failed, but its key's next one does not begin while the thread runs on,
    its place stays taken, and the other keys go on."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"slow"), *((b"b", b"other") for _ in range(5))])
    release = threading.Event()
    running = overlaps = 0
    attempts: list[int] = []
    others = 0

    @on_stream(stream, timeout=TIMEOUT, retry=TWICE, concurrency=2)
    def handle(event: Event[bytes], context: Context) -> None:
        nonlocal running, overlaps, others
        if event.key == b"b":
            others += 1
            return
        overlaps += running
        running += 1
        attempts.append(context.attempt)
        if context.attempt == 1:
            release.wait(30)
        running -= 1

    async with bench.running(handle) as worker:
        await until(lambda: worker.statistics().retried == 1 and others == 5, "the time-out, and the others to pass")
        await until(lambda: worker.statistics().done == 5)
        # Its next attempt is due at once, and others start and end: but it has to wait for the thread.
        await bench.send(stream, ((b"b", b"other") for _ in range(5)))
        await until(lambda: worker.statistics().done == 10)
        assert attempts == [1]
        assert worker.statistics().in_flight == 1
        release.set()
        await until(lambda: worker.statistics().done == 11, "the second attempt")
        assert worker.statistics().in_flight == 0
    assert attempts == [1, 2]
    assert overlaps == 0


async def test_a_worker_stops_though_a_thread_runs_on(bench: Bench) -> None:
    """A thread that never ends does not hold up the stop, and its event is delivered again by the next run."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"stuck"), (b"b", b"other")])
    release, seen = threading.Event(), []

    @on_stream(stream, timeout=TIMEOUT, retry=Retry(max_attempts=5, initial=0.0))
    def handle(value: bytes, context: Context) -> None:
        seen.append((value, context.attempt))
        if value == b"stuck":
            release.wait(30)

    try:
        async with bench.running(handle, drain=0.2) as worker:
            await until(lambda: worker.statistics().retried == 1 and worker.statistics().done == 1)
            began = time.monotonic()
        assert time.monotonic() - began < 5.0
    finally:
        release.set()
    statistics = await bench.catch_up(handle)
    assert statistics.done == 1
    assert seen[-1] == (b"stuck", 2)


async def test_context_knows_the_deadline(bench: Bench) -> None:
    """context.remaining() counts down from the function's timeout, so that it can give up in time."""
    stream = await bench.stream()
    await bench.send(stream, [(b"a", b"x")])
    left = []

    @on_stream(stream, timeout=30.0)
    async def handle(value: bytes, context: Context) -> None:
        left.append(context.remaining())

    await bench.catch_up(handle)
    assert 29.0 < left[0] <= 30.0
