"""The attempts used do not travel with the commits: each owner counts from one."""

from __future__ import annotations

from dispatcher.core.offsets import OffsetMap, OffsetTracker


def apply() -> None:
    """Leave them out of the map."""
    whole = OffsetTracker.offset_map
    OffsetTracker.offset_map = lambda self: OffsetMap(whole(self).done)  # type: ignore[method-assign]
