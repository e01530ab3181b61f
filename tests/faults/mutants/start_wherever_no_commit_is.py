"""Asks ``start=`` in every partition without a commit, one that was added yesterday too."""

from __future__ import annotations

from dispatcher.core.record import TopicPartition
from dispatcher.worker import Worker


def apply() -> None:
    """Break it."""
    Worker._is_whole = is_whole  # type: ignore[method-assign]


def is_whole(self: Worker, id_: TopicPartition) -> bool:
    """Only what comes back by a retry topic."""
    return id_.topic not in self._binding.streams
