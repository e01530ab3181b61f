"""Commits what it has fetched, done or not: a client's auto-commit under a handler that works in the background."""

from __future__ import annotations

from typing import Any

from dispatcher.core.partition import Partition
from dispatcher.core.record import Committed


def apply() -> None:
    """Break it."""
    Partition.due_commit = due_commit  # type: ignore[method-assign]


def due_commit(self: Partition, *_: Any) -> Committed | None:
    """The end of what was received."""
    due = Committed(self.offsets.end)
    return None if due == self._committed else due
