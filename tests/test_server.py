"""The server: workers side by side, and signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest

from dispatcher.errors import BrokerUnavailable
from dispatcher.server import Server
from dispatcher.telemetry.metrics import Statistics
from dispatcher.telemetry.summary import Summary


def statistics(function: str, **counts: int) -> Statistics:
    """Statistics that are zero but for the counts."""
    zeros = dict.fromkeys(Statistics._fields, 0)
    return Statistics(**(zeros | {"function": function, "group": f"app.{function}", "state": "stopped"} | counts))


class Job:
    """A runnable of the test's own: it does what it is given, and knows whether it was asked to stop."""

    def __init__(self, name: str, work: Callable[[Job], Awaitable[None]]) -> None:
        self.name = name
        self.stopping = asyncio.Event()
        self.ended = False
        self._work = work

    async def run(self) -> None:
        await self._work(self)
        self.ended = True

    def stop(self) -> None:
        self.stopping.set()

    def statistics(self) -> Statistics:
        return statistics(self.name, done=int(self.ended))


async def until_stopped(job: Job) -> None:
    """Drain when asked to."""
    await job.stopping.wait()


async def at_once(job: Job) -> None:
    """End by itself."""
    await asyncio.sleep(0)


async def for_ever(job: Job) -> None:
    """Never end, whatever is asked."""
    await asyncio.Event().wait()


async def running(server: Server) -> asyncio.Task[Summary]:
    """The server as a task that has captured the signals."""
    before = signal.getsignal(signal.SIGTERM)
    task = asyncio.create_task(server.run())
    while signal.getsignal(signal.SIGTERM) is before:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_a_worker_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """The outage of one function is logged in one line, the other goes on to its end, and the run has failed."""

    async def fails(job: Job) -> None:
        raise BrokerUnavailable("no answer from broker:9092")

    async def outlasts(job: Job) -> None:
        while "no answer" not in caplog.text:
            await asyncio.sleep(0)

    broken, sound = Job("broken", fails), Job("sound", outlasts)
    summary = await Server([broken, sound]).run()
    assert sound.ended
    assert isinstance(summary.failures["broken"], BrokerUnavailable)
    assert summary.exit_code(until_caught_up=False) == 1
    assert "no answer from broker:9092" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_bug_is_a_traceback_and_stops_its_own_function_alone(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw is shown whole, and still does not take the others along."""

    async def buggy(job: Job) -> None:
        raise ZeroDivisionError

    bug, sound = Job("bug", buggy), Job("sound", at_once)
    summary = await Server([bug, sound]).run()
    assert sound.ended
    assert summary.exit_code(until_caught_up=False) == 1
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_the_first_signal_drains_and_handlers_are_given_back(number: signal.Signals, code: int) -> None:
    """Each worker is asked to stop and ends by itself; afterwards the signals mean what they meant before."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    jobs = [Job("one", until_stopped), Job("two", until_stopped)]
    task = await running(Server(jobs))
    os.kill(os.getpid(), number)
    summary = await task
    assert all(job.ended for job in jobs)
    assert (summary.exit_code(until_caught_up=True), summary.forced) == (code, False)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


async def test_the_second_signal_cancels_what_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that never finishes its drain is cut short, and the summary says so."""
    caplog.set_level(logging.INFO)
    job = Job("stuck", for_ever)
    task = await running(Server([job]))
    os.kill(os.getpid(), signal.SIGINT)
    while "finishing" not in caplog.text:
        await asyncio.sleep(0)
    assert not task.done()
    os.kill(os.getpid(), signal.SIGINT)
    summary = await task
    assert (summary.exit_code(until_caught_up=False), summary.forced, job.ended) == (130, True, False)


async def test_a_worker_that_ignores_its_cancellation_gets_the_grace_and_no_more() -> None:
    """Closing may take a moment, but can't hold the process."""
    let_go = asyncio.Event()

    async def stubborn(job: Job) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    job = Job("stubborn", stubborn)
    task = await running(Server([job], grace=0.05))
    os.kill(os.getpid(), signal.SIGINT)
    await job.stopping.wait()
    os.kill(os.getpid(), signal.SIGINT)
    began = time.monotonic()
    summary = await task
    assert summary.forced
    assert time.monotonic() - began < 2.0
    let_go.set()
    await asyncio.sleep(0)


async def test_stop_is_the_same_as_a_signal_without_one() -> None:
    """A program that embeds the server ends it without signals, and the run has succeeded."""
    job = Job("one", until_stopped)
    server = Server([job])
    task = await running(server)
    server.stop()
    server.stop()
    summary = await task
    assert (job.ended, summary.exit_code(until_caught_up=False)) == (True, 0)


@pytest.mark.parametrize(
    ("summary", "until_caught_up", "code"),
    [
        (Summary(functions=(statistics("f"),), seconds={}), True, 0),
        (Summary(functions=(statistics("f", dead_lettered=1),), seconds={}), True, 1),
        (Summary(functions=(statistics("f", dead_lettered=1),), seconds={}), False, 0),
        (Summary(functions=(), seconds={}, failures={"f": OSError()}), False, 1),
        (Summary(functions=(), seconds={}, failures={"f": OSError()}, signal=2), True, 130),
    ],
)
def test_the_exit_code_says_what_happened(summary: Summary, until_caught_up: bool, code: int) -> None:
    """0, 1 for a failure or for dead letters of a run to the end, 128 and the signal."""
    assert summary.exit_code(until_caught_up=until_caught_up) == code
