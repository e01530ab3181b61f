"""Lines that would repeat: one, then a count."""

from __future__ import annotations

import time
from collections.abc import Hashable

__all__ = ["Throttle"]


class Throttle:
    """Lets one line of a kind through in ``interval`` seconds, and counts the others.

    >>> throttle = Throttle(10.0)
    >>> throttle.admits("dead letter")
    0
    >>> throttle.admits("dead letter") is None
    True
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def admits(self, kind: Hashable) -> int | None:
        """How many of this kind were held back since the last that passed; None when this one is too."""
        now = time.monotonic()
        last, held = self._kinds.get(kind, (float("-inf"), 0))
        if now - last < self._interval:
            self._kinds[kind] = (last, held + 1)
            return None
        self._kinds[kind] = (now, 0)
        return held
