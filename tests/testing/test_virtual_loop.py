"""The event loop on virtual time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import anyio.to_thread
import pytest

from dispatcher.testing import Unsettled, VirtualLoop, dispatching


def run(work: Coroutine[Any, Any, Any], **options: float) -> Any:
    """Run that on a virtual loop of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(**options)) as runner:
        return runner.run(work)


def test_a_year_of_sleep_takes_no_time() -> None:
    """Sleeping jumps the clock by exactly as long as was asked for, past the 24 hours that one poll may take too."""

    async def sleep() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(0.5)
        await asyncio.sleep(365 * 86_400)
        return loop.time() - began

    began = time.perf_counter()
    assert run(sleep()) == pytest.approx(365 * 86_400 + 0.5, abs=1e-6)
    assert time.perf_counter() - began < 5


def test_timers_fire_in_the_order_of_their_times_and_never_early() -> None:
    """What is due first runs first, whoever was set first, and the clock then shows at least the time that it was set to."""

    async def race() -> list[float]:
        loop = asyncio.get_running_loop()
        seen: list[float] = []

        async def wait(seconds: float) -> None:
            due = loop.time() + seconds
            await asyncio.sleep(seconds)
            assert loop.time() >= due
            seen.append(seconds)

        await asyncio.gather(*(wait(seconds) for seconds in (3, 0.1, 2, 1 / 3, 0.3)))
        return seen

    assert run(race()) == [0.1, 0.3, 1 / 3, 2, 3]


@pytest.mark.parametrize("to_thread", [asyncio.to_thread, anyio.to_thread.run_sync], ids=["asyncio", "anyio"])
def test_the_clock_stands_while_a_thread_of_a_function_works(to_thread: Any) -> None:
    """A call in a thread takes no virtual time, however long it takes, so that no time-out of a function cuts it off."""
    from bindings import on_stream

    @on_stream("orders", timeout=0.01)
    async def store(order: bytes) -> None:
        await to_thread(time.sleep, 0.1)

    with dispatching(store) as test:
        event = test.send("orders", b"1")
        test.run()
        assert [call.error for call in test.attempts(event)] == [None]
        assert test.elapsed == 0


def test_an_answer_from_a_socket_comes_before_the_clock_jumps() -> None:
    """A server in the same test answers within no virtual time: sockets are looked at before each jump."""

    async def ask() -> tuple[bytes, float]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        loop = asyncio.get_running_loop()
        began = loop.time()
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            async with asyncio.timeout(0.001):
                line = await reader.readline()
            took = loop.time() - began
            writer.close()
            await writer.wait_closed()
        return line, took

    assert run(ask(), io_wait=2.0) == (b"hello\n", 0)


def test_tasks_that_wait_for_each_other_are_told() -> None:
    """With no timer and nothing ready, the loop says so instead of hanging for ever."""

    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Unsettled, match="all tasks wait for each other"):
        run(wait(), patience=0.05)


def test_tasks_that_keep_each_other_busy_are_told() -> None:
    """A loop that spins without time passing ends in an error."""

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Unsettled, match="keep each other busy"):
        run(spin(), patience=0.05)


def test_a_call_from_another_thread_wakes_a_loop_that_has_nothing_to_do() -> None:
    """The loop waits in real time for what no timer tells of, so that other threads can reach it."""

    async def wait() -> str:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()
        thread = threading.Timer(0.05, lambda: loop.call_soon_threadsafe(answer.set_result, "called"))
        thread.start()
        result = await answer
        thread.join()
        return result

    assert run(wait()) == "called"
