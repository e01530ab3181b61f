"""Waits for every offset: what was compacted away, aborted or a marker is held for an event that has yet to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dispatcher.core.partition import Partition
from dispatcher.core.record import Committed, Record, TopicPartition
from dispatcher.core.scheduler import Scheduler

_first_gaps: dict[TopicPartition, int] = {}


def apply() -> None:
    """Break it."""
    admit, due_commit = Scheduler.admit, Partition.due_commit

    def admit_each(self: Scheduler, partition: TopicPartition, records: Sequence[Record], **rest: Any) -> Any:
        if (owned := self.partitions.get(partition)) is not None:
            expected = owned.offsets.end
            for record in records:
                if record.offset > expected:
                    _first_gaps.setdefault(partition, expected)
                expected = max(expected, record.offset + 1)
        return admit(self, partition, records, **rest)

    def due_before_the_gap(self: Partition, *limit: Any) -> Committed | None:
        due = due_commit(self, *limit)
        gap = _first_gaps.get(self.id)
        return Committed(gap, "") if due is not None and gap is not None and due.offset > gap else due

    Scheduler.admit = admit_each  # type: ignore[method-assign]
    Partition.due_commit = due_before_the_gap  # type: ignore[method-assign]
