"""The two clocks that a worker reads, so that a test can turn them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks of a process, or of a test.

    Args:
        monotonic: seconds, never set back; it must be the event loop's own (asyncio's is ``time.monotonic``).
        wall: seconds since 1970-01-01 UTC.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as records carry them."""
        return int(self.wall() * 1000)
