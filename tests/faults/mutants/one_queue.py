"""All partitions share one queue of held events: the first that are fetched fill it, and the others wait for them."""

from __future__ import annotations

from dispatcher.core.record import TopicPartition
from dispatcher.core.scheduler import Scheduler


def apply() -> None:
    """Ask for any partition while there is room in all, and for none when there is not."""

    def wanted(self: Scheduler) -> list[TopicPartition]:
        held = sum(len(partition.pending) for partition in self.partitions.values())
        return [id_ for id_, owned in self.partitions.items() if owned.open] if held < self._limits.held_events else []

    Scheduler.wanted = wanted  # type: ignore[method-assign]
