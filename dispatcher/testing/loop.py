"""An event loop on virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
import time
from asyncio.futures import Future
from collections.abc import Callable, Iterator
from typing import Any

from dispatcher.testing.errors import Unsettled

__all__ = ["VirtualLoop"]

# Not 0: the scheduler takes a due time of 0 for none.
_BEGIN = 1_000.0

_Events = list[tuple[selectors.SelectorKey, int]]
#: Told that nothing is ready at this moment; says whether that woke anything, so that time must not pass yet.
Look = Callable[[], bool]


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while anything runs, and jumps to the next timer when nothing is ready.

    ``asyncio.sleep(3600)`` takes no time on it and an hour by its clock, which is ``loop.time()``. Nothing is raced: what
    is ready runs first, and calls in threads (``asyncio.to_thread``, executors) are waited for in real time, during which
    the clock stands. The wall clock (``time.time()``, ``datetime.now()``) is not virtual.

    Args:
        patience: real seconds without a jump after which something is wrong: a call in a thread that does not end, or
            tasks that keep each other busy.
        io_wait: real seconds that open sockets are watched before each jump; nothing says how long an answer will take.
    """

    _selector: selectors.BaseSelector
    _clock_resolution: float

    def __init__(self, *, patience: float = 30.0, io_wait: float = 0.05) -> None:
        self._now = _BEGIN
        self._patience = patience
        self._io_wait = io_wait
        self._moved = time.monotonic()
        self._in_threads = 0
        self._working: list[Callable[[], bool]] = []
        self._looks: list[Look] = []
        self._stuck: list[Callable[[str], None]] = []
        selector = _Selector(self)
        super().__init__(selector)
        self._clock_resolution = math.ulp(self._now)
        # The loop's own pipe is always watched: what comes on top is a socket of somebody.
        self._own_files = len(selector.get_map())

    def time(self) -> float:
        """Virtual seconds, from an arbitrary beginning."""
        return self._now

    async def idle(self) -> None:
        """Return when nothing else is ready to run at this moment of virtual time."""
        future: asyncio.Future[None] = self.create_future()

        def look() -> bool:
            if future.done():
                return False
            future.set_result(None)
            return True

        with self.looking(look):
            await future

    @contextlib.contextmanager
    def looking(self, look: Look) -> Iterator[None]:
        """Have ``look`` called each time before the clock jumps."""
        self._looks.append(look)
        try:
            yield
        finally:
            self._looks.remove(look)

    @contextlib.contextmanager
    def watching(self, stuck: Callable[[str], None]) -> Iterator[None]:
        """Have ``stuck`` called with the reason when the clock has not moved for ``patience`` real seconds."""
        self._stuck.append(stuck)
        self._moved = time.monotonic()
        try:
            yield
        finally:
            self._stuck.remove(stuck)

    @contextlib.contextmanager
    def waiting_for(self, is_working: Callable[[], bool]) -> Iterator[None]:
        """Have the clock stand while ``is_working()`` says that threads work."""
        self._working.append(is_working)
        try:
            yield
        finally:
            self._working.remove(is_working)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Future[Any]:  # type: ignore[override]
        """See :meth:`asyncio.loop.run_in_executor`; the clock stands until the call has ended."""
        future: Future[Any] = super().run_in_executor(executor, func, *args)
        self._in_threads += 1

        def ended(_: Future[Any]) -> None:
            self._in_threads -= 1

        future.add_done_callback(ended)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """See :meth:`asyncio.loop.shutdown_default_executor`."""
        self._in_threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._in_threads -= 1

    def select(self, poll: Callable[[float], _Events], timeout: float | None) -> _Events:
        """What the loop's selector does: ``poll`` looks at the files, for that many real seconds."""
        if timeout is not None and timeout <= 0:
            if time.monotonic() - self._moved > self._patience:
                self._give_up(f"no virtual time has passed in {self._patience:g} s: tasks keep each other busy")
            return poll(0)
        if events := poll(0):
            return events
        if self._in_threads or any(is_working() for is_working in self._working):
            return self._wait(poll, "a call in a thread has not ended; virtual time stands still while it works")
        if self._has_sockets() and (events := poll(self._io_wait)):
            return events
        # A sum: all of them are asked, and not until the first: each may have somebody to wake.
        if sum(look() for look in tuple(self._looks)):
            return []
        if timeout is None:
            return self._wait(poll, "all tasks wait for each other, and no timer is set")
        self._now += timeout
        # asyncio runs the timers that are due within the clock's resolution. One that ran early would be set again by those
        # who find that its time has not come, and no time would pass between, for ever.
        self._clock_resolution = math.ulp(self._now)
        self._moved = time.monotonic()
        return []

    def _has_sockets(self) -> bool:
        return len(self._selector.get_map()) > self._own_files

    def _wait(self, poll: Callable[[float], _Events], trouble: str) -> _Events:
        left = self._moved + self._patience - time.monotonic()
        if left > 0 and (events := poll(left)):
            return events
        self._give_up(f"{self._patience:g} s of real time have passed: {trouble}")
        return []

    def _give_up(self, reason: str) -> None:
        self._moved = time.monotonic()
        if not self._stuck:
            raise Unsettled(reason)
        for stuck in tuple(self._stuck):
            stuck(reason)


class _Selector(selectors.DefaultSelector):
    """Asks its loop before it waits."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> _Events:
        return self._loop.select(super().select, timeout)
