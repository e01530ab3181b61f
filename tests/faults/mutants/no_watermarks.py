"""Whatever is held already, more is asked for."""

from __future__ import annotations

from dispatcher.core.partition import Partition


def apply() -> None:
    """Leave out the watermarks of events and bytes."""
    Partition.wants_more = lambda self, **_: self.open  # type: ignore[method-assign]
