"""The server: runs the workers of one process, and turns signals into a drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Final, Protocol

from dispatcher.errors import DispatchError
from dispatcher.telemetry.metrics import Statistics
from dispatcher.telemetry.summary import Summary

__all__ = ["Runnable", "Server", "tune_garbage_collector"]

log = logging.getLogger("dispatcher.server")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def tune_garbage_collector() -> None:
    """Have this process look for cyclic garbage less often. To be called once, when everything is imported.

    Each event makes a handful of objects that die with it, none in a cycle; at Python's default of 700 the collector
    looks through thousands of them in flight again and again. Measured with the bench ``local.one``, three runs of
    200,000 events: 3.0 to 5.0 us of CPU an event before, 2.8 after. What was imported never becomes garbage, and is
    left out of the full collections.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


class Runnable(Protocol):
    """A worker, as the server sees it."""

    @property
    def name(self) -> str:
        """The function's name."""

    async def run(self) -> None:
        """Work until stopped or done; raises ``DispatchError`` when it can't go on."""

    def stop(self) -> None:
        """Ask for the drain. Idempotent."""

    def statistics(self) -> Statistics:
        """The counts at this moment."""


class Server:
    """Runs workers side by side; one that fails is logged, and the others go on.

    The first SIGINT or SIGTERM asks each worker to drain, the second cancels them. A third ends the process where it
    is: a function that blocks the event loop lets nothing else do so.

    Args:
        workers: one a function.
        grace: seconds that cancelled workers get to close what they hold.
    """

    def __init__(self, workers: Sequence[Runnable], *, grace: float = 2.0) -> None:
        self._workers = workers
        self._grace = grace
        self._tasks: list[asyncio.Task[None]] = []
        self._failures: dict[str, BaseException] = {}
        self._seconds: dict[str, float] = {}
        self._signal: int | None = None
        self._forced: asyncio.Event = asyncio.Event()

    async def run(self) -> Summary:
        """Run until every worker has ended, and say what came of it."""
        with self._signals_captured(asyncio.get_running_loop()):
            self._tasks = [asyncio.create_task(self._run_one(w), name=w.name) for w in self._workers]
            try:
                await self._all_ended_or_forced()
            finally:
                for task in self._tasks:
                    task.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=self._grace)
        return Summary(
            functions=tuple(worker.statistics() for worker in self._workers),
            seconds=self._seconds,
            failures=self._failures,
            signal=self._signal,
            forced=self._forced.is_set(),
        )

    def stop(self) -> None:
        """Ask every worker to drain. Idempotent."""
        for worker in self._workers:
            worker.stop()

    async def _all_ended_or_forced(self) -> None:
        forced = asyncio.create_task(self._forced.wait())
        running = set(self._tasks)
        try:
            while running and not self._forced.is_set():
                done, _ = await asyncio.wait({*running, forced}, return_when=asyncio.FIRST_COMPLETED)
                running -= done
        finally:
            forced.cancel()

    async def _run_one(self, worker: Runnable) -> None:
        began = time.monotonic()
        try:
            await worker.run()
        except DispatchError as error:
            self._failures[worker.name] = error
            log.error("%s has stopped: %s", worker.name, error, extra={"function": worker.name})  # noqa: TRY400
        except Exception as error:
            self._failures[worker.name] = error
            log.exception("%s has stopped by a bug in the dispatcher", worker.name, extra={"function": worker.name})
        finally:
            self._seconds[worker.name] = time.monotonic() - began

    @contextlib.contextmanager
    def _signals_captured(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        signals: list[int] = []

        def on_signal(number: int, _frame: FrameType | None) -> None:
            signals.append(number)
            if len(signals) == 1:
                self._signal = number
                loop.call_soon_threadsafe(self._drain, number)
            elif len(signals) == 2:
                loop.call_soon_threadsafe(self._force)
            else:
                os._exit(128 + number)

        for number in _SIGNALS:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _drain(self, number: int) -> None:
        log.info("%s: finishing what is in flight; once more to stop at once", signal.Signals(number).name)
        self.stop()

    def _force(self) -> None:
        log.warning("stopping at once: what was in flight is delivered again at the next run")
        self._forced.set()
