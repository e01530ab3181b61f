"""A drain waits for what is parked too, until its budget is used up."""

from __future__ import annotations

from collections.abc import Collection

from dispatcher.core.record import TopicPartition
from dispatcher.core.scheduler import Scheduler


def apply() -> None:
    """Take nothing for drained that has a parked event."""
    is_drained = Scheduler.is_drained

    def without_parked(self: Scheduler, partitions: Collection[TopicPartition]) -> bool:
        parked = any(self.partitions[id_].parked for id_ in partitions if id_ in self.partitions)
        return is_drained(self, partitions) and not parked

    Scheduler.is_drained = without_parked  # type: ignore[method-assign]
