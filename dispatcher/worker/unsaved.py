"""What was done, but not committed, when a partition was taken away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from dispatcher.core.offsets import OffsetMap, merge_offsets
from dispatcher.core.partition import Partition
from dispatcher.core.record import TopicPartition
from dispatcher.worker.positions import Beginning

__all__ = ["Unsaved"]


class _Kept(NamedTuple):
    base: int
    position: int
    offsets: OffsetMap


class Unsaved:
    """Keeps what the ownerships of a worker did whose last commit the broker did not take, for its next ownership.

    A member that was blocked, frozen or cut off for longer than the session timeout is put out of its group, and what
    it did meanwhile can't be committed any more. That it was done is true all the same. Without this memory an event
    that blocks the process for that long would be delivered to it again, block it again, and so on for ever.
    """

    def __init__(self) -> None:
        self._kept: dict[TopicPartition, _Kept] = {}

    def keep(self, partitions: Iterable[Partition]) -> None:
        """Remember what these have done beyond their last commit; to be called after the last attempt to commit it."""
        for partition in partitions:
            if partition.last_commit is not None and partition.due_commit() is not None:
                offsets = partition.offsets
                self._kept[partition.id] = _Kept(partition.last_commit.offset, offsets.position, offsets.offset_map())

    def add(self, partition: TopicPartition, beginning: Beginning) -> Beginning:
        """Where to begin, with what is remembered of the partition; it is remembered no longer.

        A position that was set back since, by an operator or with the stream itself, says that the events are wanted
        again: then the memory does not count.
        """
        kept = self._kept.pop(partition, None)
        if kept is None or beginning.commit is None or beginning.position < kept.base:
            return beginning
        position, offsets = merge_offsets(beginning.position, beginning.offsets, kept.position, kept.offsets)
        return replace(beginning, position=position, offsets=offsets)
