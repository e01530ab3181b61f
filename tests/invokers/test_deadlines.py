"""Deadlines of many requests: they mean what asyncio.timeout() means."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.invokers.http.deadlines import Deadlines


async def _wait(deadlines: Deadlines, seconds: float, ended: list[float]) -> None:
    try:
        with deadlines.within(seconds):
            await asyncio.sleep(30)
    except TimeoutError:
        ended.append(seconds)


async def test_each_ends_at_its_own_time() -> None:
    """A shorter deadline that begins later ends first, and the longer ones are ended after it."""
    deadlines, ended = Deadlines(), []
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(_wait(deadlines, seconds, ended) for seconds in (0.12, 0.04, 0.08, 0.0)))
    assert ended == [0.0, 0.04, 0.08, 0.12]
    assert 0.12 <= asyncio.get_running_loop().time() - began < 10
    deadlines.close()


async def test_what_ends_in_time_goes_on_unharmed() -> None:
    """The timer of a block that has ended cancels nothing, and one that begins meanwhile is ended all the same."""
    deadlines, ended = Deadlines(), []
    with deadlines.within(0.05):
        pass
    # Past the first one's time, within its own.
    with deadlines.within(30):
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(_wait(deadlines, 0.05, ended))
        await waiting
    assert ended == [0.05]
    deadlines.close()


async def test_a_cancellation_by_others_goes_through() -> None:
    """It is no timeout: neither alone, nor when the deadline is over at the same moment."""
    for seconds in (30.0, 0.0):
        deadlines = Deadlines()
        task = asyncio.create_task(_wait(deadlines, seconds, []))
        await asyncio.sleep(0)
        # In the same turn of the loop as the timer, and so before the task runs again.
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        deadlines.close()


async def test_an_error_of_the_block_stays_what_it_is() -> None:
    """What is raised in time, or instead of the cancellation, is not made a timeout."""
    deadlines = Deadlines()
    with pytest.raises(ValueError, match="in time"), deadlines.within(30):
        raise ValueError("in time")
    with pytest.raises(ValueError, match="late"):
        await _failing_late(deadlines)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    deadlines.close()


async def _failing_late(deadlines: Deadlines) -> None:
    with deadlines.within(0.01):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise ValueError("late") from None


async def test_closed_it_ends_nothing_any_more() -> None:
    """The timer goes with it: what is still open runs to its end."""
    deadlines = Deadlines()
    with deadlines.within(0.02):
        deadlines.close()
        await asyncio.sleep(0.06)
