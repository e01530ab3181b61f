"""Counts what an arm's function handles, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock"]


class Clock:
    """Runs from the first event to the last: joining a group and starting an interpreter are not in it.

    Args:
        events: how many there are; the last one stops the clock.
        finished: called with the last event.

    Attributes:
        seen: events so far.
        peak: most invocations in flight at one moment; of functions that say when they begin and end.
    """

    def __init__(self, events: int, finished: Callable[[], object] | None = None) -> None:
        self.seen = 0
        self.peak = 0
        self._events = events
        self._finished = finished
        self._in_flight = 0
        self._before = self._timed = 0
        self._first = self._last = 0.0
        self._cpu = 0.0

    def count(self, events: int = 1) -> None:
        """So many more events were handled."""
        first = not self.seen
        self.seen += events
        if first:
            # The first call's own events came before the clock.
            self._before = self.seen
            self._cpu = -time.process_time()
            self._first = time.perf_counter()
        elif self.seen >= self._events and not self._last:
            self._last = time.perf_counter()
            self._cpu += time.process_time()
            # More may come before the arm has stopped.
            self._timed = self.seen - self._before
            if self._finished is not None:
                self._finished()

    def begin(self) -> None:
        """An invocation begins. Its clock begins too, so that the work of the first event counts."""
        self._in_flight += 1
        self.peak = max(self.peak, self._in_flight)
        if not self._first:
            self._cpu = -time.process_time()
            self._first = time.perf_counter()

    def end(self, events: int = 1) -> None:
        """An invocation of so many events ends."""
        self._in_flight -= 1
        self.seen += events
        if self.seen >= self._events and not self._last:
            self._last = time.perf_counter()
            self._cpu += time.process_time()
            self._timed = self.seen
            if self._finished is not None:
                self._finished()

    @property
    def finished(self) -> bool:
        """Whether all events were handled."""
        return self.seen >= self._events

    def figures(self) -> dict[str, float]:
        """Events a second, CPU microseconds an event, seconds, events, and what was in flight at the most.

        Raises:
            RuntimeError: not all events came.
        """
        if not self._last:
            raise RuntimeError(f"{self.seen} of {self._events} events came")
        seconds = self._last - self._first
        return {
            "rate": self._timed / seconds,
            "cpu_us": self._cpu / self._timed * 1e6,
            "seconds": seconds,
            "events": self._timed,
            # A function that never waits is alone.
            "peak": self.peak or 1,
        }
