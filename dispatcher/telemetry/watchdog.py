"""Finds the function that blocks the event loop, while it does.

An async function that computes or sleeps without awaiting stops everything in the process: other functions, fetches,
and after the session timeout the membership of every group. Only another thread can see it then.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Self

from bindings import Binding

__all__ = ["LoopWatchdog"]

logger = logging.getLogger("dispatcher.telemetry")

# Seconds of which the greatest lag is kept.
_WINDOW = 30.0


class LoopWatchdog:
    """Watches the running event loop from a thread. A context manager, entered on the loop.

    Args:
        bindings: the functions whose code is looked for on the stack.
        limit: seconds without a turn of the loop before it is said so; said again each time the wait has doubled.
    """

    def __init__(self, bindings: Iterable[Binding], *, limit: float = 2.0) -> None:
        self._names = {
            code: binding.name
            for binding in bindings
            if (code := getattr(binding.function, "__code__", None)) is not None
        }
        self._limit = limit
        self._turned = time.monotonic()
        # The latest turns of this window and of the one before it: a scrape sees what happened since the last one.
        self._worst = self._worst_before = 0.0
        self._window_began = self._turned
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._handle: asyncio.TimerHandle | None = None

    def lag(self) -> float:
        """How many seconds later than it should the event loop turns at this moment. From any thread."""
        return max(0.0, time.monotonic() - self._turned - self._limit / 4)

    def worst_lag(self) -> float:
        """The greatest lag of the last half to whole minute. From any thread."""
        return max(self._worst, self._worst_before, self.lag())

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._turned = self._window_began = time.monotonic()
        self._turn(loop)
        watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, args=(watched,), name="loop-watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        if self._handle is not None:
            self._handle.cancel()
        if self._thread is not None:
            self._thread.join()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        lag, now = self.lag(), time.monotonic()
        if now - self._window_began > _WINDOW:
            self._worst_before, self._worst, self._window_began = self._worst, 0.0, now
        self._worst = max(self._worst, lag)
        self._turned = now
        self._handle = loop.call_later(self._limit / 4, self._turn, loop)

    def _watch(self, watched: int) -> None:
        said = self._limit
        while not self._ended.wait(self._limit / 4):
            blocked = time.monotonic() - self._turned
            if blocked < self._limit:
                if said > self._limit:
                    logger.warning("the event loop turns again")
                said = self._limit
            elif blocked >= said:
                said = 2 * blocked
                self._report(sys._current_frames().get(watched), blocked)  # noqa: SLF001 - the documented way to another thread's stack

    def _report(self, frame: FrameType | None, blocked: float) -> None:
        stack = traceback.extract_stack(frame) if frame is not None else []
        at = f"{stack[-1].filename}:{stack[-1].lineno}" if stack else "an unknown place"
        while frame is not None and frame.f_code not in self._names:
            frame = frame.f_back
        if frame is None:
            logger.error("the event loop has been blocked for %.1f s, at %s; no function is on the stack", blocked, at)
            return
        name = self._names[frame.f_code]
        logger.error(
            "%s has blocked the event loop for %.1f s, at %s:%d (in %s): nothing else runs meanwhile."
            " Await something there, or make it a plain def, which runs in a thread",
            name, blocked, frame.f_code.co_filename, frame.f_lineno, at,
        )  # fmt: skip
