"""Lets every event start as soon as there is room, whatever its key: an ordered function on an unordered pool."""

from __future__ import annotations

from typing import Any

from dispatcher.core.scheduler import Scheduler


def apply() -> None:
    """Break it."""
    made = Scheduler.__init__

    def __init__(self: Scheduler, *args: Any, **options: Any) -> None:  # noqa: N807 - it takes that one's place
        made(self, *args, **options)
        self._by_key, self._fixed_lane = False, None

    Scheduler.__init__ = __init__  # type: ignore[method-assign]
