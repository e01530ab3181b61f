"""Tests that are async themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bindings import Retry, on_stream
from dispatcher.testing import VirtualLoop, dispatching


@on_stream("orders", retry=Retry(initial=10, jitter="none"))
async def handle(order: dict) -> None:
    """Fail for broken orders."""
    if order.get("broken"):
        raise ConnectionError


class TestOnVirtualTime:
    """The loop of the test is virtual."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, Any]]:
        return "asyncio", {"loop_factory": VirtualLoop}

    async def test_functions_run_on_the_loop_of_the_test(self) -> None:
        """The test shares events and time with its functions: they run while it awaits."""
        arrived, release = asyncio.Event(), asyncio.Event()

        @on_stream("orders")
        async def wait(order: dict) -> None:
            arrived.set()
            await release.wait()

        async with dispatching(wait) as test:
            event = test.send("orders", {})
            running = asyncio.create_task(test.run())
            await arrived.wait()
            await asyncio.sleep(3)
            release.set()
            await running
            assert [(call.started, call.ended) for call in test.attempts(event)] == [(0, 3)]

    async def test_all_that_lets_time_pass_is_awaited(self) -> None:
        """run, advance, leave and crash do in an async test what they do in another."""
        async with dispatching(handle) as test:
            event = test.send("orders", {"broken": True})
            await test.advance(12)
            await test.crash()
            await test.run(until=lambda: len(test.attempts(event)) == 3)
            test.join()
            await test.leave()
            await test.run()
            assert test.dead_letters[0].event == event


async def test_real_time_is_refused() -> None:
    """On an ordinary loop minutes would take minutes: the error says how to have virtual time."""
    with pytest.raises(RuntimeError, match="whose time is real: have it run on a VirtualLoop"):
        async with dispatching(handle):
            pass


async def test_a_plain_with_is_refused_where_a_loop_runs() -> None:
    """Two loops can't run in one thread: the error says what to write."""
    with pytest.raises(RuntimeError, match="make the test a plain def"), dispatching(handle):
        pass


def test_a_plain_with_is_for_plain_tests() -> None:
    """A sync test needs no plugin and no loop."""
    with dispatching(handle) as test:
        event = test.send("orders", {})
        test.run()
        assert test.done == [event]
