"""Virtual time for functions that run in threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

__all__ = ["Dropped", "Sleepers", "sleep"]

_here = threading.local()


class Dropped(BaseException):
    """Raised in a sleeping thread whose test is over. No ``Exception``, so that functions let it pass."""


class Sleepers:
    """The threads of one member that sleep on the clock of a loop.

    Attributes:
        count: how many do now. They don't work, so the clock may go on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.count = 0
        self._loop = loop
        self._waiting: dict[threading.Event, asyncio.TimerHandle] = {}
        self._is_over = False

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Let :func:`sleep` in this thread be of this clock."""
        _here.sleepers = self
        try:
            yield
        finally:
            del _here.sleepers

    def sleep(self, seconds: float) -> None:
        """Block this thread for that many seconds of the loop's clock."""
        woken = threading.Event()
        # The loop itself counts the thread out and in again: from its view there is no moment between working and asleep.
        self._loop.call_soon_threadsafe(self._begin, woken, seconds)
        woken.wait()
        if self._is_over:
            raise Dropped

    def end(self) -> None:
        """Wake all for good."""
        self._is_over = True
        for woken in list(self._waiting):
            self._wake(woken)

    def _begin(self, woken: threading.Event, seconds: float) -> None:
        self.count += 1
        self._waiting[woken] = self._loop.call_later(max(0.0, seconds), self._wake, woken)
        if self._is_over:
            self._wake(woken)

    def _wake(self, woken: threading.Event) -> None:
        self._waiting.pop(woken).cancel()
        self.count -= 1
        woken.set()


def sleep(seconds: float) -> None:
    """Sleep on virtual time, in a sync function under test: what ``time.sleep`` is in production.

    ``monkeypatch.setattr("time.sleep", dispatcher.testing.sleep)`` puts it in its place.

    Raises:
        RuntimeError: this thread runs no function of a test. In an async function, await ``asyncio.sleep``.
    """
    sleepers: Sleepers | None = getattr(_here, "sleepers", None)
    if sleepers is None:
        raise RuntimeError(
            "sleep() is for a sync function that dispatching(...) runs, in its own thread;"
            " an async one awaits asyncio.sleep()"
        )
    sleepers.sleep(seconds)
